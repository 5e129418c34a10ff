"""Settings that are typed once: what a recipe takes from JSON, what it refuses and in which words."""

import inspect
import json
import subprocess
import sys
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import pytest

from tatr.errors import TatrError
from tatr.merging.methods import load
from tatr.settings import keywords, meaning, recipe_of
from tatr.training.recipes.adaptation import Adaptation
from tatr.training.recipes.exemplars import ExemplarCounts, Exemplars
from tatr.training.recipes.fine_tuning import FineTuning
from tatr.training.recipes.rank_adaptation import RankAdaptation
from tatr.training.recipes.surgery import Surgery

ADAPTATION = {name: p.default for name, p in load("ada_merging").parameters.items()} | {"seed": 0}
RANK_ADAPTATION = {name: p.default for name, p in load("ada_rank").parameters.items()} | {"seed": 0}
RECIPES = [
    FineTuning(seed=0),
    Surgery(seed=0),
    Exemplars(seed=0),
    Adaptation(**ADAPTATION),
    ExemplarCounts(counts=(1, 16), seed=0),
    RankAdaptation(**RANK_ADAPTATION),
]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: type(recipe).__name__)
def test_a_recipe_comes_back_whole_from_the_settings_that_it_was_written_to(recipe: Any) -> None:  # noqa: ANN401
    settings = json.loads(json.dumps(asdict(recipe)))
    assert recipe_of(type(recipe), settings, "--settings") == recipe
    assert recipe_of(type(recipe), settings | {"task": "cars"}, "--settings", ("task",)) == recipe


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: type(recipe).__name__)
def test_missing_and_unknown_settings_are_refused(recipe: Any) -> None:  # noqa: ANN401
    settings = asdict(recipe)
    first, *others = settings
    given = {name: settings[name] for name in others}
    with pytest.raises(TatrError, match=rf"^--settings: lacks '{first}' \(given: {', '.join(others)}\)$"):
        recipe_of(type(recipe), given, "--settings")
    with pytest.raises(TatrError, match=rf"^--settings: 'epochs' is unknown; expected {first}, "):
        recipe_of(type(recipe), settings | {"epochs": 3}, "--settings")


@pytest.mark.parametrize(
    ("recipe", "changed", "message"),
    [
        (RECIPES[0], {"steps": 0}, "steps = 0 is out of range, expected ≥ 1"),
        (RECIPES[0], {"steps": 1.5}, "steps = 1.5: expected a whole number"),
        (RECIPES[0], {"steps": True}, "steps = True: expected a whole number"),
        (RECIPES[0], {"learning_rate": 0}, "learning_rate = 0 is out of range, expected > 0"),
        (RECIPES[0], {"learning_rate": "high"}, "learning_rate = 'high': expected a number"),
        (RECIPES[0], {"learning_rate": float("nan")}, "learning_rate = nan: expected a number"),
        (RECIPES[0], {"learning_rate": float("inf")}, "learning_rate = inf: expected a number"),
        (RECIPES[0], {"precision": "fp16"}, "precision = 'fp16': expected one of fp32, tf32, bf16"),
        (RECIPES[0], {"micro_batch": 0}, "micro_batch = 0 is out of range, expected ≥ 1"),
        (RECIPES[0], {"micro_batch": "all"}, "micro_batch = 'all': expected a whole number or null"),
        (RECIPES[0], {"checkpointing": 1}, "checkpointing = 1: expected true or false"),
        (RECIPES[0], {"crop_scale": [0.9]}, "crop_scale = [0.9]: expected a list of 2 values"),
        (RECIPES[0], {"crop_scale": [1, 0.9]}, "crop_scale = [1, 0.9]: expected two shares above 0 and up to 1"),
        (RECIPES[0], {"seed": None}, "seed = None: expected a whole number"),
        (RECIPES[1], {"split": "train"}, "split = 'train': expected one of test, validation"),
        (RECIPES[1], {"rank": -1}, "rank = -1 is out of range, expected ≥ 1"),
        (RECIPES[2], {"count": 0}, "count = 0 is out of range, expected ≥ 1"),
        (RECIPES[4], {"counts": 16}, "counts = 16: expected a list, each of it a whole number"),
        (RECIPES[4], {"counts": [1, 1.5]}, "counts = [1, 1.5]: expected a list, each of it a whole number"),
        (RECIPES[4], {"counts": []}, "counts = []: expected whole numbers from 1 up, in ascending order"),
        (RECIPES[4], {"counts": [2, 1]}, "counts = [2, 1]: expected whole numbers from 1 up, in ascending order"),
        (RECIPES[4], {"counts": [0]}, "counts = [0]: expected whole numbers from 1 up, in ascending order"),
        (RECIPES[3], {"granularity": "tensor"}, "granularity = 'tensor': expected one of layer, task"),
        (RECIPES[3], {"split": "train"}, "split = 'train': expected one of test, validation"),
        (RECIPES[3], {"density": 0}, "density = 0 is out of range, expected > 0 and ≤ 1"),
        (RECIPES[5], {"base": "cart"}, "base = 'cart': expected one of pretrained, mean"),
        (RECIPES[5], {"rank_share": 0}, "rank_share = 0 is out of range, expected > 0 and ≤ 1"),
    ],
)
def test_values_that_are_not_allowed_are_refused(recipe: Any, changed: dict[str, Any], message: str) -> None:  # noqa: ANN401
    with pytest.raises(TatrError) as caught:
        recipe_of(type(recipe), asdict(recipe) | changed, "--settings")
    assert str(caught.value).startswith(f"--settings: {message}")


@pytest.mark.parametrize(("name", "learning"), [("ada_merging", Adaptation), ("ada_rank", RankAdaptation)])
def test_what_is_learnt_for_a_method_has_its_settings_and_a_seed(name: str, learning: Any) -> None:  # noqa: ANN401
    method, recipe = load(name).parameters, keywords(learning)
    assert [field.name for field in fields(learning)] == [*method, "seed"]
    assert {name: recipe[name].annotation for name in method} == {name: p.annotation for name, p in method.items()}


def test_all_fields_say_what_they_mean() -> None:
    for recipe in RECIPES:
        for parameter in inspect.signature(type(recipe)).parameters.values():
            assert meaning(parameter.annotation)


def test_recipes_import_no_torch() -> None:
    line = "import tatr.training.recipes.{0}, sys; assert not {{'torch', 'zarr', 'pydantic'}} & {{*sys.modules}}"
    for name in ("fine_tuning", "surgery", "exemplars"):
        subprocess.run([sys.executable, "-c", line.format(name)], check=True, env={"PYTHONPATH": _scripts()})


def _scripts() -> str:
    return inspect.getfile(recipe_of).removesuffix("/tatr/settings.py")


@pytest.mark.parametrize("settings", [{"seed": np.int64(3)}, {"drop": np.float32(0.5)}, {"seed": np.arange(3)[1]}])
def test_numpy_s_numbers_are_numbers(settings: dict[str, Any]) -> None:
    load("dare").check(settings)


@pytest.mark.parametrize("settings", [{"seed": np.float32(3)}, {"seed": np.True_}, {"drop": True}])
def test_others_are_not(settings: dict[str, Any]) -> None:
    with pytest.raises(TatrError, match="expected a"):
        load("dare").check(settings)
