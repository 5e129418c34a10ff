"""A merged model as a folder that open_clip loads, and the model card beside it."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from tatr.clip.architecture import Architecture
from tatr.errors import TatrError
from tatr.vectors.apply import apply
from tatr.vectors.layout import Layout, blocks
from tatr.vectors.vector import Vector
from tatr.weights.safetensors_file import SafetensorsFile, write_safetensors
from tatr.workflow.artefact import Artefact

WEIGHTS = "open_clip_model.safetensors"
CONFIG = "open_clip_config.json"
"""What open_clip looks for in a folder."""

METHOD = ("method", "settings", "trust_region", "surgery", "tasks")
"""The settings that have words of their own in the card; all others are listed by their names."""


@dataclass(frozen=True)
class Source:
    """What an exported model was made from."""

    pretrained: Artefact
    evaluation: Artefact
    direction: Artefact
    surgery: Artefact | None

    def check(self) -> None:
        """Raise unless the evaluation measured the very model that is exported."""
        measured = {digest for group in self.evaluation.manifest.inputs.values() for digest in group.values()}
        for artefact in (self.pretrained, self.direction, *([self.surgery] if self.surgery else [])):
            if artefact.manifest.digest not in measured:
                raise TatrError(
                    f"{self.evaluation.folder}: measured another model than one with {artefact.folder}; "
                    "give what the evaluation was made from"
                )
        if self.evaluation.manifest.inputs.get("surgery") and not self.surgery:
            raise TatrError(f"{self.evaluation.folder}: measured a model with surgery; give its --surgery, too")

    @property
    def parts(self) -> dict[str, Artefact]:
        """The artefacts by what the card calls them."""
        parts = {"pre-trained": self.pretrained, "direction v": self.direction, "evaluation": self.evaluation}
        return parts | ({"surgery": self.surgery} if self.surgery else {})


def chosen(directions: Sequence[Artefact], scores: Mapping[str, Any], source: str) -> Artefact:
    """The direction that the evaluation chose, of those it was given in the same order."""
    index = scores["direction"]
    if index >= len(directions):
        raise TatrError(
            f"--directions: got {len(directions)}, but {source} chose number {index + 1}; give all that it chose from"
        )
    return directions[index]


def write_weights(
    path: Path, pretrained: Vector, direction: Vector, coefficient: float, layout: Layout, text: SafetensorsFile
) -> None:
    """Write the merged model: the image tower θ_pre + λ·v and the text tower as it is, float32, sorted by name.

    One block of θ_pre and v is in memory at a time.

    Args:
        path: the safetensors file to make.
        pretrained: θ_pre of the image tower, [N].
        direction: v, [N].
        coefficient: λ.
        layout: of both.
        text: the text tower and the logit scale.

    Raises:
        TatrError: an entry of the merged image tower is not finite.
    """
    visual = {parameter.name: parameter for parameter in layout.parameters}
    shapes = {name: entry.shape for name, entry in text.entries.items()} | {n: p.shape for n, p in visual.items()}
    names = sorted(shapes, key=str.encode)
    merged = apply(pretrained, direction, coefficient)

    def parts() -> Iterator[np.ndarray]:
        for name in names:
            offset = visual[name].offset if name in visual else 0
            for block in blocks(prod(shapes[name])):
                if name not in visual:
                    yield text.read(name, block)
                    continue
                part = merged[offset + block.start : offset + block.stop]
                if not np.isfinite(part).all():
                    raise TatrError(
                        f"the merged model (λ = {coefficient:g}): '{name}' holds NaN or infinity; it is not usable"
                    )
                yield part

    write_safetensors(path, {name: ("F32", shapes[name]) for name in names}, parts())


def open_clip_config(model: Mapping[str, Any]) -> dict[str, Any]:
    """`open_clip_config.json` of an open_clip model config.

    The activation is written out even where the config leaves it to the default: a model of OpenAI's that is loaded
    without QuickGELU gives wrong features without a word.
    """
    architecture = Architecture.of(model, "model.json")
    own = {key: value for key, value in model.items() if key != "preprocess_cfg"}
    preprocess = {
        "mean": architecture.mean,
        "std": architecture.std,
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    return {
        "model_cfg": own | {"quick_gelu": architecture.vision.quick_gelu},
        "preprocess_cfg": preprocess | model.get("preprocess_cfg", {}),
    }


def model_card(settings: Mapping[str, Any], scores: Mapping[str, Any], source: Source) -> str:
    """The model card in Markdown, with the metadata that the Hugging Face Hub reads.

    Args:
        settings: `row` (the title) and whatever else there is to say of the merge; all of it is shown.
        scores: of the evaluation (`tatr.measuring.evaluation.evaluate`).
        source: what the model was made from.
    """
    base = str(settings.get("base_model", re.sub(r"-[0-9a-f]{12}$", "", source.pretrained.manifest.name)))
    sections = [
        _metadata(base),
        f"# {' '.join(str(settings.get('row', 'Merged model')).split())}",
        f"The image encoder is θ_pre + λ·v: {base} and a direction v, merged from models that were fine-tuned on "
        "one task each. The text encoder and the logit scale are those of the pre-trained model.",
        "## Merge\n\n" + "\n".join(f"- {line}" for line in _facts(settings, scores)),
        "## How λ and τ were chosen\n\n" + _choice(scores),
        "## Accuracy\n\n" + _accuracy(scores, with_surgery=source.surgery is not None),
        "## Use\n\n" + _USE,
        *(["## Surgery\n\n" + _SURGERY] if source.surgery else []),
        "## Made from\n\n" + _origin(source),
    ]
    return "\n\n".join(sections) + "\n"


def _metadata(base: str) -> str:
    # JSON strings are YAML strings.
    lines = ["library_name: open_clip", "pipeline_tag: zero-shot-image-classification"]
    lines += [f"base_model: {json.dumps(base, ensure_ascii=False)}", "tags:", "- clip", "- merge", "- model-merging"]
    return "\n".join(["---", *lines, "---"])


def _facts(settings: Mapping[str, Any], scores: Mapping[str, Any]) -> Iterator[str]:
    yield f"Method: {_shown(settings.get('method', 'not stated'))}"
    yield f"Settings of the method: {_shown(settings.get('settings') or 'none')}"
    yield f"λ: {scores['coefficient']:g}"
    region = settings.get("trust_region")
    yield f"Trust region: {_shown(region) if region else 'none'}"
    if (tau := scores["tau"]) is not None:
        yield f"τ (share of the parameters, the most sensitive ones, left as they were): {tau:g}"
    if surgery := settings.get("surgery"):
        yield f"Surgery: {_shown(surgery)}"
    yield f"Tasks: {_shown(settings.get('tasks') or list(scores['scores']))}"
    for name in sorted(settings.keys() - {*METHOD, "row", "base_model"}):
        yield f"{name}: {_shown(settings[name])}"


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
    lines = [[*columns.values(), "Mean accuracy on validation [%]"], ["---:"] * (len(columns) + 1)]
    for row in search:
        best = all(row[column] == scores[column] for column in columns)
        cells = [*(f"{row[column]:g}" for column in columns), f"{100 * row['validation']:.2f}"]
        lines.append([f"**{cell}**" for cell in cells] if best else cells)
    return (
        "The candidate with the highest mean accuracy on the tasks' validation splits was taken (bold). "
        f"The test splits had no part in it.\n\n{_table(lines)}"
    )


def _accuracy(scores: Mapping[str, Any], *, with_surgery: bool) -> str:
    lines = [["Task", "Accuracy [%]", "Correct", "Images"], ["---", "---:", "---:", "---:"]]
    for task, score in scores["scores"].items():
        lines.append([task, f"{100 * score['accuracy']:.2f}", f"{score['correct']:,}", f"{score['images']:,}"])
    lines.append(["**Average**", f"**{100 * scores['average']:.2f}**", "", ""])
    note = "On the test splits, with zero-shot heads"
    note += " and with each task's surgery module, which open_clip does not apply (see below)." if with_surgery else "."
    return f"{note}\n\n{_table(lines)}"


def _origin(source: Source) -> str:
    lines = [["", "Artefact", "Digest of its content"], ["---", "---", "---"]]
    lines += [[name, f"`{part.manifest.name}`", f"`{part.manifest.digest}`"] for name, part in source.parts.items()]
    return _table(lines)


def _table(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_USE = """With `FOLDER` the folder that holds this file:

```python
import open_clip

model, _, preprocess = open_clip.create_model_and_transforms("local-dir:FOLDER")
tokenizer = open_clip.get_tokenizer("local-dir:FOLDER")
```

The classifier of a task is made of text features, as with any CLIP model. As the text encoder is unchanged, any classes
and any prompts can be used; the accuracies above are those of the tasks' own prompts."""

_SURGERY = """`surgery.safetensors` holds two matrices per task, which correct the image features of that task
(Yang et al. 2024, "Representation surgery for multi-task model merging"). Apply them before the features are
normalised:

```python
from safetensors.torch import load_file

modules = load_file("FOLDER/surgery.safetensors")
features = model.encode_image(images)
down, up = modules[f"{task}.down"], modules[f"{task}.up"]
features = features - (features @ down.T).relu() @ up.T
```"""
