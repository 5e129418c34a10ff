"""Sums and numbers of positive and of negative entries, while tasks pass by one after the other."""

import numpy as np


class Votes:
    """Of each entry."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        """Of no task so far."""
        self._sums = np.zeros((2, *shape))
        self._counts = np.zeros((2, *shape), np.int32)

    def add(self, entries: np.ndarray) -> None:
        """Of one task more, float64; entries of zero do not vote."""
        for sums, counts, there in zip(self._sums, self._counts, (entries > 0, entries < 0), strict=True):
            np.add(sums, entries, out=sums, where=there)
            counts += there

    def total(self) -> np.ndarray:
        """The sum of all entries."""
        whole: np.ndarray = self._sums[0] + self._sums[1]
        return whole

    def means(self, positive: np.ndarray) -> np.ndarray:
        """The mean of the positive entries where that is said, of the negative ones elsewhere; 0 if there is none."""
        positive_means, negative_means = self._sums / np.maximum(self._counts, 1)
        return np.where(positive, positive_means, negative_means)
