"""Adapters (LoRA and its kin): what was trained beside a model's weights, told by the names that it is given."""

import re
from collections.abc import Iterable
from pathlib import Path

_FACTORS = re.compile(r"(^|[._])(lora|dora|loha|lokr|hada|ia3|boft|oft|vera_lambda)[._]", re.IGNORECASE)
_NAMED = re.compile(r"(^|[._])adapters?([._]|$)", re.IGNORECASE)
CONFIG = "adapter_config.json"

REMEDY = "merge it into its base (merge_and_unload in peft), save the whole model that this gives, and use that"


def adapter_tensor(names: Iterable[str], *, widely: bool = False) -> str | None:
    """The first name of an adapter's tensor, if there is one.

    Args:
        names: of tensors.
        widely: whether anything that is called an adapter counts. Some architectures have parts of this name.
    """
    found = (name for name in names if _FACTORS.search(name) or (widely and _NAMED.search(name)))
    return next(found, None)


def is_adapter_folder(folder: Path) -> bool:
    """Whether a folder holds an adapter as peft saves it, and no whole model beside it."""
    names = [path.name for path in folder.iterdir()]
    adapters = [name for name in names if name.startswith("adapter_model.") or name == CONFIG]
    whole = [name for name in names if name.endswith(".safetensors") or name.startswith("pytorch_model")]
    return bool(adapters) and set(whole) <= set(adapters)
