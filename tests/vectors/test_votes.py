"""Sums and means of entries by their signs."""

import numpy as np

from tatr.vectors.votes import Votes


def test_total_and_means_by_sign() -> None:
    rows = np.array([[[1.0, -2, 0, 0]], [[3, 4, -1, 0]], [[0, -8, -5, 0]]])
    votes = Votes((1, 4))
    for row in rows:
        votes.add(row)
    np.testing.assert_array_equal(votes.total(), rows.sum(axis=0))
    np.testing.assert_array_equal(votes.means(np.array([[True, True, True, True]])), [[2, 4, 0, 0]])
    np.testing.assert_array_equal(votes.means(np.array([[False, False, False, True]])), [[0, -5, -3, 0]])
    np.testing.assert_array_equal(votes.means(votes.total() >= 0), [[2, -5, -3, 0]])


def test_of_no_task_all_is_zero() -> None:
    assert not Votes((3,)).total().any()
    assert not Votes((3,)).means(np.ones(3, bool)).any()
