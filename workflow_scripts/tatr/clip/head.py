"""Zero-shot heads: a linear classifier made of class-name embeddings."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from tatr.clip import towers as clip
from tatr.clip.architecture import Architecture
from tatr.errors import TatrError


@torch.no_grad()
def zero_shot_head(
    parameters: Mapping[str, np.ndarray],
    architecture: Architecture,
    classnames: Sequence[str],
    templates: Sequence[str],
    key: str = "classnames",
) -> np.ndarray:
    """Classifier weights, float32 [C, D], times exp(logit scale), as in CLIP (Radford et al. 2021, §3.1.4).

    Per class: encode every template, normalise, average, normalise.

    Args:
        parameters: the text encoder's, with open_clip's names, and `logit_scale`.
        architecture: of the CLIP model.
        classnames: C names, in the order of the labels.
        templates: prompts with `{}` where the name goes.
        key: of the task's configuration, for messages.

    Raises:
        TatrError: two classes are one to the text encoder.
    """
    tensors = clip.to_tensors(parameters)
    texts = [template.format(name) for name in classnames for template in templates]
    tokens = clip.tokens_of(texts, architecture)
    _check_told_apart(tokens.view(len(classnames), -1), classnames, key)
    batches = tokens.split(1024)
    features = torch.cat([F.normalize(clip.text_features(tensors, batch, architecture), dim=-1) for batch in batches])
    means = F.normalize(features.view(len(classnames), len(templates), -1).mean(dim=1), dim=-1)
    return (means * tensors["logit_scale"].exp()).numpy()


def _check_told_apart(tokens: torch.Tensor, classnames: Sequence[str], key: str) -> None:
    """Raise if the prompts of two classes are the same tokens [C, T]: the second would never be predicted."""
    found = dict[bytes, str]()
    for name, own in zip(classnames, tokens.numpy(), strict=True):
        if (first := found.setdefault(own.tobytes(), name)) != name:
            raise TatrError(
                f"{key}: {first!r} and {name!r} are one to the text encoder, which reads the beginning of a prompt "
                "alone, and many no capitals; give the classes names that differ more"
            )
