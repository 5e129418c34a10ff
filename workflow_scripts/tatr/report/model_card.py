"""The model card of an exported model: its use, how it was merged, how λ and τ were chosen, and what it reaches."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from tatr.report.classifiers import Classifier
from tatr.report.export import Lineage
from tatr.report.markdown import table
from tatr.report.usage import classes, use

METHOD = ("method", "settings", "trust_region", "surgery", "tasks", "weights", "calibration", "coefficient")
"""The settings that have words of their own in the card; all others are listed by their names."""


def model_card(
    settings: Mapping[str, Any],
    scores: Mapping[str, Any],
    lineage: Lineage,
    classifiers: Mapping[str, Classifier],
    config: Mapping[str, Any],
) -> str:
    """The model card in Markdown, with the metadata that the Hugging Face Hub reads.

    Args:
        settings: `row` (the title) and anything else about the merge; all of it is shown.
        scores: of the evaluation (`tatr.measuring.evaluation.evaluate`).
        lineage: what the model was made from.
        classifiers: of the evaluation's tasks, at least one.
        config: what the folder's `open_clip_config.json` says.
    """
    merged, with_surgery = merged_tasks(settings, scores), lineage.surgery is not None
    base = str(settings.get("base_model", re.sub(r"-[0-9a-f]{12}$", "", lineage.pretrained.name)))
    sections = [
        _metadata(base),
        f"# {' '.join(str(settings.get('row', 'Merged model')).split())}",
        f"The image encoder is θ_pre + λ·v: {base} and a direction v, merged from models that were fine-tuned on "
        "one task each. The text encoder and the logit scale are those of the pre-trained model.",
        "## Classify an image\n\n" + use(next(iter(classifiers)), config, with_surgery=with_surgery),
        "## Classes and prompts\n\n" + classes(classifiers, merged),
        "## Merge\n\n" + "\n".join(f"- {line}" for line in _facts(settings, scores)),
        "## How λ and τ were chosen\n\n" + _choice(scores),
        "## Accuracy\n\n" + _accuracy(scores, merged, with_surgery=with_surgery),
        "## Made from\n\n" + _origin(lineage),
    ]
    return "\n\n".join(sections) + "\n"


def merged_tasks(settings: Mapping[str, Any], scores: Mapping[str, Any]) -> list[str]:
    """The tasks whose models were merged; all that were evaluated, if the settings don't say."""
    return list(settings.get("tasks") or scores["scores"])


def _metadata(base: str) -> str:
    # JSON strings are YAML strings.
    lines = ["library_name: open_clip", "pipeline_tag: zero-shot-image-classification"]
    lines += [f"base_model: {json.dumps(base, ensure_ascii=False)}", "tags:", "- clip", "- merge", "- model-merging"]
    return "\n".join(["---", *lines, "---"])


def _facts(settings: Mapping[str, Any], scores: Mapping[str, Any]) -> Iterator[str]:
    yield f"Method: {_shown(settings.get('method', 'not stated'))}"
    yield f"Settings of the method: {_shown(settings.get('settings') or 'none')}"
    yield f"λ: {_lambda(settings, scores)}"
    if weights := settings.get("weights"):
        yield f"Weights of tasks: {_shown(weights)}; of all others 1"
    if calibration := settings.get("calibration"):
        yield f"Calibration of λ·v: {_shown(calibration)}"
    region = settings.get("trust_region")
    yield f"Trust region: {_shown(region) if region else 'none'}"
    if (tau := scores["tau"]) is not None:
        yield f"τ (share of the parameters, the most sensitive ones, left as they were): {tau:g}"
    elif region and "tau" not in region:
        yield "τ: none; the sensitivity alone decides which parameters are left as they were"
    if surgery := settings.get("surgery"):
        yield f"Surgery: {_shown(surgery)}"
    yield f"Tasks: {_shown(settings.get('tasks') or list(scores['scores']))}"
    for name in sorted(settings.keys() - {*METHOD, "row", "base_model"}):
        yield f"{name}: {_shown(settings[name])}"


def _lambda(settings: Mapping[str, Any], scores: Mapping[str, Any]) -> str:
    # What the evaluation added may have had λ in it already.
    given = settings.get("calibration", settings).get("coefficient", scores["coefficient"])
    if isinstance(given, Mapping):
        return f"by names of tensors, the first pattern that matches: {_shown(given)}"
    return f"{given:g}"


def _shown(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"`{json.dumps(value, ensure_ascii=False)}`" if isinstance(value, dict) else str(value)


def _choice(scores: Mapping[str, Any]) -> str:
    search = scores["search"]
    if not search:
        return "λ and τ were given, not searched for."
    columns = (
        {"tau": "τ", "coefficient": "λ"} if any(row["tau"] is not None for row in search) else {"coefficient": "λ"}
    )
    lines = [[*columns.values(), "Mean accuracy on validation [%]"]]
    for row in search:
        best = all(row[column] == scores[column] for column in columns)
        cells = [*(f"{row[column]:g}" for column in columns), f"{100 * row['validation']:.2f}"]
        lines.append([f"**{cell}**" for cell in cells] if best else cells)
    return (
        "The candidate with the highest mean accuracy on the tasks' validation splits was taken (bold). "
        f"The test splits had no part in it.\n\n{table(lines, 'r' * (len(columns) + 1))}"
    )


def _accuracy(scores: Mapping[str, Any], merged: Collection[str], *, with_surgery: bool) -> str:
    lines = [["Task", "Accuracy [%]", "Correct", "Images"]]
    for task, score in scores["scores"].items():
        name = task if task in merged else f"{task} (not merged)"
        lines.append([name, f"{100 * score['accuracy']:.2f}", f"{score['correct']:,}", f"{score['images']:,}"])
    lines.append(["**Average**", f"**{100 * scores['average']:.2f}**", "", ""])
    if "unseen_average" in scores:
        lines.append(["Average of those not merged", f"{100 * scores['unseen_average']:.2f}", "", ""])
    note = "On the test splits, with the heads of this folder"
    note += " and with each task's surgery module, which open_clip itself does not apply." if with_surgery else "."
    return f"{note}\n\n{table(lines, 'lrrr')}"


def _origin(lineage: Lineage) -> str:
    lines = [["", "Artefact", "Digest of its content"]]
    lines += [[role, f"`{parent.name}`", f"`{parent.digest}`"] for role, parent in lineage.parents.items()]
    return table(lines, "lll")
