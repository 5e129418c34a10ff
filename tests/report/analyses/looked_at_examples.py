"""Small things that analyses can look at."""

from typing import Any

import numpy as np

from tatr.measuring.predictions import Predictions
from tatr.report.analyses import Labelled, Results
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
    labels = [{"region": f"r{seed}", "tau": 0.3, "seed": seed} for seed in range(3)]
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


def row(
    name: str, seed: int, sensitivity: str | None = None, exemplars: int | None = None, tau: float | None = None
) -> Labelled[Results]:
    labels = {"row": name, "merge": "TA", "sensitivity": sensitivity, "exemplars": exemplars, "tau": tau}
    return Labelled(labels, results(seed))


ROWS = [
    row("TA", 0),
    row("zero-shot", 1, "zero_shot", tau=0.01),
    row("n 16", 3, "gradient", 16, 0.01),
    row("n 1", 2, "gradient", 1, 0.01),
    row("τ 2", 4, "gradient", 16, 0.02),
    row("searched", 5, "gradient", 16),
]
