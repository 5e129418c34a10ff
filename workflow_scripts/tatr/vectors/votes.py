"""Weighted sums and means of positive and of negative entries, while tasks pass by one after the other."""

import numpy as np


class Votes:
    """Of each entry."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        """Of no task so far."""
        self._sums = np.zeros((2, *shape))
        self._weights = np.zeros((2, *shape))

    def add(self, entries: np.ndarray, weight: float = 1.0) -> None:
        """Of one task more, float64, times its weight; entries of zero do not vote."""
        for sums, weights, there in zip(self._sums, self._weights, (entries > 0, entries < 0), strict=True):
            np.add(sums, weight * entries, out=sums, where=there)
            weights += weight * there

    def total(self) -> np.ndarray:
        """The weighted sum of all entries."""
        whole: np.ndarray = self._sums[0] + self._sums[1]
        return whole

    def means(self, positive: np.ndarray) -> np.ndarray:
        """The weighted mean of the positive entries where that is said, of the negative ones elsewhere; 0 if there is
        none.
        """
        means = np.divide(self._sums, self._weights, out=np.zeros_like(self._sums), where=self._weights > 0)
        return np.where(positive, means[0], means[1])
