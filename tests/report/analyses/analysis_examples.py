"""Small things that analyses can look at."""

from typing import Any

import numpy as np

from tatr.measuring.predictions import Predictions
from tatr.report.analyses import Labelled, LossPlane, Results
from tatr.vectors.layout import Layout

TASKS = ("cars", "digits", "textures")
SHAPES = {
    "visual.conv1.weight": (3, 2),
    "visual.transformer.resblocks.0.ln_1.weight": (4,),
    "visual.transformer.resblocks.0.attn.in_proj_bias": (3,),
    "visual.transformer.resblocks.1.mlp.c_fc.weight": (2, 5),
    "visual.ln_post.bias": (4,),
    "visual.proj": (2, 2),
}


def masks(layout: Layout) -> list[Labelled[np.ndarray]]:
    rng = np.random.default_rng(2)
    labels = [{"region": f"r{number}", "sensitivity": "gradient", "tau": 0.3, "seed": 0} for number in range(3)]
    labels[2]["tau"] = 0.5
    return [Labelled(its, rng.random(layout.size) > its["tau"]) for its in labels]


def results(
    seed: int, *search: dict[str, Any], tasks: tuple[str, ...] = ("cars", "digits"), **chosen: float
) -> Results:
    rng = np.random.default_rng(seed)
    predictions = {
        task: Predictions(rng.integers(0, 3, 50), np.arange(50) % 3, rng.random(50).astype(np.float32))
        for task in tasks
    }
    return Results({"search": list(search), "tau": None, "coefficient": 0.3, **chosen}, predictions)


def planes() -> list[Labelled[LossPlane]]:
    """A landscape of one task, and two of both."""
    axis = [-0.2, 0.5, 1.2]
    at = {"pretrained": {"x": 0.1, "y": 0.6, "distance": 2.5}}

    def plane(*tasks: str) -> LossPlane:
        points = [
            {"x": x, "y": y, "task": task, "loss": (index + 1) * (1 + x * x + y), "accuracy": 0.25 + index / 2}
            for x in axis
            for y in axis
            for index, task in enumerate(tasks)
        ]
        return LossPlane(points, at)

    return [
        Labelled({"landscape": "cars", "tau": 0.01}, plane("cars")),
        Labelled({"landscape": "all", "tau": 0.01}, plane("cars", "digits")),
        Labelled({"landscape": "all", "tau": 0.05}, plane("cars", "digits")),
    ]


def row(
    name: str, seed: int, sensitivity: str | None = None, exemplars: int | None = None, tau: float | None = None
) -> Labelled[Results]:
    labels = {"row": name, "merge": "TA", "but_for_region": "ta"}
    labels |= {"sensitivity": sensitivity, "exemplars": exemplars, "tau": tau}
    return Labelled(labels, results(seed))


ROWS = [
    row("TA", 0),
    row("zero-shot", 1, "zero_shot", tau=0.01),
    row("n 16", 3, "gradient", 16, 0.01),
    row("n 1", 2, "gradient", 1, 0.01),
    row("τ 2", 4, "gradient", 16, 0.02),
    row("searched", 5, "gradient", 16),
]
