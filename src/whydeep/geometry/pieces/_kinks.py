"""Where a continuous piecewise-linear function bends: three kinds of kinks, and what they make.

A kink node takes the first `width` columns of a state (rows are points) and gives `outputs`
columns. Its *splits* are functions of the state, affine wherever the function before is: their
signs say which piece is in force, and the zero set of a split is where the node may bend. Given the
signs, a node is affine, and `extended` applies that affine piece anywhere.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass

import numpy as np

from whydeep.errors import UnsupportedError
from whydeep.results import by_content

__all__ = ["Kink", "Maximum", "Select", "Threshold", "named_kink"]


@dataclass(frozen=True, eq=False)
class Kink(abc.ABC):
    """A node that bends.

    Args:
        name: of the operation, such as ``"relu"``, for tables and edges.
        width: columns of the state that it takes.
        outputs: columns that it gives.
        columns: of its splits: signs that say which piece is in force.
    """

    name: str
    width: int
    outputs: int
    columns: int

    @abc.abstractmethod
    def splits(self, state: np.ndarray) -> np.ndarray:
        """The functions whose zero sets are the kinks: (points, columns)."""

    @abc.abstractmethod
    def value(self, state: np.ndarray) -> np.ndarray:
        """What the node gives: (points, outputs)."""

    @abc.abstractmethod
    def signs(self, state: np.ndarray) -> np.ndarray:
        """Which piece is in force at each point: (points, columns), true or false."""

    @abc.abstractmethod
    def extended(self, state: np.ndarray, signs: np.ndarray) -> np.ndarray:
        """The affine piece that `signs` name, at any points: (points, outputs)."""

    def unit(self, column: int) -> int:
        """The unit that a split belongs to."""
        return column


@by_content
@dataclass(frozen=True, eq=False)
class Threshold(Kink):
    """A continuous function of one variable for every unit: relu, leaky relu, abs, hard tanh.

    Args:
        thresholds: (T, units or 1), increasing: where it bends.
        slopes: (T + 1, units or 1): of its pieces, left to right.
        intercepts: (T + 1, units or 1): of its pieces.
    """

    thresholds: np.ndarray
    slopes: np.ndarray
    intercepts: np.ndarray

    @property
    def plain(self) -> bool:
        """Whether it bends once, at zero, where it is zero: then nothing needs to be added."""
        return len(self.thresholds) == 1 and not (self.thresholds.any() or self.intercepts.any())

    def splits(self, state: np.ndarray) -> np.ndarray:
        z = state[:, : self.width]
        if len(self.thresholds) == 1 and not self.thresholds.any():
            return z
        return np.concatenate([z - t for t in self.thresholds], axis=1)

    def value(self, state: np.ndarray) -> np.ndarray:
        z = state[:, : self.width]
        if self.plain and not self.slopes[0].any() and (self.slopes[1] == 1).all():
            return np.maximum(z, 0.0)
        out = self.slopes[0] * z + self.intercepts[0]
        for t, slope, intercept in zip(
            self.thresholds, self.slopes[1:], self.intercepts[1:], strict=True
        ):
            out = np.where(z > t, slope * z + intercept, out)
        return out

    def signs(self, state: np.ndarray) -> np.ndarray:
        return self.splits(state) > 0

    def extended(self, state: np.ndarray, signs: np.ndarray) -> np.ndarray:
        z = state[:, : self.width]
        out = self.slopes[0] * z + self.intercepts[0]
        each = signs.reshape(len(signs), len(self.thresholds), self.width)
        for n in range(len(self.thresholds)):
            out = np.where(each[:, n], self.slopes[n + 1] * z + self.intercepts[n + 1], out)
        return out

    def unit(self, column: int) -> int:
        return column % self.width


@by_content
@dataclass(frozen=True, eq=False)
class Select(Kink):
    """One of two values by the sign of a third: ``where(z > 0, a, b)``, columns z, a, b.

    It must be continuous, a = b wherever z = 0; `check` looks at points where it is.
    """

    def splits(self, state: np.ndarray) -> np.ndarray:
        return state[:, : self.outputs]

    def _branches(self, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n = self.outputs
        return state[:, n : 2 * n], state[:, 2 * n : 3 * n]

    def value(self, state: np.ndarray) -> np.ndarray:
        return np.where(self.splits(state) > 0, *self._branches(state))

    def signs(self, state: np.ndarray) -> np.ndarray:
        return self.splits(state) > 0

    def extended(self, state: np.ndarray, signs: np.ndarray) -> np.ndarray:
        return np.where(signs, *self._branches(state))

    def check(self, state: np.ndarray, columns: np.ndarray) -> None:
        """Refuse a jump: row i of the state is a point where split ``columns[i]`` is zero.

        Raises:
            UnsupportedError: the two values differ there.
        """
        above, below = self._branches(state)
        rows = np.arange(len(columns))
        one, two = above[rows, columns], below[rows, columns]
        scale = np.abs(state).max(initial=1e-300)
        if (np.abs(one - two) > 1e-9 * scale).any():
            worst = int(np.argmax(np.abs(one - two)))
            raise UnsupportedError(
                f"The function jumps at {self.name}: its pieces do not meet.",
                received=f"{one[worst]:.6g} on one side and {two[worst]:.6g} on the other",
                needed="a continuous function, such as relu(z) = where(z > 0, z, 0)",
            )


@by_content
@dataclass(frozen=True, eq=False)
class Maximum(Kink):
    """The largest of several columns for every unit: max-pooling, maxout; or the smallest.

    Args:
        members: (units, k) numbers of columns, one twice where a unit has fewer.
        smallest: whether it is the smallest.
    """

    members: np.ndarray
    smallest: bool = False

    def ranked(self, state: np.ndarray) -> np.ndarray:
        """The members' values, (points, units, k), so that the largest is in force."""
        found = state[:, self.members]
        return -found if self.smallest else found

    def splits(self, state: np.ndarray) -> np.ndarray:
        """How far every member is below the largest of the others, (points, units k)."""
        ranked = self.ranked(state)
        out = np.empty_like(ranked)
        for m in range(ranked.shape[-1]):
            out[..., m] = ranked[..., m] - np.delete(ranked, m, axis=-1).max(axis=-1)
        return out.reshape(len(state), -1)

    def value(self, state: np.ndarray) -> np.ndarray:
        found = self.ranked(state).max(axis=-1)
        return -found if self.smallest else found

    def signs(self, state: np.ndarray) -> np.ndarray:
        best = self.ranked(state).argmax(axis=-1)
        return (best[..., None] == np.arange(self.members.shape[1])).reshape(len(state), -1)

    def extended(self, state: np.ndarray, signs: np.ndarray) -> np.ndarray:
        best = signs.reshape(len(signs), *self.members.shape).argmax(axis=-1)
        columns = self.members[np.arange(len(self.members)), best]
        return np.take_along_axis(state, columns, axis=1)

    def unit(self, column: int) -> int:
        return column // self.members.shape[1]


def named_kink(name: str, units: int, *parameters: float) -> Threshold:
    """A kink node of one variable by its name.

    Args:
        name: "relu", "leaky_relu", "abs", "hard_tanh", "relu6", "clip", "hard_sigmoid",
            "soft_shrink".
        units: how many columns.
        parameters: the slope of leaky relu, the limits of clip, the threshold of soft shrinkage.

    Example:
        >>> named_kink("relu", 3).value(np.array([[-1.0, 0.0, 2.0]]))
        array([[0., 0., 2.]])
    """
    thresholds, slopes, intercepts = _PIECES[name](*parameters)
    t, s, i = (np.asarray(v, dtype=np.float64)[:, None] for v in (thresholds, slopes, intercepts))
    return Threshold(name, units, units, len(t) * units, t, s, i)


def _clip(low: float, high: float) -> tuple[list[float], list[float], list[float]]:
    if low == -np.inf:
        return [high], [1.0, 0.0], [0.0, high]
    if high == np.inf:
        return [low], [0.0, 1.0], [low, 0.0]
    return [low, high], [0.0, 1.0, 0.0], [low, 0.0, high]


_PIECES = {
    "relu": lambda: ([0.0], [0.0, 1.0], [0.0, 0.0]),
    "leaky_relu": lambda slope=0.01: ([0.0], [slope, 1.0], [0.0, 0.0]),
    "abs": lambda: ([0.0], [-1.0, 1.0], [0.0, 0.0]),
    "hard_tanh": lambda: _clip(-1.0, 1.0),
    "relu6": lambda: _clip(0.0, 6.0),
    "clip": _clip,
    "hard_sigmoid": lambda: ([-3.0, 3.0], [0.0, 1.0 / 6.0, 0.0], [0.0, 0.5, 1.0]),
    "soft_shrink": lambda t=0.5: ([-t, t], [1.0, 0.0, 1.0], [t, 0.0, -t]),
}
