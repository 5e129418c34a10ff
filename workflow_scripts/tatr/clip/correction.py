"""How a task's surgery module corrects features.

Yang et al. 2024, "Representation surgery for multi-task model merging". Kept apart from the modules' training: an edit
of that does not re-evaluate models without surgery.
"""

from pathlib import Path

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from tatr.clip.towers import to_tensors
from tatr.weights.encoder_file import load_tensors

Module = tuple[Tensor, Tensor]
"""down [r, D] and up [D, r]."""


def corrected(features: Tensor, down: Tensor, up: Tensor) -> Tensor:
    """Features f, [B, D], not normalised, as f − up·relu(down·f)."""
    return features - F.relu(features @ down.T) @ up.T


def load_modules(file: Path, device: str) -> dict[str, Module]:
    """The modules of a file (surgery.safetensors), per task."""
    tensors = to_tensors(load_tensors(file), device)
    tasks = sorted({name.rpartition(".")[0] for name in tensors})
    return {task: (tensors[f"{task}.down"], tensors[f"{task}.up"]) for task in tasks}
