"""Where in the encoder trust regions lie."""

from collections.abc import Iterator, Sequence

import numpy as np

from tatr.merging.layers import places, sums_by_parameter
from tatr.report.analyses import Labelled, Line, analysis
from tatr.vectors.layout import Layout
from tatr.vectors.vector import Vector


@analysis("What trust regions leave out")
def dropped(masks: Sequence[Labelled[Vector]], layout: Layout) -> Iterator[Line]:
    """Share of the parameters that a trust region leaves as they are, per layer and kind of parameter.

    A region that knew nothing of the encoder would leave out the share τ everywhere.

    Yields:
        `region`, `sensitivity`, `exemplars`, `tau`, then `depth`, `part` (attention, MLP …), `kind` (weight or bias),
        `dropped` (a share) and `parameters` (how many the group has).
    """
    found = places(layout)
    sizes = np.array([parameter.size for parameter in layout.parameters])
    for mask in masks:
        left = sizes - sums_by_parameter(mask.content, layout)
        for group in sorted(set(found)):
            inside = [place == group for place in found]
            count = int(sizes[inside].sum())
            share = float(left[inside].sum() / count)
            yield {**mask.labels, **group._asdict(), "dropped": share, "parameters": count}
