"""TATR: merge fine-tuned models inside a trust region (Task Arithmetic in Trust Region, arXiv 2501.15065).

- `merge(pretrained, finetuned, …)`: of models in memory, the merged state dict;
- `merge_files(base, finetuned, output, …)`: of models on disk, of any size, a folder with the merged one;
- `mean_absolute_gradient(loss, parameters, …)`: how sensitive a model is, measured (this one needs torch);
- `TatrError`: what the caller can put right.

A state dict maps names to torch tensors or NumPy arrays, of any architecture. `pretrained` is one, or a torch module;
`finetuned` and `gradients` map the names of tasks to one each, or are lists:

    from tatr import mean_absolute_gradient, merge, merge_files

    merged = merge(pretrained, finetuned, coefficient=0.3)  # Task Arithmetic
    merged = merge(pretrained, finetuned, coefficient=0.3, tau=0.01)  # in a trust region, without any data
    merged = merge(pretrained, finetuned, tau=0.01, method="ties", density=0.2)  # another method

    # The paper's trust region: gradients at θ_pre, measured on a few images of every task and their labels.
    # losses[task](parameters, image, label) is a scalar.
    gradients = {task: mean_absolute_gradient(losses[task], pretrained, *exemplars[task]) for task in finetuned}
    merged = merge(pretrained, finetuned, coefficient=0.3, tau=0.01, gradients=gradients)

    # Models that lie on disk as safetensors, of any size.
    merge_files("base/", {"cars": "cars/", "digits": "digits/"}, "merged/", tau=0.01)

`help(tatr.merge)` names the methods and their settings.
"""

from typing import Any

__all__ = ["TatrError", "__version__", "mean_absolute_gradient", "merge", "merge_files"]

# Type checkers read the names from `__init__.pyi`.
_HOME = {
    "TatrError": "errors",
    "mean_absolute_gradient": "measuring.gradient",
    "merge": "merging.given_models.state_dicts",
    "merge_files": "merging.given_models.file_merge",
}


_NEEDS_TORCH = {"mean_absolute_gradient"}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    # On first use: merging NumPy arrays does not wait for torch, and a step's code digest does not cover
    # modules that it never loads (nor the version).
    if name == "__version__":
        return _version()
    if name not in _HOME:
        raise AttributeError(f"module 'tatr' has no attribute '{name}'")
    import importlib

    if name in _NEEDS_TORCH and not _has_torch():
        raise ImportError(f"tatr.{name} needs torch; install it (pip install torch)")
    return getattr(importlib.import_module(f"tatr.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    # `help(tatr)` loads all that is listed.
    return sorted({*globals(), *__all__} - (set() if _has_torch() else _NEEDS_TORCH))


def _has_torch() -> bool:
    from importlib import util

    return util.find_spec("torch") is not None


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("tatr")
    except metadata.PackageNotFoundError:  # used from a clone that is not installed
        import tomllib
        from pathlib import Path

        project = Path(__file__).parents[2] / "pyproject.toml"
        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])
