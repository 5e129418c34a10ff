"""Pre-training: its loss by hand, its reproducibility on a toy, and the checkpoint that ships."""

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file

from tatr.training.pretraining import contrastive_loss, pretrain
from tatr.workflow.artefact import FILE
from tatr.workflow.verification import problems

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "backbones" / "tiny-clip"


def test_the_contrastive_loss_shares_an_image_s_caption_with_its_twins() -> None:
    """Two images with one caption: each picks it; the caption's target is half of each."""
    logits = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 3.0]])
    to_text = np.mean([np.log1p(np.exp(-gap)) for gap in (2.0, 1.0, 3.0)])
    column = np.log(np.exp([2.0, 1.0, 0.0]).sum())
    other = np.log(np.exp([0.0, 0.0, 3.0]).sum())
    to_image = ((column - 1.5) + (other - 3.0)) / 2
    loss = contrastive_loss(logits, torch.tensor([0, 0, 1]))
    assert loss.item() == pytest.approx((to_text + to_image) / 2, rel=1e-5)


def test_pretraining_is_reproducible_and_measures_what_it_reached(model: dict) -> None:
    tiny = {"image_size": 32, "patch_size": 16}
    model = model | {"vision_cfg": model["vision_cfg"] | tiny}
    settings = json.loads((FOLDER / "pretraining.json").read_text())
    settings |= {"images": 48, "heldout": 16, "steps": 3, "batch_size": 16}
    state, figures = pretrain(settings, model)
    again, _ = pretrain(settings, model)
    assert all(torch.equal(state[name], again[name]) for name in state)
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}
    assert set(figures) == {"loss", "heldout_loss", "heldout_accuracy", "logit_scale"}
    settings |= {"seed": 1}
    other, _ = pretrain(settings, model)
    assert not torch.equal(state["visual.proj"], other["visual.proj"])


def test_the_shipped_checkpoint_fits_its_config() -> None:
    assert (FOLDER / "model.safetensors").stat().st_size <= 8_000_000
    config = json.loads((FOLDER / "model.json").read_text())
    expected = {name: tensor.shape for name, tensor in open_clip.CLIP(**config).state_dict().items()}
    stored = load_file(FOLDER / "model.safetensors")
    assert {name: tensor.shape for name, tensor in stored.items()} == expected
    assert all(tensor.isfinite().all() for tensor in stored.values())


def test_the_shipped_backbone_is_whole() -> None:
    assert list(problems(FOLDER / FILE)) == []
