import numpy as np
import pytest

from tatr.errors import TatrError
from tatr.merging.task_vector import task_vector


def test_a_task_vector_is_what_fine_tuning_changed() -> None:
    pretrained, finetuned = np.random.default_rng(0).normal(size=(2, 50)).astype(np.float32)
    delta = task_vector(finetuned, pretrained)
    assert len(delta) == 50
    assert delta[10:20].tobytes() == (finetuned - pretrained)[10:20].tobytes()
    with pytest.raises(TatrError, match="can't be combined"):
        task_vector(finetuned, pretrained[:49])
