"""How a rule's command becomes a process: wherever the project lies, and however long the settings are."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tatr.errors import TatrError
from tatr.workflow.shell import LONG, check_encoding, check_places, prefix

PLACES = [
    "it's",
    'a "b"',
    "a $(touch ran)",
    "a `touch ran`",
    "$HOME",
    "a{b}",
    "a;touch ran",
    "a & b",
    "a\\nb",
    "ü 猫 😀",
    "-n",
]
ECHO = "import json, pathlib, sys\nread = lambda word: pathlib.Path(word).read_text('utf-8')\n"
ECHO += "print(json.dumps([read(word) if word.startswith('/dev/fd/') else word for word in sys.argv[1:]]))\n"


def said(command: str, scripts: Path, weights: Path | None = None) -> list[list[str]]:
    """What steps print that print their arguments, called as a rule calls them; Snakemake formats the text."""
    (scripts / "tatr/console").mkdir(parents=True)
    for path in ("echo.py", "tatr/console/__main__.py"):
        (scripts / path).write_text(ECHO, encoding="utf-8")
    text = prefix(scripts, sys.executable, weights).format() + command
    file = scripts.parent / "script.sh"  # as Snakemake does with long ones
    file.write_text(text, encoding="utf-8")
    done = subprocess.run(["bash", file], cwd=scripts.parent, capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in scripts.parent.iterdir()) == sorted([scripts.name, "script.sh"])
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("place", PLACES)
def test_nothing_of_a_path_is_executed(place: str, tmp_path: Path) -> None:
    weights = Path("/models") / place
    command = 'tatr echo ${WEIGHTS:+--file "$WEIGHTS"} a\ntatr show "a b"\n'
    assert said(command, tmp_path / place, weights) == [["--file", str(weights), "a"], ["show", "a b"]]


def test_without_weights_there_is_no_file(tmp_path: Path) -> None:
    assert said('tatr echo ${WEIGHTS:+--file "$WEIGHTS"}', tmp_path / "scripts") == [[]]


@pytest.mark.parametrize("character", ["a", "ü", "猫", "😀", "'", '"', "\\", "$", "{", "%", "\n"])
def test_settings_of_any_length_arrive_whole(character: str, tmp_path: Path) -> None:
    settings = json.dumps({"classnames": [character * 300_000]}, ensure_ascii=False)
    assert len(settings) > 2**17 > 4 * LONG
    command = f"tatr echo --settings {shlex.quote(settings)} --code c --output 'o o'"
    assert said(command, tmp_path / "scripts") == [["--settings", settings, "--code", "c", "--output", "o o"]]


def test_a_second_long_argument_is_refused(tmp_path: Path) -> None:
    (tmp_path / "echo.py").write_text(ECHO, encoding="utf-8")
    script = f'{prefix(tmp_path, sys.executable, None).format()}long=$(printf %{LONG + 1}s); tatr echo "$long" "$long"'
    done = subprocess.run(["bash", "-c", script], capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: two arguments of more than {LONG} characters\n"


def test_a_failed_step_fails_the_rule(tmp_path: Path) -> None:
    (tmp_path / "fail.py").write_text("raise SystemExit(3)", encoding="utf-8")
    text = prefix(tmp_path, sys.executable, None).format()
    for words in ("x", shlex.quote("{" * (LONG + 1))):
        assert subprocess.run(["bash", "-c", f"{text}tatr fail {words}; echo never"]).returncode == 3


def test_links_are_told_by_a_file_too(tmp_path: Path) -> None:
    command = [sys.executable, str(Path(__file__).parents[2] / "workflow_scripts/links.py")]
    (tmp_path / "targets.json").write_text('{"tables": "tables/demo-1"}', encoding="utf-8")
    record = tmp_path / "results/demo/.tables"
    subprocess.run([*command, "--record", record, "--targets", tmp_path / "targets.json"], check=True)
    assert record.read_text(encoding="utf-8") == "tables -> tables/demo-1\n"


@pytest.mark.parametrize(
    ("project", "work"),
    [("a{b", "x"), ("a}", "x"), ("a\nb", "x"), ("x", "$a"), ("x", "`"), ("x", '"'), ("\udce9", "x"), ("x", "\udce9")],
)
def test_where_snakemake_runs_no_jobs_is_refused(project: str, work: str) -> None:
    with pytest.raises(TatrError, match=r"Snakemake can't run jobs where .* path has .*; rename the folder, or "):
        check_places(Path("/a", project), Path("/b", work))


def test_other_places_are_as_good_as_any() -> None:
    for name in ("it's", 'a "b"', "$(touch x)", "ü 猫", "a b", "a;b"):
        check_places(Path("/a", name), Path("/b/it's; {ü} & 猫"))


@pytest.mark.parametrize("name", [".", "results", "logs", ".snakemake", "results/mask"])
def test_a_folder_that_may_not_be_written_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_places(tmp_path, tmp_path / "new")
    for folder in ("results/mask", "logs", ".snakemake"):
        (tmp_path / folder).mkdir(parents=True)
    check_places(tmp_path, tmp_path)
    (tmp_path / "results/gradient").symlink_to("/")
    monkeypatch.setattr("os.access", lambda path, mode: path not in (tmp_path / name, tmp_path / "results/gradient"))
    with pytest.raises(TatrError, match=rf"^{tmp_path / name}: can't be written; change its permissions, or run in"):
        check_places(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("found", "works"), [("UTF-8", True), ("utf8", True), ("ISO-8859-1", False), ("ANSI_X3.4-1968", False)]
)
def test_a_locale_of_another_encoding_is_refused(found: str, works: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locale.getpreferredencoding", lambda _: found)
    if works:
        check_encoding()
        return
    with pytest.raises(TatrError, match=rf"^text is {found} in this locale .*; set PYTHONUTF8=1"):
        check_encoding()
