"""Towers other than standard CLIP transformers, computed by open_clip's own classes (SigLIP, EVA, CoCa, CLIPA, …).

The classes are built without weights: their parameters are placeholders, and every call brings named tensors in their
place. So the towers are functions of named tensors, as those of `tatr.clip.towers` are. Layers are in evaluation mode.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

import open_clip
from open_clip.coca_model import CoCa
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from torch import Tensor, nn
from torch.func import functional_call

from tatr.errors import TatrError

Parameters = Mapping[str, Tensor]

SMALL_VISION = {"image_size": 8, "patch_size": 8, "width": 8, "head_width": 8, "layers": 1}
SMALL_TEXT = {"context_length": 8, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1}
"""Used in place of the tower that is not needed, which may need libraries or files of its own."""


class _Texts(nn.Module):
    """A model whose call encodes texts."""

    def __init__(self, model: CLIP | CoCa | CustomTextCLIP) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        features: Tensor = self.model.encode_text(tokens, normalize=False)
        return features


def image_shapes(model: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the image encoder's parameters, `visual.*`, in open_clip's order.

    Args:
        model: the model's config, as JSON.

    Raises:
        TatrError: the encoder has tensors that are not parameters, or fixed parameters.
    """
    tower = _image_tower(model)
    names = dict(tower.named_parameters())
    if others := sorted(tower.state_dict().keys() - names.keys()):
        raise TatrError(
            f"the image encoder has '{others[0]}' in addition to its parameters ({len(others)} tensors, usually batch "
            "statistics). Merging would leave them out; use a model without them, such as ViT-B-32-quickgelu"
        )
    if fixed := [name for name, parameter in names.items() if not parameter.requires_grad]:
        raise TatrError(f"the image encoder's '{fixed[0]}' is fixed, not trained; use another model")
    return {f"visual.{name}": tuple(parameter.shape) for name, parameter in names.items()}


def text_shapes(model: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all the model's parameters but the image encoder's, in open_clip's order.

    They may include some that no classifier needs: SigLIP's logit bias, which adds the same to all classes' scores,
    and CoCa's caption decoder. They are kept so that a merged model can be loaded by open_clip.
    """
    parameters = _text_tower(model).model.named_parameters()
    return {name: tuple(p.shape) for name, p in parameters if not name.startswith("visual.")}


def image_features(p: Parameters, pixels: Tensor, model: str) -> Tensor:
    """Image features [B, D], not normalised, of normalised pixels [B, 3, H, W]."""
    return _call(_image_tower(model), {name.removeprefix("visual."): tensor for name, tensor in p.items()}, pixels)


def text_features(p: Parameters, tokens: Tensor, model: str) -> Tensor:
    """Text features [B, D], not normalised, of token ids [B, context length]."""
    return _call(_text_tower(model), {f"model.{name}": tensor for name, tensor in p.items()}, tokens)


def tokenize(texts: Sequence[str], model: str) -> Tensor:
    """Token ids [B, context length] by the model's own tokenizer.

    Raises:
        TatrError: the tokenizer's files are neither on this machine nor available for download.
    """
    text = json.loads(model)["text_cfg"]
    length, options = text.get("context_length", 77), text.get("tokenizer_kwargs", {})
    if not (name := text.get("hf_tokenizer_name")):
        tokens: Tensor = SimpleTokenizer(context_length=length, **options)(list(texts))
        return tokens
    try:
        tokenizer = HFTokenizer(name, context_length=length, tokenizer_mode=text.get("tokenizer_mode"), **options)
    except (OSError, ImportError, ValueError) as error:
        raise TatrError(
            f"the tokenizer {name} can't be loaded ({_first_line(error)}); fetch it where the network is: "
            f"python -c \"import transformers; transformers.AutoTokenizer.from_pretrained('{name}')\""
        ) from error
    ids: Tensor = tokenizer(list(texts))
    return ids


def _call(module: nn.Module, parameters: Parameters, inputs: Tensor) -> Tensor:
    # Masks, rotary angles and the like are the module's own.
    buffers = {name: buffer.to(inputs.device) for name, buffer in module.named_buffers()}
    features = functional_call(module, {**buffers, **parameters}, (inputs,))
    # CoCa's towers return their tokens, too.
    pooled: Tensor = features[0] if isinstance(features, tuple) else features
    return pooled


@cache
def _image_tower(model: str) -> nn.Module:
    config = json.loads(model)
    small = {"embed_dim": config["embed_dim"], "vision_cfg": config["vision_cfg"], "text_cfg": SMALL_TEXT}
    tower: nn.Module = _built(CLIP, small | {"quick_gelu": config.get("quick_gelu", False)}).visual
    return tower


@cache
def _text_tower(model: str) -> _Texts:
    config = json.loads(model) | {"vision_cfg": SMALL_VISION}
    custom_text = config.pop("custom_text", False) or "hf_model_name" in config["text_cfg"]
    config["text_cfg"] = config["text_cfg"] | {"hf_model_pretrained": False}
    kind = CLIP if not custom_text else CoCa if "multimodal_cfg" in config else CustomTextCLIP
    return _Texts(_built(kind, config)).eval()


def _built(kind: Callable[..., nn.Module], config: Mapping[str, Any]) -> Any:  # noqa: ANN401  (modules' attributes)
    # On a thread of its own: classes draw first weights, which `vmap` refuses on the thread that it runs on.
    with ThreadPoolExecutor(1) as elsewhere:
        return elsewhere.submit(_build, kind, config).result()


def _build(kind: Callable[..., nn.Module], config: Mapping[str, Any]) -> nn.Module:
    try:
        try:
            with _without_weights():
                return kind(**config).eval()
        except RuntimeError:  # some hybrids run a part of themselves to learn its output's shape
            return _stripped(kind(**config).eval())
    except (TypeError, ValueError, AssertionError, RuntimeError, OSError) as error:
        raise TatrError(
            f"open_clip {open_clip.__version__} can't build this model ({_first_line(error)}); look at its model config"
        ) from error


@contextmanager
def _without_weights() -> Iterator[None]:
    """Modules made here have placeholders (on the meta device) for parameters, but buffers of their own."""
    register = nn.Module.register_parameter

    def placeholder(self: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        register(self, name, parameter if parameter is None else _placeholder(parameter))

    nn.Module.register_parameter = placeholder  # type: ignore[assignment, method-assign]  # replaced for a while
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]  # put back


def _stripped(model: nn.Module) -> nn.Module:
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            module.register_parameter(name, _placeholder(parameter))
    return model


def _placeholder(parameter: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
