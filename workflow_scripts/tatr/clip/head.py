"""Zero-shot heads: a linear classifier made of class-name embeddings."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from tatr.clip import towers as clip
from tatr.clip.architecture import Architecture


@torch.no_grad()
def zero_shot_head(
    parameters: Mapping[str, np.ndarray],
    architecture: Architecture,
    classnames: Sequence[str],
    templates: Sequence[str],
) -> np.ndarray:
    """Classifier weights, float32 [C, D], times exp(logit scale), as in CLIP (Radford et al. 2021, §3.1.4).

    Per class: encode every template, normalise, average, normalise.

    Args:
        parameters: the text encoder's, with open_clip's names, and `logit_scale`.
        architecture: of the CLIP model.
        classnames: C names, in the order of the labels.
        templates: prompts with `{}` where the name goes.
    """
    tensors = clip.to_tensors(parameters)
    texts = [template.format(name) for name in classnames for template in templates]
    batches = clip.tokens_of(texts, architecture).split(1024)
    features = torch.cat([F.normalize(clip.text_features(tensors, batch, architecture), dim=-1) for batch in batches])
    means = F.normalize(features.view(len(classnames), len(templates), -1).mean(dim=1), dim=-1)
    return (means * tensors["logit_scale"].exp()).numpy()
