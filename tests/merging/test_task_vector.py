import numpy as np
import pytest

from tatr.errors import TatrError
from tatr.merging.task_vector import Norm, task_vector


def test_a_task_vector_is_what_fine_tuning_changed() -> None:
    pretrained, finetuned = np.random.default_rng(0).normal(size=(2, 50)).astype(np.float32)
    delta = task_vector(finetuned, pretrained)
    assert len(delta) == 50
    assert delta[10:20].tobytes() == (finetuned - pretrained)[10:20].tobytes()
    with pytest.raises(TatrError, match="can't be combined"):
        task_vector(finetuned, pretrained[:49])


def test_the_norm_is_that_of_all_blocks() -> None:
    blocks = [*np.random.default_rng(0).standard_normal((3, 1000)).astype(np.float32)]
    norm = Norm()
    assert all(passed is block for passed, block in zip(norm.of(blocks), blocks, strict=True))
    assert norm.value == pytest.approx(np.linalg.norm(np.concatenate(blocks).astype(np.float64)), rel=1e-12)


def test_nothing_has_no_length() -> None:
    assert Norm().value == 0
