"""Where, and on how many images, a loss landscape is measured."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval


@dataclass(frozen=True, kw_only=True)
class Landscape:
    """A plane through θ_pre plus the components of λ·v, and the images on which losses are measured there."""

    coefficient: Annotated[float, Interval(gt=0), "λ of the merge that the plane is about"] = 0.3
    tau: Annotated[float, Interval(gt=0, lt=1), "share of the parameters that are not orthogonal"] = 0.01
    images: Annotated[
        int, Interval(ge=1), "test images at each point, shared evenly among its tasks; all where there are fewer"
    ] = 256
    steps: Annotated[int, Interval(ge=2), "points along each axis, from −0.2 to 1.2"] = 15
    seed: Annotated[int, Interval(ge=0), "of the draw of images"]
