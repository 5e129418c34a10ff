"""The paper's configurations, and one of the literature's suites, made small.

Backbones have a few thousand random weights, tasks a handful of generated images.
"""

from pathlib import Path
from typing import Any

import yaml
from native_files import NATIVE
from small_clip import write_backbone

from tatr.config.loading import expand
from tatr.config.suites import tasks_of
from tatr.merging.methods import load

CONFIGS = Path(__file__).parents[2] / "config"
PER_CLASS = 6

ROWS_OF_ANALYSES = 2
"""Entries at the end of `merges` that the analyses are about."""

VISION = {
    "paper_vit_b32": {"image_size": 64, "patch_size": 32, "width": 64, "layers": 2, "head_width": 32},
    "paper_vit_b16": {"image_size": 64, "patch_size": 16, "width": 64, "layers": 2, "head_width": 32},
    "paper_vit_l14": {"image_size": 56, "patch_size": 14, "width": 96, "layers": 3, "head_width": 32},
    "vision20_vit_b32": {"image_size": 64, "patch_size": 32, "width": 64, "layers": 2, "head_width": 32},
}
"""The same kinds of vision transformer as ViT-B/32, ViT-B/16 and ViT-L/14, with their patches."""


def write_data(folder: Path, suite: list[str]) -> dict[str, dict[str, Any]]:
    """The eight tasks' images in their own layouts; DTD's, and all others', as Parquet files of the Hub.

    Returns `tasks`.
    """
    tasks = {}
    for task in suite:
        layout = NATIVE["hub" if task == "dtd" or task not in NATIVE else task]
        layout.write(folder / task, layout.classes, PER_CLASS)
        tasks[task] = layout.task(folder / task, per_class=PER_CLASS)
        if layout is NATIVE["hub"]:  # whose columns and splits are called otherwise in some
            tasks[task] |= {"image_column": "image", "label_column": "label", "train": "train", "test": "test"}
    return tasks


def small_config(name: str, folder: Path) -> dict[str, Any]:
    """A configuration in which everything that takes long is short.

    The analyses and their rows are the same in all three of the paper's, and run in one of them: ViT-B/32's, with all
    its rows. Of the others one row of each method is run.
    """
    config: dict[str, Any] = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    backbone = write_backbone(folder / "clip", VISION[name])
    config["backbone"] = str(backbone)
    config["suite"] = list(tasks_of(config["suite"]))
    config["tasks"] = write_data(folder / "data", config["suite"])
    config["exemplars"] = {"count": 4}
    recipe = {"steps": 2, "warmup_steps": 1, "batch_size": 8, "learning_rate": 1e-3}
    given = {key: value for key, value in config.get("finetuning", {}).items() if key != "tasks"}
    config["finetuning"] = recipe | ({"micro_batch": 4, **given} if given else {})
    # The paper's figures are of other models; any accuracy will do here.
    config["sanity"] = {"expected": dict.fromkeys(config["suite"], 50), "tolerance": 1}
    if name == "paper_vit_b32":
        config["analyses"]["landscapes"] |= {"tasks": ["mnist"], "images": 4, "steps": 2}
    else:
        entries = config["merges"][:-ROWS_OF_ANALYSES] if config.pop("analyses", None) else config["merges"]
        config["merges"] = [row for entry in entries for row in _one_of_each_method(entry)]
    for merge in config["merges"]:
        _shorten(merge)
    return config


def _one_of_each_method(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The last row of each, which is in a trust region if one is; of what is searched, two candidates."""
    rows = {row["method"]: row for row in expand(entry)}.values()
    for row in rows:
        if isinstance(searched := row.get("coefficient"), dict):
            row["coefficient"] = {"search": searched["search"][:2]}
    return [*rows]


def _shorten(merge: dict[str, Any]) -> None:
    methods = merge["method"] if isinstance(merge["method"], list) else [merge["method"]]
    merge |= {"exemplars": 4} if "exemplars" in load(methods[0]).parameters else {}
    merge |= {"iterations": 2, "batch_size": 4} if {"ada_merging", "ada_rank"} & {*methods} else {}
    merge |= {"surgery": {"iterations": 2, "batch_size": 4}} if "surgery" in merge else {}
    regions = merge.get("trust_region")
    for region in regions if isinstance(regions, list) else [regions]:
        if region and "exemplars" in region:
            region["exemplars"] = [1, 2]


def write_config(config: dict[str, Any], path: Path) -> Path:
    """Write a configuration as YAML."""
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path
