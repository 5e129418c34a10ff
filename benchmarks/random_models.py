"""Random models and vectors that the other benchmarks start from; a part of them. Memory stays small.

Values are normal: weights of 0.02 and updates of 0.001, gradients with heavy tails. They depend on the seed alone.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from math import prod
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workflow_scripts"))

from tatr.clip.architecture import Architecture
from tatr.vectors.layout import blocks
from tatr.weights.safetensors_file import to_bytes, write_safetensors

Shapes = Mapping[str, tuple[int, ...]]

TINY_CLIP = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "head_width": 16, "layers": 2},
    "text_cfg": {"context_length": 16, "vocab_size": 512, "width": 32, "heads": 2, "layers": 1},
}


def image_tower(config: str) -> Shapes:
    """Tensors of the image tower of one of open_clip's model configs, or of a tiny one ("tiny")."""
    if config == "tiny":
        found = TINY_CLIP
    else:
        import importlib.util

        spec = importlib.util.find_spec("open_clip")
        assert spec and spec.origin
        found = json.loads((Path(spec.origin).parent / f"model_configs/{config}.json").read_text(encoding="utf-8"))
    layout = Architecture.of(found, config).layout()
    return {parameter.name: parameter.shape for parameter in layout.parameters}


def plain_tensors(size: int, width: int = 1024) -> Shapes:
    """Square matrices, and a bias, that have `size` entries together."""
    count, rest = divmod(size, width * width)
    return {f"layers.{i}.weight": (width, width) for i in range(count)} | ({"bias": (rest,)} if rest else {})


def language_model(parameters: int) -> Shapes:
    """Tensors named and shaped as Qwen2.5-1.5B's (1.54e9 parameters), its widths scaled to have about `parameters`."""
    heads, key_heads, layers = 12, 2, 28
    head = max(1, round(128 * (parameters / 1.544e9) ** 0.5))
    width, keys, inner, words = heads * head, key_heads * head, 70 * head, 1187 * head
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (words, width)}
    for layer in (f"model.layers.{i}." for i in range(layers)):
        for name, rows in (("q", width), ("k", keys), ("v", keys)):
            shapes[f"{layer}self_attn.{name}_proj.bias"] = (rows,)
            shapes[f"{layer}self_attn.{name}_proj.weight"] = (rows, width)
        shapes[f"{layer}self_attn.o_proj.weight"] = (width, width)
        shapes |= {f"{layer}mlp.{name}_proj.weight": (inner, width) for name in ("gate", "up")}
        shapes[f"{layer}mlp.down_proj.weight"] = (width, inner)
        shapes |= {f"{layer}{name}_layernorm.weight": (width,) for name in ("input", "post_attention")}
    return shapes | {"model.norm.weight": (width,)}


def size_of(shapes: Shapes) -> int:
    """N."""
    return sum(map(prod, shapes.values()))


def write_models(folder: Path, shapes: Shapes, tasks: int) -> tuple[Path, list[Path]]:
    """Files of θ_pre and of models fine-tuned from it, in float32: base.safetensors, task1.safetensors and so on."""
    base, models = folder / "base.safetensors", [folder / f"task{task}.safetensors" for task in range(1, tasks + 1)]
    with ThreadPoolExecutor(2) as pool:
        list(
            pool.map(lambda path, task: write_model(path, shapes, task), [base, *models], [None, *range(1, tasks + 1)])
        )
    return base, models


def write_model(path: Path, shapes: Shapes, task: int | None, dtype: str = "F32") -> None:
    """A safetensors file of θ_pre (`task` None), or of the model that was fine-tuned from it on a task."""
    names = sorted(shapes)
    parts = (to_bytes(part, dtype) for name in names for part in _weights(name, prod(shapes[name]), task))
    write_safetensors(path, {name: (dtype, shapes[name]) for name in names}, parts)


def write_sharded_model(folder: Path, shapes: Shapes, task: int | None, shards: int = 2) -> None:
    """The same in bfloat16, as a Hugging Face folder: shards and their index."""
    folder.mkdir(parents=True)
    before, total, home = 0, size_of(shapes), {}
    for name, shape in shapes.items():
        home[name] = f"model-{1 + shards * before // total:05}-of-{shards:05}.safetensors"
        before += prod(shape)
    for file, names in groupby(shapes, home.__getitem__):
        write_model(folder / file, {name: shapes[name] for name in names}, task, "BF16")
    index = {"metadata": {"total_size": 2 * total}, "weight_map": home}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")


def update(task: int, size: int) -> Iterator[np.ndarray]:
    """A random task vector over `size` entries, block by block."""
    return _normal([task], size, 1e-3)


def gradient(task: int, size: int) -> Iterator[np.ndarray]:
    """Random mean absolute gradients over `size` entries, block by block."""
    for part in _normal([task, 1], size, 1):
        yield np.abs(part * part * part * np.float32(1e-4))


def _weights(name: str, size: int, task: int | None) -> Iterator[np.ndarray]:
    seed = [*name.encode()]
    pretrained = _normal(seed, size, 0.02)
    if task is None:
        return pretrained
    return (part + step for part, step in zip(pretrained, _normal([task, *seed], size, 1e-3), strict=True))


def _normal(seed: list[int], size: int, scale: float) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    for block in blocks(size):
        yield rng.standard_normal(block.stop - block.start, np.float32) * np.float32(scale)
