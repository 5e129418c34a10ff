"""Configurations as files: their encoding and their YAML, what YAML misreads, and what is too much of it."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tatr.config.docs import schema
from tatr.config.limits import check_rows, check_size
from tatr.config.loading import expand, load_config, read_tasks
from tatr.config.models import Config
from tatr.config.written import DEEPEST, read_yaml, with_nulls
from tatr.errors import TatrError

BASE = Path(__file__).parents[2]
KNOWN = read_tasks([BASE / "config/tasks.yaml", BASE / "config/clip_tasks.yaml"])
PLAIN = "suite: [cars, digits]\nmerges: [{method: ties}]\n"


def load(folder: Path, *texts: str | bytes) -> Config:
    """Of several files, later ones win, as Snakemake has it for their sections."""
    files, raw = [], {}
    for number, text in enumerate(texts):
        files.append(folder / f"{number}.yaml")
        files[-1].write_bytes(text if isinstance(text, bytes) else text.encode())
        raw |= read_yaml(files[-1])
    return load_config(raw, KNOWN, files)


def mistakes(folder: Path, *texts: str) -> list[str]:
    with pytest.raises(TatrError) as caught:
        load(folder, *texts)
    return str(caught.value).split("\n  ")[1:]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + PLAIN.encode(),
        PLAIN.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace("\n", "\r").encode(),
        b'{"suite": ["cars", "digits"], "merges": [{"method": "ties"}]}',
    ],
    ids=["BOM", "CRLF", "BOM and CRLF", "CR", "JSON"],
)
def test_however_a_text_is_stored_it_is_the_same(content: bytes, tmp_path: Path) -> None:
    assert load(tmp_path, content) == load(tmp_path, PLAIN)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (PLAIN.encode("utf-16"), "the text is UTF-16; save it as UTF-8"),
        (PLAIN.encode("utf-16-be"), "save it as UTF-8"),
        (PLAIN.encode("utf-16-le"), "save it as UTF-8"),
        (PLAIN.encode("utf-32"), "save it as UTF-8"),
        (PLAIN.encode() + "# Größe".encode("latin-1"), "not UTF-8 (byte 0xf6, line 3); save it as UTF-8"),
        (b"suite: [" + b"[" * 100_000, f"line 1: is nested more than {DEEPEST} levels deep"),
        (b"".join(b" " * i + b"a:\n" for i in range(60)), f"line 51: is nested more than {DEEPEST} levels deep"),
        (b"seed: " + b"9" * 5000, "can't be read (Exceeds the limit"),
        (b"name: 2025-13-45", "can't be read (month must be in 1..12)"),
        (b"suite:\n\t- cars", "can't be read (while scanning for the next token"),
        (b"seed: *unknown", "can't be read (found undefined alias"),
        (b"name: !!python/object/apply:os.system ['exit']", "can't be read (could not determine a constructor"),
        (b"a: 1\n---\nb: 2", "can't be read (expected a single document"),
        (b"name: \x07", "can't be read ("),
    ],
)
def test_what_is_no_text_or_no_yaml_is_one_line(content: bytes, told: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes(content)
    with pytest.raises(TatrError) as caught:
        read_yaml(file)
    assert str(caught.value).startswith(str(file))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


SPELLINGS = ["0625", "00014", "12:30:45", "1_000", "0x1F", "0b11", "1.50", "+5", ".inf", "2025-01-02", "no", "off", "~"]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_advice_quotes_what_was_written(spelling: str, tmp_path: Path) -> None:
    own = f"tasks: {{own: {{source: folder, root: x, classnames: [{spelling}, b]}}}}\n"
    (line,) = mistakes(tmp_path, PLAIN + own)
    assert line.startswith(f"tasks.own.classnames[0]: {spelling}: expected text; ")
    assert line.endswith(f"put it in quotes: '{spelling}'")
    quoted = load(tmp_path, PLAIN + own.replace(spelling, f"'{spelling}'"))
    assert quoted.tasks["own"].classnames == [spelling, "b"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("suite: [cars, 0625]\nmerges: [{method: ties}]", "suite[1]: 0625: expected text; YAML reads this as 405"),
        ("suite: [0625]\nmerges: [{method: ties}]", "suite[0]: 0625: expected text"),
        (PLAIN + "display: {tasks: {cars: 0x1F}}", "display.tasks.cars: 0x1F: expected text"),
        (PLAIN + "display: {tasks: {no: x}}", "display.tasks.no: expected a name of letters, digits and _"),
        (PLAIN + "tasks: {0625: {source: folder, root: x}}", "tasks.0625: expected a name of letters"),
        (PLAIN + "no: 1", "no: unknown key"),
        (PLAIN + "~: 1", "~: unknown key"),
        (PLAIN + "name: 007", "name: 007: expected a name of letters"),
        (
            "suite: [cars, digits]\nmerges: [{method: [ties, magmax], name: 1_000}]",
            "merges[0].name: 1_000: expected text; YAML reads this as 1000: put it in quotes: '1_000'",
        ),
        (
            "x-row: &row {method: ties, name: 1_000}\nsuite: [cars, digits]\nmerges: [{<<: *row, coefficient: 1}]",
            "merges[0].name: 1_000: expected text",
        ),
        (PLAIN + "finetuning: {steps: 01000}", "finetuning.steps: 01000: YAML reads this as 512; write that, or"),
        (PLAIN + "finetuning: {steps: 10:30}", "finetuning.steps: 10:30: YAML reads this as 630; write that, or"),
    ],
)
def test_a_mistake_is_told_as_it_was_written(text: str, told: str, tmp_path: Path) -> None:
    (line,) = mistakes(tmp_path, text)
    assert line.startswith(told)


def test_of_several_files_the_one_that_counts_is_quoted(tmp_path: Path) -> None:
    assert mistakes(tmp_path, PLAIN + "name: 007", "name: 0x1F")[0].startswith("name: 0x1F: expected")


def test_what_no_file_holds_is_quoted_as_it_came(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(PLAIN + "name: mine\n", encoding="utf-8")
    with pytest.raises(TatrError, match="name: 405: expected a name"):
        load_config({**read_yaml(file), "name": 0o625}, KNOWN, [file])  # --config name=0625


def test_sections_for_anchors_are_no_part_of_the_configuration(tmp_path: Path) -> None:
    text = "x-suite: &suite [cars, digits]\nx-rows: [0625, {no: *suite}]\nsuite: *suite\nmerges: [{method: ties}]\n"
    assert load(tmp_path, text) == load(tmp_path, PLAIN)
    jsonschema.validate(yaml.safe_load(text), schema())


def test_the_same_anchor_may_be_used_again_and_again(tmp_path: Path) -> None:
    rows = ", ".join(f"{{method: ties, name: r{number}, trust_region: *region}}" for number in range(300))
    text = f"x-region: &region {{tau: 0.1}}\nsuite: [cars, digits]\nmerges: [{rows}]\n"
    assert len(load(tmp_path, text).merges) == 300


def test_a_bomb_of_aliases_is_one_message(tmp_path: Path) -> None:
    lines = ["x-0: &x0 [cars, digits]", *(f"x-{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9)}]" for i in range(1, 20))]
    with pytest.raises(TatrError, match="values with its anchors filled in; expected 1,000,000 at most"):
        load(tmp_path, "\n".join([*lines, "suite: *x19", "merges: *x19"]))


def test_an_alias_inside_of_its_own_anchor_is_one_message(tmp_path: Path) -> None:
    for text in ("suite: &a [cars, *a, *a]", "suite: [cars, digits]\ntasks: &b {cars: *b, digits: [*b]}"):
        with pytest.raises(TatrError, match="nested more than 50 levels deep, which none needs; is an alias"):
            load(tmp_path, text)


def test_depth_counts_wherever_an_alias_stands() -> None:
    shared: Any = []
    for _ in range(30):
        shared = [shared]
    deep = shared
    for _ in range(15):
        deep = [deep]
    check_size([shared, deep])
    with pytest.raises(TatrError, match="50 levels"):
        check_size([shared, [[[[[[[deep]]]]]]]])


def test_rows_are_counted_before_they_are_made() -> None:
    entry = {"method": ["ties", "dare"], "trust_region": [None, {"tau": [0.1, 0.2], "exemplars": [1, 2]}]}
    entry |= {"coefficient": [1, {"search": [1, 2, 3]}]}
    rows = len([*expand(entry)])
    assert rows == 20
    check_rows([[entry] * (10_000 // rows)])
    for merges in ([entry] * (10_000 // rows + 1), [{"a": [*range(101)], "b": [*range(100)]}]):
        with pytest.raises(TatrError, match="expected 10,000 at most"):
            check_rows(merges)


@pytest.mark.parametrize("text", ['"a\\0b"', '"a\\ud800"'])
def test_what_is_no_character_is_refused_where_it_stands(text: str) -> None:
    raw = yaml.load(f"{PLAIN}tasks: {{cars: {{templates: [{text}]}}}}\ndisplay: {{tasks: {{}}}}", yaml.SafeLoader)
    with pytest.raises(TatrError, match=r"tasks\.cars\.templates\[0\]: holds '\\.*', which is no character"):
        load_config(raw, KNOWN)


@pytest.mark.parametrize(
    "name", ["naïve", "猫", "😀", "it's", 'a "b"', "$(touch x)", "`x`", "{}", "a\\b", " a", "a\nb"]
)
def test_names_of_all_scripts_are_as_good_as_any(name: str, tmp_path: Path) -> None:
    own = {"source": "folder", "root": name, "classnames": [name, "b"]}
    written = {"display": {"tasks": {"cars": name}}, "tasks": {"own": own}}
    config = load(tmp_path, PLAIN + yaml.safe_dump(written, allow_unicode=True))
    assert (config.display.tasks["cars"], config.tasks["own"].classnames) == (name, [name, "b"])


def test_null_on_the_command_line_is_nothing() -> None:
    config = {"merges": [{"trust_region": ["null", {"tau": "0.05"}]}], "name": "null", "suite": ["null", "cars"]}
    given = {"merges": [{"trust_region": ["null", {"tau": "0.05"}]}]}
    assert with_nulls(config, given) == config | {"merges": [{"trust_region": [None, {"tau": "0.05"}]}]}
