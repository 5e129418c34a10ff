"""torch's optimisers, without what they import for torch's compiler."""

import inspect
from typing import TypeVar

import torch

T = TypeVar("T", bound=torch.optim.Optimizer)

COMPILABLE = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
"""Methods that torch hides from its compiler."""


def eager(optimiser: type[T]) -> type[T]:
    """An optimiser class of torch whose steps are the same to the bit, and that does not import torch's compiler.

    torch decorates these methods for its compiler, which is imported when the first of them is called, used or not:
    900 modules, nearly as long as `import torch` itself.
    """
    methods = {name: inspect.unwrap(getattr(optimiser, name)) for name in COMPILABLE}
    methods["step"] = torch.no_grad()(inspect.unwrap(optimiser.step))  # the decorator's other duty
    return type(optimiser.__name__, (optimiser,), methods)
