"""The configuration: what is accepted, what it becomes, and how mistakes are told."""

import contextlib
import itertools
import json
import math
import re
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tatr.config.docs import default_text, schema
from tatr.config.loading import expand, load_config, read_tasks
from tatr.config.merges import Merge, Search
from tatr.config.models import Config
from tatr.errors import TatrError
from tatr.merging import methods
from tatr.training.recipes.exemplars import Exemplars
from tatr.training.recipes.fine_tuning import FineTuning
from tatr.training.recipes.surgery import Surgery

BASE = Path(__file__).parents[2]
KNOWN = read_tasks([BASE / "config/tasks.yaml", BASE / "config/clip_tasks.yaml"])
SUITE = "suite: [cars, digits, textures]\n"
MERGES = "merges: [{method: weight_average}]\n"
SHIPPED = [*sorted(BASE.glob("config/*.yaml")), *sorted(BASE.glob("tests/workflow/configs/*.yaml"))]
SHIPPED = [path for path in SHIPPED if path.name not in ("tasks.yaml", "clip_tasks.yaml")]


def load(text: str) -> Config:
    return load_config(yaml.safe_load(text), KNOWN)


def one_merge(text: str) -> str:
    return f"{SUITE}merges: [{{method: task_arithmetic, {text}}}]"


def mistakes(text: str) -> list[str]:
    with pytest.raises(TatrError) as caught:
        load(text)
    head, *lines = str(caught.value).split("\n  ")
    assert head.startswith(f"the configuration has {len(lines)} mistake")
    for internal in ("Input should", "Value error", "pydantic", "Tiny8Task", "FolderTask", "NoneType", "typing."):
        assert internal not in str(caught.value)
    return lines


MISTAKES = yaml.safe_load((BASE / "tests/config/mistakes.yaml").read_text())


@pytest.mark.parametrize(("text", "message"), MISTAKES["in_a_merge"].items())
def test_mistake_in_merge(text: str, message: str) -> None:
    assert message in "\n".join(mistakes(one_merge(text)))


@pytest.mark.parametrize(("text", "message"), MISTAKES["elsewhere"].items())
def test_mistake_elsewhere(text: str, message: str) -> None:
    raw = yaml.safe_load(SUITE + MERGES)
    lines = mistakes(yaml.safe_dump({**raw, **yaml.safe_load(text)}))
    assert len(lines) == 1
    assert message in lines[0]
    if advice := re.search(r"; write (\[.+\]|\{method.+\})$", lines[0]):
        yaml.safe_load(advice[1])


def test_no_section_is_advised_where_a_number_is_expected() -> None:
    (line,) = mistakes(one_merge("trust_region: {exemplars: 0}"))
    assert line.endswith("merges[0].trust_region.exemplars: 0: expected a whole number from 1 up")


@pytest.mark.parametrize(
    "checkpoints",
    [
        "{origin: folder, tasks: {cars: {path: a.pt}, digits: {path: b.pt}, textures: {path: c.pt}}}",
        "{origin: hub, tasks: {cars: {repository: a/b}, digits: {origin: train}, textures: {origin: train}}}",
        "{path: '{task}.pt', tasks: {cars: {origin: folder}}}",
    ],
)
def test_no_default_is_needed_where_every_task_states_its_own(checkpoints: str) -> None:
    load(f"{SUITE}{MERGES}checkpoints: {checkpoints}")


def test_index_is_that_of_the_list_as_written() -> None:
    sweep = "{method: task_arithmetic, trust_region: {tau: [0.1, 0.2, 0.3]}}"
    assert mistakes(f"{SUITE}merges: [{sweep}, {{method: tise}}]")[0].startswith("merges[1].method: 'tise': unknown")


def test_all_mistakes_at_once_in_the_order_of_the_sections() -> None:
    text = (
        "display: {digits: x}\nsubjects: 3\nsuite: [carz, digits]\nmerges: [{method: weight_average, trust_region: 2}]"
    )
    assert [line.split(":")[0] for line in mistakes(text)] == [
        "suite[0]",
        "merges[0].trust_region",
        "display.digits",
        "subjects",
    ]


def test_key_written_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(SUITE + MERGES + "finetuning:\n  steps: 600\n  seed: 1\n  steps: 700\n")
    with pytest.raises(TatrError, match=r"finetuning\.steps: written twice in .*mine\.yaml, lines 4 and 6"):
        load_config(yaml.safe_load(file.read_text()), KNOWN, [file])


@pytest.mark.parametrize("spelling", ["0.01", "1e-2", "1.0e-2", "0.010", "'0.01'", "'1e-2'", "+0.01"])
def test_respelled_numbers_are_the_same(spelling: str) -> None:
    assert load(one_merge(f"trust_region: {{tau: {spelling}}}")) == load(one_merge("trust_region: {tau: 0.01}"))


@pytest.mark.parametrize("spelling", ["600", "6e2", "600.0", "'600'", "6.0e2"])
def test_respelled_whole_numbers_are_the_same(spelling: str) -> None:
    config = load(f"{SUITE}{MERGES}finetuning: {{steps: {spelling}, tasks: {{cars: {{steps: {spelling}}}}}}}")
    assert (config.finetuning_of("digits").steps, config.finetuning_of("cars").steps) == (600, 600)
    assert type(config.finetuning_of("cars").steps) is int


def test_minus_zero_is_zero() -> None:
    merge = load(one_merge("coefficient: -0.0")).merges[0]
    assert math.copysign(1, merge.coefficients[0]) == 1


def test_order_of_keys_does_not_matter() -> None:
    raw = yaml.safe_load((BASE / "config/demo.yaml").read_text())
    assert load_config(dict(reversed(raw.items())), KNOWN) == load_config(raw, KNOWN)


@pytest.mark.parametrize("section", ["finetuning", "exemplars", "tasks", "display", "seed", "name"])
def test_empty_section_is_the_default(section: str) -> None:
    assert load(f"{SUITE}{MERGES}{section}:\n") == load(SUITE + MERGES)


def test_sweep_over_trust_regions() -> None:
    merges = load(one_merge("trust_region: [null, {tau: [0.01, 0.02]}, {sensitivity: zero_shot}]")).merges
    regions = [merge.trust_region for merge in merges]
    assert [region and (region.sensitivity, region.tau) for region in regions] == [
        None,
        ("gradient", 0.01),
        ("gradient", 0.02),
        ("zero_shot", 0.01),
    ]


def test_a_sensitivity_that_decides_by_itself_has_no_tau() -> None:
    (merge,) = load(one_merge("trust_region: {sensitivity: positive, exemplars: 16}")).merges
    assert (merge.taus, merge.row_name) == ([None], "Task Arithmetic + TATR positive, n 16, λ 0.3")
    both = load(one_merge("trust_region: [{sensitivity: [positive, negative], exemplars: 4}, {exemplars: 2}]"))
    assert [both.gradient_count(merge.trust_region) for merge in both.merges if merge.trust_region] == [4, 4, 2]
    assert both.gradient_counts == [2]  # of absolute gradients


def test_list_under_search_is_no_sweep() -> None:
    merges = load(one_merge("coefficient: [0.3, {search: [0.1, 0.2]}]")).merges
    assert [merge.coefficients for merge in merges] == [[0.3], [0.1, 0.2]]
    assert isinstance(merges[1].coefficient, Search)


def test_several_seeds_are_configurations_of_one_seed() -> None:
    config = load(f"{SUITE}{MERGES}seeds: [3, '1']")
    assert config.all_seeds == [3, 1]
    alone = load(f"{SUITE}{MERGES}seed: 1")
    assert config.with_seed(1).model_dump() == alone.model_dump()
    assert config.with_seed(1).exemplars_of() == alone.exemplars_of()
    assert alone.all_seeds == [1]
    assert load(SUITE + MERGES).all_seeds == [0]


def test_finetuning_of_a_task() -> None:
    config = load(
        f"{SUITE}{MERGES}finetuning: {{steps: 600, tasks: {{cars: {{learning_rate: 1e-4, seed: 5}}}}}}\nseed: 3"
    )
    cars, digits = config.finetuning_of("cars"), config.finetuning_of("digits")
    assert (cars.learning_rate, cars.steps, cars.seed) == (1e-4, 600, 5)
    assert digits == FineTuning(steps=600, seed=3)


def test_multitask_training_has_as_many_steps_as_all_individual_models_if_not_said() -> None:
    finetuning = "finetuning: {steps: 600, batch_size: 8, warmup_steps: 1, tasks: {cars: {steps: 700, batch_size: 9}}}"
    said, all_steps = (
        load(f"{SUITE}{MERGES}{finetuning}\nmultitask: {multitask}").multitask_finetuning
        for multitask in ("{steps: 50, seed: 9}", "{}")
    )
    assert (said.steps, said.batch_size, said.seed) == (50, 8, 9)
    assert (all_steps.steps, all_steps.batch_size, all_steps.seed) == (1900, 8, 0)


def test_recipes_of_merges_and_exemplars_take_the_seed_of_the_config() -> None:
    config = load(
        f"{SUITE}merges: [{{method: ada_merging, density: 0.2, surgery: {{rank: 4, split: validation}}}}]\nseed: 3\n"
        "exemplars: {count: 9}"
    )
    (merge,) = config.merges
    assert config.surgery_of(merge) == Surgery(rank=4, split="validation", seed=3)
    adaptation = config.adaptation_of(merge)
    assert (adaptation.density, adaptation.iterations, adaptation.split, adaptation.seed) == (0.2, 500, "test", 3)
    (other,) = load(f"{SUITE}merges: [{{method: ada_rank, base: mean, rank_share: 0.5}}]\nseed: 3\n").merges
    ranks = config.rank_adaptation_of(other)
    assert (ranks.base, ranks.start, ranks.iterations, ranks.seed) == ("mean", (2.3, 0.5), 10_000, 3)
    assert (config.exemplars_of(), config.exemplars_of(5)) == (
        Exemplars(count=9, seed=3),
        Exemplars(count=5, seed=3),
    )
    assert load(f"{SUITE}{MERGES}seed: 3\nexemplars: {{seed: 4}}").exemplars_of().seed == 4


def test_task_is_changed_key_by_key_unless_its_source_changes() -> None:
    text = "tasks: {cars: {train: 64}, digits: {source: folder, root: x}}"
    tasks = load(SUITE + MERGES + text).tasks
    assert tasks["cars"].classnames == KNOWN["cars"]["classnames"]
    assert tasks["digits"].classnames is None


VALUES = st.lists(st.integers() | st.text() | st.none(), min_size=1, max_size=4)


@given(st.dictionaries(st.text(min_size=1).filter(lambda key: key != "search"), VALUES, max_size=4))
def test_rows_of_a_sweep_are_the_product(entry: dict[str, list[object]]) -> None:
    rows = list(expand(entry))
    assert len(rows) == math.prod(map(len, entry.values()))
    assert [tuple(row.values()) for row in rows] == list(itertools.product(*entry.values()))
    nested = list(expand({"method": "m", "trust_region": entry}))
    assert [row["trust_region"] for row in nested] == rows


@given(st.recursive(st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner, max_size=3)))
def test_without_lists_there_is_one_row(entry: object) -> None:
    assert list(expand(entry)) == [entry]


WORDS = st.sampled_from(["method", "task_arithmetic", "search", "tau", "folder", "cars", "settings", "source", "x"])
LEAVES = st.none() | st.booleans() | st.integers(-3, 700) | st.floats() | WORDS
KEYS = WORDS | st.integers(0, 2) | st.none()
ANYTHING = st.recursive(LEAVES, lambda s: st.lists(s, max_size=3) | st.dictionaries(KEYS, s, max_size=3), max_leaves=8)
ANY_MERGE = st.dictionaries(st.sampled_from([*Merge.model_fields, "x"]), ANYTHING, max_size=4) | ANYTHING


@settings(max_examples=200, deadline=None)
@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(Config.model_fields, ANYTHING))
    | st.fixed_dictionaries({"suite": st.just(["cars", "digits"]), "merges": st.lists(ANY_MERGE, max_size=3)})
)
def test_whatever_is_written_is_accepted_or_refused_in_words(raw: dict[str, object]) -> None:
    with contextlib.suppress(TatrError):
        assert isinstance(load_config(raw, KNOWN), Config)


@pytest.fixture
def madeup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "madeup.py").write_text(
        "from typing import Literal\n"
        "from tatr.merging.methods import method\n\n"
        '@method("Made Up", coefficient=1.0)\n'
        'def madeup(task_vectors, *, density: float, elect: Literal["sum", "count"] = "sum", rescale: bool = False):\n'
        "    yield from ()\n"
    )
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    methods.load.cache_clear()
    yield
    methods.load.cache_clear()
    sys.modules.pop("tatr.merging.methods.madeup", None)


def with_madeup(text: str) -> str:
    return f"{SUITE}merges: [{{method: madeup{text}}}]"


@pytest.mark.usefixtures("madeup")
def test_settings_of_a_method() -> None:
    merges = load(with_madeup(", density: [1e-1, 0.2], rescale: true")).merges
    assert [merge.settings for merge in merges] == [
        {"density": 0.1, "elect": "sum", "rescale": True},
        {"density": 0.2, "elect": "sum", "rescale": True},
    ]


@pytest.mark.usefixtures("madeup")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "merges[0].density: missing; expected a number"),
        (", density: dense", "merges[0].density: 'dense': expected a number"),
        (", density: true", "merges[0].density: true: expected a number"),
        (", density: [0.1, x]", "merges[0].density[1]: 'x': expected a number"),
        (", density: 0.1, elect: som", "merges[0].elect: 'som': unknown elect (did you mean 'sum'?)"),
        (", density: 0.1, rescale: 3", "merges[0].rescale: 3: expected true or false"),
        (", densty: 0.1", "merges[0].densty: unknown key (did you mean 'density'?)"),
        (", density: 1, top: 3", "merges[0].top: not a key of a merge or a setting of madeup; known: method, coeff"),
    ],
)
def test_mistake_in_settings(text: str, message: str) -> None:
    assert message in "\n".join(mistakes(with_madeup(text)))


@pytest.mark.usefixtures("madeup")
def test_documents_know_a_new_method() -> None:
    found = schema()
    jsonschema.validate(yaml.safe_load(with_madeup(", density: [0.1, 0.2]")), found)
    for wrong in ("", ", density: x", ", density: 1, top: 3"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(yaml.safe_load(with_madeup(wrong)), found)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(one_merge("density: 0.1")), found)
    assert "density" in default_text()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_configs_are_valid(path: Path) -> None:
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    load_config(raw, KNOWN, [path])
    jsonschema.validate(raw, json.loads((BASE / "config/schema.json").read_text()))


def test_defaults_are_the_defaults() -> None:
    raw = yaml.safe_load((BASE / "config/default.yaml").read_text())
    required = {key: raw[key] for key in ("suite", "merges")}
    assert load_config(raw, KNOWN) == load_config(required, KNOWN)


@pytest.mark.parametrize(
    "text",
    ["taus: 1", "coefficient: big", "coefficient: {search: []}", "trust_region: {tau: [1]}", "coefficient: []"],
)
def test_schema_refuses_a_wrong_merge(text: str) -> None:
    raw = yaml.safe_load(one_merge("trust_region: {tau: [0.1, 0.2]}, coefficient: {search: [0.1]}"))
    jsonschema.validate(raw, schema())
    raw["merges"][0] |= yaml.safe_load(text)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(raw, schema())


def test_own_images_config_is_short() -> None:
    assert len((BASE / "config/own_images.yaml").read_text().splitlines()) < 20


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("coefficient: 0.3", "Task Arithmetic, λ 0.3"),
        ("coefficient: 1", "Task Arithmetic"),
        ("coefficient: {search: [0.1, 0.2]}", "Task Arithmetic, λ on validation"),
        ("trust_region: {tau: 0.01}", "Task Arithmetic + TATR, τ 1 %, λ 0.3"),
        ("trust_region: {tau: {search: [0.01, 0.1]}}", "Task Arithmetic + TATR, λ 0.3, τ on validation"),
        (
            "trust_region: {tau: {search: [0.01, 0.1]}, exemplars: 8}, coefficient: {search: [0.1, 0.2]}",
            "Task Arithmetic + TATR, n 8, τ and λ on validation",
        ),
        (
            "trust_region: {sensitivity: zero_shot}, surgery: {}",
            "Task Arithmetic + TATR zero-shot, τ 1 % + Surgery, λ 0.3",
        ),
        ("calibration: svc", "Task Arithmetic + SVC, λ 0.3"),
        (
            "calibration: {alpha: 0.5}, trust_region: {tau: 0.01}, coefficient: 1",
            "Task Arithmetic + SVC, α 0.5 + TATR, τ 1 %",
        ),
        ("weights: {cars: 2, textures: 0.5}", "Task Arithmetic, cars × 2, textures × 0.5, λ 0.3"),
        ("coefficient: {'*.ln_*': 0, '*': 0.4}", "Task Arithmetic, λ 0 (*.ln_*), 0.4 (*)"),
        ("coefficient: {'*.ln_*': 1e-1}", "Task Arithmetic, λ 0.1 (*.ln_*), 0.3 elsewhere"),
        ("name: Mine", "Mine"),
    ],
)
def test_rows_say_what_they_are(text: str, name: str) -> None:
    assert load(one_merge(text)).merges[0].row_name == name
