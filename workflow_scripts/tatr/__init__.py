"""TATR: merge fine-tuned models inside a trust region (Task Arithmetic in Trust Region, arXiv 2501.15065).

from tatr import merge
merged = merge(pretrained, {"cars": cars, "digits": digits}, coefficient=0.3, tau=0.01)

`merge_files` does the same with safetensors files of any size.
"""

from typing import Any

__all__ = ["TatrError", "mean_absolute_gradient", "merge", "merge_files"]

_HOME = {
    "TatrError": "errors",
    "mean_absolute_gradient": "measuring.gradient",
    "merge": "merging.state_dicts",
    "merge_files": "merging.file_merge",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    # On first use: whoever merges NumPy arrays does not wait for torch, and a step's code digest does not cover
    # modules that it never loads.
    if name not in _HOME:
        raise AttributeError(f"module 'tatr' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(f"tatr.{_HOME[name]}"), name)
