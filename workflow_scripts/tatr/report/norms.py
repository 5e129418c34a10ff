"""A warning for task vectors of very unequal length."""

from collections.abc import Mapping

FACTOR = 3.0
"""From which on lengths are called unequal. Task vectors are nearly orthogonal, so each has the share ‖Δ_i‖² / Σ ‖Δ_k‖²
of the squared length of their sum: at a factor of 3 the longest counts nine times as much as the shortest."""


def unequal_norms(norms: Mapping[str, float], names: Mapping[str, str]) -> list[str]:
    """What a reader of the table must know of the task vectors' lengths: one text, or none.

    Args:
        norms: ‖Δ_k‖ per task.
        names: display names of tasks.
    """
    if not norms:
        return []
    longest, shortest = max(norms, key=lambda task: norms[task]), min(norms, key=lambda task: norms[task])
    if norms[longest] <= FACTOR * norms[shortest]:
        return []
    ratio = f"{norms[longest] / norms[shortest]:.1f} times as long as" if norms[shortest] else "not zero, unlike"
    return [
        f"The task vector of {names.get(longest, longest)} is {ratio} that of {names.get(shortest, shortest)} "
        f"(‖Δ‖ {norms[longest]:.3g} and {norms[shortest]:.3g}): merges that add task vectors up mostly follow the long "
        "ones. Were these models fine-tuned alike, from the same pre-trained one?"
    ]
