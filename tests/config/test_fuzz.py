"""Random and mutated configurations: each is a configuration or a TatrError, never another exception."""

import copy
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from tatr.config.loading import load_config, read_tasks
from tatr.config.models import Config
from tatr.config.written import read_yaml
from tatr.errors import TatrError
from tatr.workflow.plan import Plan, build

BASE = Path(__file__).parents[2]
KNOWN = read_tasks([BASE / "config/tasks.yaml", BASE / "config/clip_tasks.yaml"])
WHOLE: dict[str, Any] = yaml.safe_load("""
name: whole
backbone: {name: ViT-B-32, weights: openai, resize: squash, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}
suite: [cars, digits, own]
unseen: [mnist]
seed: 1
tasks:
  own: {source: folder, root: images, classnames: [a, b], templates: ['a {}'], counts: {train: 9}, limit: 5}
  mnist: {source: hub, dataset: a/b, revision: c}
  dtd: {source: torchvision, root: data, dataset: DTD, train: [{split: train}]}
data: {sources: [hub, folder], root: data}
checkpoints: {origin: hub, repository: 'a/{task}', tasks: {cars: {origin: train}}}
finetuning: {steps: 600, crop_scale: [0.5, 1], tasks: {cars: {steps: 700, learning_rate: 1.0e-4}}}
multitask: {steps: 900}
exemplars: {count: 9, seed: 3}
evaluation: {precision: bf16}
sanity: {expected: {cars: 90}, tolerance: 2}
merges:
  - method: ties
    density: [0.1, 0.2]
    coefficient: {search: [0.1, 0.2]}
    trust_region: [null, {tau: {search: [0.1, 0.2]}}]
  - {method: task_arithmetic, trust_region: {sensitivity: positive, exemplars: 4}, surgery: {rank: 4}, name: mine}
  - {method: ada_merging, split: validation}
analyses: {contrasts: {pairs: [[mine, AdaMerging]]}, similarity: {}, landscapes: {tasks: [cars], taus: [0.1]}}
display: {tasks: {cars: Cars}, digits: 2, figure_width: 5, colour: red}
""")
SCALARS = ["", "0625", "no", "~", "1_000", "0x1F", "12:30:45", "2025-01-02", "1e400", ".nan", "-.inf", "'a {b}'", "{}"]
SCALARS += [
    "[]",
    "[[]]",
    "{a: {}}",
    "'~nobody/x'",
    '"\\0"',
    "-1",
    "1e30",
    "0.5",
    "true",
    "cars",
    "'../x'",
    "!!binary aGk=",
]
SCALARS += ["!!set {a}", "{search: []}", "{no: 1}", "{1: 2}", "x" * 5000, "'😀'", "[cars, cars]", "{source: tiny8}"]
VALUES = st.sampled_from(SCALARS).map(yaml.safe_load) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=6,
)


def places(node: Any, keys: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:  # noqa: ANN401
    """Where anything stands."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [place for key, value in items for place in ((*keys, key), *places(value, (*keys, key)))]


PLACES = places(WHOLE)


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """A whole configuration of which one to three places are removed, replaced, renamed, or wrapped in a list."""
    raw = copy.deepcopy(WHOLE)
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(PLACES))
        kind = draw(st.sampled_from(["remove", "replace", "replace", "rename", "wrap", "copy"]))
        node: Any = raw
        try:
            for key in way:
                node = node[key]
            if kind == "remove":
                del node[last]
            elif kind == "wrap":
                node[last] = [node[last], draw(VALUES)]
            elif kind == "rename" and isinstance(node, dict):
                node[draw(st.text(max_size=5) | st.sampled_from([False, None, 3, 0.5]))] = node.pop(last)
            else:
                node[last] = draw(VALUES) if kind == "replace" else copy.deepcopy(raw)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took it away
    return raw


def test_what_is_mutated_is_right() -> None:
    assert isinstance(load_config(WHOLE, KNOWN), Config)
    assert len(PLACES) > 100


@given(mutated())
def test_a_mutated_configuration_is_planned_or_refused_in_words(raw: dict[str, Any]) -> None:
    told = planned_or_told(raw)
    assert isinstance(told, Plan) or told.strip()


@given(st.dictionaries(st.sampled_from([*Config.model_fields, "x-a", "?"]), VALUES, max_size=6))
def test_a_random_configuration_is_planned_or_refused_in_words(raw: dict[str, Any]) -> None:
    planned_or_told({"suite": ["cars", "digits"], "merges": [{"method": "ties"}], **raw})


@given(
    st.integers(0, 10**6), st.sampled_from([*"[]{}:,&*!|>'\"%@`#-?~\n\t \0", "0", "\ufeff", "\u2028", "é", "- ", ": "])
)
def test_a_text_with_a_character_more_is_read_or_refused_in_one_line(place: int, added: str) -> None:
    text = yaml.safe_dump(WHOLE, sort_keys=False, width=99)
    at = place % len(text)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "mine.yaml")
        file.write_text(text[:at] + added + text[at:], encoding="utf-8")
        try:
            raw = read_yaml(file)
        except TatrError as error:
            assert "\n" not in str(error)
            return
        if isinstance(raw, dict):
            planned_or_told(raw, file)


def planned_or_told(raw: dict[str, Any], *files: Path) -> Plan | str:
    try:
        return build(load_config(raw, KNOWN, files), BASE / "backbones")
    except TatrError as error:
        return str(error)
