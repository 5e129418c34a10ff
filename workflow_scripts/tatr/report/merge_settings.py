"""Settings of analyses that name a merge: which methods and sensitivities they can look at."""

from tatr.merging import methods, sensitivities


def a_method(name: str) -> None:
    """Raise a ValueError unless it is a method that merges whichever tasks it is given."""
    if name not in methods.names():
        raise ValueError(f"unknown method; known: {', '.join(methods.names())}")
    if "coefficients" in methods.load(name).needs:
        raise ValueError("learns from images of all tasks, so other tasks are another training; choose another method")


def a_sensitivity(name: str) -> None:
    """Raise a ValueError unless it is a sensitivity whose trust region has a τ."""
    if name not in sensitivities.names():
        raise ValueError(f"unknown sensitivity; known: {', '.join(sensitivities.names())}")
    if sensitivities.load(name).threshold is not None:
        raise ValueError("its trust region has no τ; choose a sensitivity whose region has one")
