"""Changes to the configuration."""

from collections.abc import Callable
from typing import Any

import edits
import yaml
from case import Case
from jobs import (
    EVALUATED,
    FIGURES,
    NOTHING,
    PRETRAINED,
    SUITE,
    TABLE,
    TASKS,
    WEIGHT_AVERAGE,
    evaluated,
    fine_tuned,
    gradient_based,
    gradients,
    merged,
    seen_anew,
    zero_shot,
)


def _scenes() -> dict[str, int]:
    return {"train": 64, "validation": 30, "test": 40}


def _appended(key: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda config: config[key].append(value)


def _add_task(config: dict[str, Any]) -> None:
    config["suite"].append("scenes")
    config["tasks"]["scenes"] = _scenes()


def _add_unseen(config: dict[str, Any]) -> None:
    config["unseen"] = ["scenes"]
    config["tasks"]["scenes"] = _scenes()


def _region(index: int, **settings: object) -> Callable[[dict[str, Any]], object]:
    return lambda config: config["merges"][index]["trust_region"].update(settings)


def setting(*path: str | int, to: object) -> Callable[[dict[str, Any]], object]:
    """Give a key of the configuration another value."""

    def change(config: Any) -> None:  # noqa: ANN401
        for key in path[:-1]:
            config = config.setdefault(key, {}) if isinstance(config, dict) else config[key]
        config[path[-1]] = to

    return change


def _new_task() -> set[str]:
    of_task = {f"{kind}:scenes" for kind in ("images", "head", "finetuning", "task_vector")}
    return of_task | {"gradient:scenes_n-8", "evaluation:individual_scenes"} | PRETRAINED | SUITE


CONFIGURATION = [
    Case("nothing", "change nothing", "nothing", NOTHING),
    Case(
        "tau-added",
        "add a value of τ to a sweep",
        "its mask and evaluation; the merge stays, whatever the method",
        zero_shot(0.02),
        _region(2, tau=[0.01, 0.02]),
    ),
    Case("tau-changed", "change τ", "mask and evaluation; the merge stays", zero_shot(0.02), _region(2, tau=0.02)),
    Case(
        "coefficient-changed",
        "change λ",
        "the evaluation; a merge is stored as a direction, independent of λ",
        evaluated("task_arithmetic", "0.4"),
        setting("merges", 1, "coefficient", to=0.4),
    ),
    Case(
        "search-changed",
        "change the candidates among which λ is searched",
        "the evaluation",
        evaluated("task_arithmetic+gradient_n-8_tau-0.01", "search"),
        setting("merges", 3, "coefficient", "search", to=[0.2, 0.4, 0.6]),
    ),
    Case(
        "row-added",
        "add a merge",
        "its evaluation; merge and mask are there already",
        evaluated("weight_average+zero_shot_tau-0.01", "1"),
        _appended("merges", {"method": "weight_average", "trust_region": {"sensitivity": "zero_shot", "tau": 0.01}}),
    ),
    Case(
        "row-of-another-method",
        "add a merge by another method",
        "the merge and its evaluation; masks are shared",
        merged("magmax", "0.5") | evaluated("magmax+zero_shot_tau-0.01", "0.5"),
        _appended("merges", {"method": "magmax", "trust_region": [None, {"sensitivity": "zero_shot", "tau": 0.01}]}),
    ),
    Case(
        "signs-asked-for",
        "ask for a sensitivity by signs (`positive`)",
        "signed gradients, sensitivity, mask and evaluation; absolute gradients and the merge stay",
        {f"signed_gradient:{task}_n-8" for task in TASKS}
        | {"sensitivity:positive_n-8", "mask:positive_n-8"}
        | evaluated("task_arithmetic+positive_n-8", "0.3"),
        _appended("merges", {"method": "task_arithmetic", "trust_region": {"sensitivity": "positive"}}),
    ),
    Case("row-removed", "remove a merge", "table, figure and report", TABLE, lambda config: config["merges"].pop(1)),
    Case(
        "rows-reordered",
        "list the merges in another order",
        "table, figure and report",
        TABLE,
        lambda c: c["merges"].reverse(),
    ),
    Case(
        "task-added",
        "add a task to the suite",
        "all of the new task; what sums over the suite",
        _new_task(),
        _add_task,
    ),
    Case(
        "task-removed",
        "remove a task from the suite",
        "what sums over the suite; the other tasks' models and gradients stay",
        PRETRAINED | SUITE,
        lambda config: config["suite"].remove("textures"),
    ),
    Case(
        "unseen-added",
        "add a task that is evaluated but not merged",
        "its images and head; the evaluations of rows that have a value there",
        {"images:scenes", "head:scenes"} | PRETRAINED | EVALUATED,
        _add_unseen,
    ),
    Case(
        "seen-unseen",
        "evaluate a task of the suite, but no longer merge it",
        "what sums over the suite",
        PRETRAINED | SUITE,
        lambda config: config.update(suite=["cars", "digits"], unseen=["textures"]),
    ),
    Case(
        "learning-rate",
        "fine-tune one task with another learning rate",
        "its model and task vector; what sums over the suite; the other models and all gradients stay",
        fine_tuned("cars"),
        setting("finetuning", "tasks", to={"cars": {"learning_rate": 1e-4}}),
    ),
    Case(
        "exemplar-count",
        "change the number of exemplars",
        "gradients and what the mask needs; no fine-tuning",
        gradients(*TASKS, count=16),
        setting("exemplars", "count", to=16),
    ),
    Case(
        "exemplar-count-added",
        "add a number of exemplars to a sweep",
        "gradients, once for all numbers, and every mask that needs them; no fine-tuning",
        gradients(*TASKS, count=8, of="8-16") | gradient_based(16),
        _region(3, exemplars=[8, 16]),
    ),
    Case(
        "exemplar-seed",
        "change the seed of the exemplars",
        "gradients and what the mask needs; no fine-tuning",
        gradients(*TASKS),
        setting("exemplars", "seed", to=1),
    ),
    Case(
        "seed",
        "change the top-level seed",
        "fine-tuning and gradients, with all that follows",
        fine_tuned(*TASKS) | gradients(*TASKS),
        setting("seed", to=1),
    ),
    Case(
        "seed-added",
        "run a second seed (`seeds: [0, 1]`)",
        "fine-tuning and gradients of that seed, with all that follows; images, heads, the pre-trained model's "
        "evaluation and the first seed's results stay",
        fine_tuned(*TASKS) | gradients(*TASKS),
        setting("seeds", to=[0, 1]),
    ),
    Case("seed-listed", "write the seed as a list (`seeds: [0]`)", "nothing", NOTHING, setting("seeds", to=[0])),
    Case(
        "image-count",
        "change how many images of a task are used, in any split",
        "the task's images, and all that used them",
        {"images:cars"} | seen_anew("cars"),
        setting("tasks", "cars", "test", to=50),
    ),
    Case(
        "template",
        "change a prompt of a task",
        "the task's zero-shot head, and all that used it; its images stay",
        {"head:cars"} | seen_anew("cars"),
        setting("tasks", "cars", "templates", to=["a picture of a {}."]),
    ),
    Case(
        "second-configuration",
        "run a second configuration in the same folder",
        "what it does not share with the first",
        {"tables:other", "figures:other", "report:other", *PRETRAINED, *(WEIGHT_AVERAGE - TABLE)},
        lambda config: config.update(name="other", suite=["cars", "digits"], merges=[{"method": "weight_average"}]),
    ),
    Case(
        "suite-reordered",
        "list the suite in another order",
        "table, figure and report",
        TABLE,
        lambda c: c["suite"].reverse(),
    ),
    Case(
        "task-name",
        "rename a task in tables",
        "table, figure and report",
        TABLE,
        setting("display", "tasks", "cars", to="Cars"),
    ),
    Case("row-name", "rename a row", "table, figure and report", TABLE, setting("merges", 0, "name", to="Average")),
    Case(
        "plot-style",
        "change the figure's look",
        "the figure and the report",
        FIGURES,
        setting("display", "colour", to="teal"),
    ),
    Case(
        "keys-reordered",
        "write the keys in another order, or defaults out",
        "nothing",
        NOTHING,
        text=lambda text: yaml.safe_dump(edits.reversed_keys(yaml.safe_load(text)) | {"seed": 0}, sort_keys=False),
    ),
    Case(
        "number-respelled",
        "spell a number another way (`1e-2` for `0.01`)",
        "nothing",
        NOTHING,
        text=lambda text: text.replace("0.01", "1e-2").replace("3.0e-4", "0.00030").replace("0.3}", "3.0e-1}"),
    ),
]
