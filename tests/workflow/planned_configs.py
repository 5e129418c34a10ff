"""Plans of configurations that tests write in a line, without reading data or weights."""

from pathlib import Path
from typing import Any

from tatr.config.loading import load_config, read_tasks
from tatr.workflow.plan import Plan, Planned, build

BASE = Path(__file__).parents[2]
KNOWN = read_tasks([BASE / "config/tasks.yaml", BASE / "config/clip_tasks.yaml"])
PAPER = ["sun397", "stanford_cars", "resisc45", "eurosat", "svhn", "gtsrb", "mnist", "dtd"]
OPENAI = {"name": "ViT-B-32-quickgelu", "weights": "openai"}


def planned(suite: list[str] | None = None, **keys: Any) -> Plan:  # noqa: ANN401
    raw = {"suite": suite or ["cars", "digits"], "merges": [{"method": "weight_average"}]} | keys
    return build(load_config(raw, KNOWN), BASE / "backbones")


def one(plan: Plan, kind: str, label: str = "") -> Planned:
    """The only artefact of a kind, or of a kind and a label."""
    (planned,) = (planned for planned in plan.of_kind(kind) if label in ("", planned.label))
    return planned


def names(plan: Plan, kind: str) -> set[str]:
    return {artefact.label for artefact in plan.of_kind(kind)}
