"""Suites of tasks that are known by name, as the literature on merging defines them."""

from typing import Any

VISION = (
    *("stanford_cars", "dtd", "eurosat", "gtsrb", "mnist", "resisc45", "sun397", "svhn"),
    *("stl10", "oxford_iiit_pet", "flower102", "cifar100", "pcam", "fer2013"),
    *("cifar10", "food101", "fashion_mnist", "rendered_sst2", "emnist_digits", "kmnist"),
)
"""Tasks in the order of Wang et al. 2024, "Localizing task information for improved model merging and compression"."""

SUITES = {f"vision{count}": VISION[:count] for count in (8, 14, 20)}
"""Names of suites, and their tasks."""


def tasks_of(suite: Any) -> Any:  # noqa: ANN401
    """The tasks that a suite's name stands for; what is no name is left as it is.

    Raises:
        ValueError: no suite is called so.
    """
    if not isinstance(suite, str) or not suite.isidentifier():
        return suite
    if suite not in SUITES:
        raise ValueError(f"unknown suite; expected {', '.join(SUITES)}, or a list of tasks")
    return [*SUITES[suite]]
