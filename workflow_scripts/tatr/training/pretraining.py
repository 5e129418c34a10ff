"""Contrastive pre-training of a small CLIP, in open_clip's classes, on the embedded crawl.

The settings, as in `backbones/tiny-clip/pretraining.json`:

    seed            of the crawl, the weights and the order of the batches
    images          pairs to train on
    heldout         further pairs, for the figures that are measured at the end
    captions        how the crawl looks and speaks, see `tatr.data.tiny8.captions.draw_pairs`
    steps, batch_size, learning_rate, warmup, weight_decay
                    AdamW (betas 0.9, 0.98), linear warm-up for `warmup` steps, half a cosine to zero
    max_logit_scale upper bound of exp(logit_scale)
    dtype           that the weights are stored in
"""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np
import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from tatr.data.tiny8.captions import draw_pairs
from tatr.progress import progress
from tatr.training.schedule import learning_rate_at

_PIECE = 2000  # pairs drawn per job of a worker process
_RECENT = 100  # steps that the reported training loss is the mean of


@dataclass(frozen=True)
class Crawl:
    """Image-caption pairs, each distinct caption tokenised once."""

    images: Tensor  # uint8 [n, 3, 32, 32]
    caption: Tensor  # int64 [n], an index into tokens
    tokens: Tensor  # int64 [distinct, context_length]

    def split(self, first: int) -> tuple["Crawl", "Crawl"]:
        """The first pairs, and the others."""
        head = Crawl(self.images[:first], self.caption[:first], self.tokens)
        return head, Crawl(self.images[first:], self.caption[first:], self.tokens)


def draw_crawl(settings: Mapping[str, Any], context_length: int) -> Crawl:
    """Draw `images + heldout` pairs, in as many processes as torch has threads; any number gives the same."""
    count = settings["images"] + settings["heldout"]
    starts = range(0, count, _PIECE)
    jobs = [(settings["captions"], settings["seed"], s, min(s + _PIECE, count)) for s in starts]
    workers = min(torch.get_num_threads(), len(jobs))
    if workers == 1:
        pieces = [draw_pairs(*job) for job in progress(jobs, "draw")]
    else:
        # A forked copy of a process that already runs torch's threads can hang: spawn fresh ones.
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            futures = [pool.submit(draw_pairs, *job) for job in jobs]
            pieces = [future.result() for future in progress(futures, "draw")]
    return _tokenise(pieces, context_length)


def _tokenise(pieces: Sequence[tuple[np.ndarray, list[str]]], context_length: int) -> Crawl:
    images = np.concatenate([piece[0] for piece in pieces]).transpose(0, 3, 1, 2)
    captions = [caption for piece in pieces for caption in piece[1]]
    distinct, caption = np.unique(np.array(captions), return_inverse=True)
    tokenizer = open_clip.tokenizer.SimpleTokenizer(context_length=context_length)
    tokens = tokenizer(distinct.tolist())
    return Crawl(torch.from_numpy(images.copy()), torch.from_numpy(caption), tokens)


def normalise(images: Tensor) -> Tensor:
    """uint8 `[n, 3, h, w]` to float32 with CLIP's mean and deviation."""
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(1, 3, 1, 1)
    deviation = torch.tensor(open_clip.OPENAI_DATASET_STD).view(1, 3, 1, 1)
    return (images.float() / 255 - mean) / deviation


def _augment(images: Tensor, rng: torch.Generator) -> Tensor:
    """Another exposure per image and another shift per batch: cheap, and no picture repeats."""
    count = len(images)
    gain = 0.8 + 0.4 * torch.rand(count, 1, 1, 1, generator=rng)
    bias = 0.3 * torch.randn(count, 1, 1, 1, generator=rng)
    across, down = torch.randint(-2, 3, (2,), generator=rng).tolist()
    return torch.roll(images * gain + bias, (down, across), dims=(2, 3))


def _encode(model: open_clip.CLIP, images: Tensor, tokens: Tensor) -> Tensor:
    """Logits `[images, texts]`; the towers compute in bfloat16.

    Attention is spelled out: the fused kernel's backward pass is several times slower here.
    """
    with torch.autocast("cpu", dtype=torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        image = model.encode_image(images)
        text = model.encode_text(tokens)
    image, text = (functional.normalize(feature.float(), dim=-1) for feature in (image, text))
    return model.logit_scale.exp() * image @ text.T


def contrastive_loss(logits: Tensor, which: Tensor) -> Tensor:
    """CLIP's symmetric loss for a batch in which several images may have the same caption.

    Args:
        logits: `[images, distinct captions]`.
        which: int64 `[images]`, every image's caption.

    """
    to_text = functional.cross_entropy(logits, which)
    member = functional.one_hot(which, logits.shape[1]).T.float()
    to_image = functional.cross_entropy(logits.T, member / member.sum(dim=1, keepdim=True))
    return (to_text + to_image) / 2


def _optimiser(model: nn.Module, settings: Mapping[str, Any]) -> torch.optim.AdamW:
    """AdamW; gains, biases and embeddings (whose rare words get no gradient) do not decay."""
    parameters = list(model.named_parameters())
    free = [p for name, p in parameters if p.ndim < 2 or "embedding" in name]
    decayed = [p for name, p in parameters if not (p.ndim < 2 or "embedding" in name)]
    groups = [
        {"params": decayed, "weight_decay": settings["weight_decay"]},
        {"params": free, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings["learning_rate"], betas=(0.9, 0.98), fused=True)


def _train(model: open_clip.CLIP, crawl: Crawl, settings: Mapping[str, Any]) -> float:
    """Train in place; returns the mean loss over the last steps."""
    rng = torch.Generator().manual_seed(settings["seed"])
    optimiser = _optimiser(model, settings)
    recent: deque[float] = deque(maxlen=_RECENT)
    queue = torch.empty(0, dtype=torch.int64)
    steps = range(settings["steps"])
    for step in progress(steps, "pre-train", status=lambda: f"loss {sum(recent) / len(recent):.4f}"):
        if len(queue) < settings["batch_size"]:
            queue = torch.randperm(len(crawl.images), generator=rng)
        batch, queue = queue[: settings["batch_size"]], queue[settings["batch_size"] :]
        texts, which = crawl.caption[batch].unique(return_inverse=True)
        images = _augment(normalise(crawl.images[batch]), rng)
        loss = contrastive_loss(_encode(model, images, crawl.tokens[texts]), which)
        rate = settings["learning_rate"] * learning_rate_at(step, 1.0, settings["warmup"], settings["steps"])
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():  # as CLIP does, so that the logits cannot run away
            model.logit_scale.clamp_(0, math.log(settings["max_logit_scale"]))
        recent.append(loss.item())
    return sum(recent) / len(recent)


@torch.no_grad()
def _heldout(model: open_clip.CLIP, crawl: Crawl, batch_size: int) -> dict[str, float]:
    """Loss, and how often the right caption wins among a batch's, on pairs not trained on."""
    losses, right = [], 0
    for start in range(0, len(crawl.images), batch_size):
        batch = slice(start, start + batch_size)
        texts, which = crawl.caption[batch].unique(return_inverse=True)
        logits = _encode(model, normalise(crawl.images[batch]), crawl.tokens[texts])
        losses.append(contrastive_loss(logits, which).item())
        right += int((logits.argmax(dim=1) == which).sum())
    return {
        "heldout_loss": sum(losses) / len(losses),
        "heldout_accuracy": right / len(crawl.images),
    }


def pretrain(
    settings: Mapping[str, Any], model_config: Mapping[str, Any], report: Callable[[str], None] | None = None
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Pre-train a CLIP from scratch on the embedded crawl.

    Deterministic for the same settings, number of threads and kind of processor.

    Args:
        settings: see above.
        model_config: of open_clip, as in `backbones/tiny-clip/model.json`.
        report: told what was drawn and what was reached, besides the progress in the log.

    Returns:
        the state dict under open_clip's names, stored as `settings["dtype"]`, and measured figures:
        the last training loss, held-out loss and accuracy, and the logit scale.

    """
    report = report or (lambda message: None)
    crawl = draw_crawl(settings, model_config["text_cfg"]["context_length"])
    report(f"drew {len(crawl.images)} pictures with {len(crawl.tokens)} distinct captions")
    heldout, training = crawl.split(settings["heldout"])
    torch.manual_seed(settings["seed"])
    model = open_clip.CLIP(**model_config)
    model.train()
    loss = _train(model, training, settings)
    model.eval()
    figures = {"loss": loss, **_heldout(model, heldout, settings["batch_size"])}
    figures["logit_scale"] = model.logit_scale.exp().item()
    report(", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
    dtype = getattr(torch, settings["dtype"])
    state = {name: tensor.to(dtype).contiguous() for name, tensor in model.state_dict().items()}
    return state, figures
