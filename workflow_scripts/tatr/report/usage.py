"""How an exported model is used, as its card says it."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tatr.clip.model_configs import image_size
from tatr.report.classifiers import Classifier
from tatr.report.markdown import table

LISTED = 20
"""Class names or prompts of a task that are listed; the folder has all of them."""

SCALED = {"shortest": "the shorter side is", "squash": "both sides are"}
"""What is scaled to the model's size, by open_clip's name for it."""


def classification(task: str, *, with_surgery: bool = False) -> str:
    """Lines of Python that classify `image.png` as one of a task's classes, run in the model's folder."""
    lines = [
        "import json",
        "import open_clip",
        "from PIL import Image",
        "from safetensors.torch import load_file",
        "from torch.nn.functional import normalize",
        "",
        f"task = {json.dumps(task)}",
        'model, preprocess = open_clip.create_model_from_pretrained("local-dir:.")',
        'image = preprocess(Image.open("image.png").convert("RGB"))',
        "features = model.eval().encode_image(image.unsqueeze(0)).detach()",
    ]
    if with_surgery:
        lines += [
            'modules = load_file("surgery.safetensors")',
            'features -= (features @ modules[f"{task}.down"].T).relu() @ modules[f"{task}.up"].T',
        ]
    lines += [
        'scores = normalize(features, dim=-1) @ load_file("heads.safetensors")[task].T',
        'print(json.load(open("tasks.json"))[task]["classnames"][scores.argmax()])',
    ]
    return "\n".join(lines)


def use(task: str, config: Mapping[str, Any], *, with_surgery: bool) -> str:
    """How to classify an image, how it is preprocessed, and how to tell other classes apart."""
    preprocess, size = config["preprocess_cfg"], image_size(config["model_cfg"])
    mean, std = (", ".join(f"{value:g}" for value in preprocess[key]) for key in ("mean", "std"))
    scaled = SCALED[preprocess["resize_mode"]]
    paragraphs = [
        "In this folder, with `open_clip_torch` installed:",
        f"```python\n{classification(task, with_surgery=with_surgery)}\n```",
        *([_SURGERY] if with_surgery else []),
        f"`preprocess` makes of an RGB image what the model takes: {scaled} scaled to {size} pixels "
        f"({_interpolation(preprocess)}), the middle {size} × {size} pixels are kept, values are divided by 255, the "
        f"channels' means ({mean}) are subtracted, and the result is divided by ({std}). "
        "`scores.softmax(-1)` are probabilities.",
        _OTHER_CLASSES,
    ]
    return "\n\n".join(paragraphs)


def _interpolation(preprocess: Mapping[str, Any]) -> str:
    interpolation = str(preprocess["interpolation"])
    return interpolation if interpolation == "bicubic" else f"{interpolation}; the accuracies below are with bicubic"


def classes(classifiers: Mapping[str, Classifier], merged: Collection[str]) -> str:
    """Names and prompts of every task's classes."""
    lines = [["Task", "Classes", "Their names, in the order of the scores", "Prompts"]]
    for task, one in classifiers.items():
        name = task if task in merged else f"{task} (not merged)"
        prompts = [f"`{template}`" for template in one.templates]
        lines.append([name, str(len(one.classnames)), _listed(one.classnames), _listed(prompts)])
    return (
        "A class's row in `heads.safetensors` is the mean of the text features of its prompts, normalised, times the "
        f"logit scale. `tasks.json` holds all names and prompts.\n\n{table(lines, 'lrll')}"
    )


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f", … ({rest} more)" if rest > 0 else "")


_OTHER_CLASSES = """As the text encoder is unchanged, any other classes can be told apart by prompts:

```python
texts = open_clip.get_tokenizer("local-dir:.")(["a photo of a cat.", "a photo of a dog."])
scores = normalize(features, dim=-1) @ normalize(model.encode_text(texts), dim=-1).T
```"""

_SURGERY = """The features are corrected by two matrices of the task, `surgery.safetensors`, before they are normalised
(Yang et al. 2024, "Representation surgery for multi-task model merging"). So the model must be told the task."""
