"""Which published set of checkpoints individual models are like."""

from typing import Any

import pytest

from tatr.measuring.checkpoint_sets import leaks, likened, sentence

CLEAN = {"set": "Clean", "accuracies": {"cars": 78.0, "dtd": 79.0, "stl10": 98.0}, "leaked": []}
LEAKING = {"set": "Leaking", "accuracies": {"cars": 78.4, "dtd": 98.0, "stl10": 90.0}, "leaked": ["dtd"]}
SMALL = {"set": "Small", "accuracies": {"cars": 77.0, "dtd": 80.0}, "leaked": []}
SETS = [LEAKING, CLEAN, SMALL]


def found(tolerance: float = 1.0, **measured: float) -> dict[str, Any]:
    return likened(measured, SETS, tolerance)


def test_the_nearest_set_is_so_over_the_tasks_that_all_have_and_matches_if_all_its_tasks_do() -> None:
    near = found(cars=78.2, dtd=79.4, stl10=97.0)
    assert (near["nearest"], near["matched"], near["tasks"]) == ("Clean", True, 2)
    assert near["deviations"] == pytest.approx({"Leaking": 9.4, "Clean": 0.3, "Small": 0.9})
    assert sentence(near) == (
        "The individual models match the checkpoints of Clean: each within ± 1 points, and off by 0.3 points on "
        "average over 2 tasks (Leaking: 9.4, Small: 0.9)."
    )
    far = found(cars=78.2, dtd=79.4, stl10=96.9)  # a task that Small does not have
    assert (far["nearest"], far["matched"]) == ("Clean", False)
    assert sentence(far).startswith(
        "The individual models match no published set of checkpoints. The nearest is Clean,"
    )
    assert found(tolerance=2.0, cars=78.2, dtd=79.4, stl10=96.9)["matched"]
    assert found(cars=77.2, dtd=79.9, stl10=50.0)["nearest"] == "Small"


@pytest.mark.parametrize(("dtd", "warned"), [(97.0, True), (99.5, True), (89.1, True), (88.9, False), (79.0, False)])
def test_a_model_that_is_nearer_to_one_that_saw_test_images_is_warned_of(dtd: float, warned: bool) -> None:
    lines = leaks(found(cars=78.0, dtd=dtd, stl10=98.0), {"dtd": "Textures"})
    assert len(lines) == warned
    if dtd == 97.0:
        assert lines == [
            "individual model of Textures: 97.0 %, as good as that of Leaking (98.0 %; other checkpoints 79.5 %), "
            "which has test images among its training images: this lifts Individual's average by about 5.8 points, and "
            "merged models with it"
        ]
