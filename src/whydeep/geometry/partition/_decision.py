"""Decision regions: a partition cut once more, where the class with the largest output changes."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep.arguments import NUMBER, anything, array, each, takes
from whydeep.errors import InputError
from whydeep.geometry.partition._front import held, make_slice
from whydeep.geometry.partition._regions import Regions
from whydeep.geometry.pieces import Matrix, Maximum, PiecewiseLinear, named_kink
from whydeep.geometry.readers import function_at
from whydeep.results import by_content

__all__ = ["DecisionRegions", "decision_regions"]


@by_content
@dataclass(frozen=True, eq=False, repr=False)
class DecisionRegions(Regions):
    """Activation cells cut by the decision boundary; on each the class is one.

    Everything `Regions` has; the last layer is the decision.
    """

    def __repr__(self) -> str:
        return f"<{self.count:,} regions, {len(np.unique(self.classes))} classes>"

    @functools.cached_property
    def classes(self) -> np.ndarray:
        """The class of every cell; of one output, 1 where it is positive and 0 elsewhere."""
        signs = self.signs(self.plane.layers - 1)
        return signs[:, 0].astype(np.int64) if signs.shape[1] == 1 else signs.argmax(axis=1)

    @functools.cached_property
    def boundary(self) -> np.ndarray:
        """The decision boundary in the window: segments (segments, 2, 2), each once a side."""
        return self.edges(self.plane.layers - 1)

    def class_areas(self) -> np.ndarray:
        """The area of every class, in coordinates of the slice."""
        outputs = int(np.prod(self.plane.function.outputs))
        return np.bincount(self.classes, self.areas, minlength=max(outputs, 2))


def with_decision(f: PiecewiseLinear) -> PiecewiseLinear:
    """The function followed by its largest output (or the sign of the only one).

    Raises:
        InputError: outputs that are not one vector.
    """
    count = int(np.prod(f.outputs))
    if len(f.outputs) > 1 or count == 0:
        raise InputError(
            "Classes are along one dimension of the outputs.",
            received=f"outputs of shape {f.outputs}",
            needed="(classes,), or one number whose sign decides",
            cause="the origin of the plane is a batch, not one input"
            if f.outputs[:1] == (1,)
            else "",
            suggestion="origin[0], u[0], v[0], and the function itself instead of what was read",
        )
    if count == 1:
        kink = named_kink("relu", 1)
    else:
        kink = Maximum("decision", count, 1, count, np.arange(count)[None])
    maps = (*f.maps, Matrix(np.eye(kink.outputs), np.zeros(kink.outputs)))
    return PiecewiseLinear(f.shape, (kink.outputs,), maps, (*f.kinks, kink))


@takes(f=anything, origin=array(), u=array(), v=array(), window=each(NUMBER, exactly=4))
def decision_regions(
    f: Any,
    origin: Any,
    u: Any,
    v: Any,
    window: Sequence[float] = (-1, 1, -1, 1),
) -> DecisionRegions:
    """The exact decision boundary of a classifier on a window of a plane, with its cells.

    Args:
        f: a torch module, a JAX function of a batch, or a `PiecewiseLinear`; the class is the
            largest output, or the sign of the only one.
        origin: one input, a point of the plane.
        u: a direction of the same shape.
        v: another.
        window: smallest and largest s, smallest and largest t.

    Returns:
        As `regions`, cut by the boundary, with `classes`, `boundary` and `class_areas`.

    Raises:
        InputError: shapes that do not fit; outputs that are not one vector.
        UnsupportedError: a function that is not piecewise linear.

    Accuracy and cost as `regions`.

    Source: Humayun, Balestriero, Balakrishnan and Baraniuk 2023 (SplineCam), Sec. 4.

    Example:
        >>> from whydeep.geometry import from_layers
        >>> f = from_layers([np.eye(2), np.array([[1.0, -1.0]])], [np.zeros(2), np.zeros(1)])
        >>> decision_regions(f, np.zeros(2), np.eye(2)[0], np.eye(2)[1]).class_areas()
        array([2.5, 1.5])
    """
    plain = function_at(f, np.shape(origin))
    found = held(make_slice(with_decision(plain), origin, u, v, window, None))
    return DecisionRegions(
        found.plane, found.vertices, found.offsets, found.edge_layers, found.edge_units,
        found.patterns,
    )  # fmt: skip
