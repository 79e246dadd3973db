"""From the steps of a convolutional network to levels: what happens at one spatial size.

A level is convolutions and activations, then a pooling. Which displacements (dy, dx) between two
positions it needs is known from what follows: flattening needs (0, 0) only, and a pooling by p
turns a radius r into p r + p - 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from whydeep.errors import InputError

__all__ = [
    "AvgPoolStep",
    "ConvStep",
    "HomogeneousStep",
    "Level",
    "Operation",
    "ReadoutStep",
    "Step",
    "make_levels",
    "make_radii",
]


@dataclass(frozen=True)
class ConvStep:
    """A convolution of stride 1: K' = C_b + C_W <K>, the mean over the window of a filter (k, k).

    Theta' = lambda_b + lambda_W <K> + C_W <Theta>. Means always divide by k^2.

    Args:
        size: k, odd.
        weight_var: C_W.
        bias_var: C_b.
        weight_lr: lambda_W.
        bias_lr: lambda_b.
        padding: "SAME", with zeros, or "CIRCULAR".
    """

    size: int
    weight_var: float
    bias_var: float
    weight_lr: float
    bias_lr: float
    padding: str = "SAME"


@dataclass(frozen=True)
class HomogeneousStep:
    """A positively homogeneous activation of slopes (a_minus, a_plus): relu is (0, 1)."""

    slopes: tuple[float, float]


@dataclass(frozen=True)
class AvgPoolStep:
    """Averages over windows (size, size) that do not overlap; a rest at the end is dropped."""

    size: int


@dataclass(frozen=True)
class ReadoutStep:
    """The end of the network: "flatten" or "global_average" over positions, then a dense layer.

    Args:
        kind: flattened positions are averaged as K[p, p], global averages as all K[p, p'].
        weight_var: C_W.
        bias_var: C_b.
        weight_lr: lambda_W.
        bias_lr: lambda_b.
    """

    kind: str
    weight_var: float
    bias_var: float
    weight_lr: float
    bias_lr: float


Step = ConvStep | HomogeneousStep | AvgPoolStep | ReadoutStep


@dataclass
class Operation:
    """A convolution, and the slopes of the activation after it, if any."""

    conv: ConvStep
    slopes: tuple[float, float] | None = None


@dataclass
class Level:
    """Operations at one spatial size, then a pooling, if any."""

    height: int
    width: int
    operations: list[Operation] = field(default_factory=list)
    window: tuple[int, int] = (1, 1)

    @property
    def margin(self) -> int:
        """How far the largest filter reaches."""
        return max((o.conv.size // 2 for o in self.operations), default=0)

    @property
    def paddings(self) -> set[str]:
        """Of the filters that reach beyond one position."""
        return {o.conv.padding for o in self.operations if o.conv.size > 1}

    @property
    def circular(self) -> bool:
        """Whether positions wrap around."""
        return "CIRCULAR" in self.paddings

    @property
    def kinks(self) -> int:
        """Number of activations."""
        return sum(o.slopes is not None for o in self.operations)


def make_levels(steps: tuple[Step, ...], height: int, width: int) -> list[Level] | None:
    """The levels of a network on images (height, width), or None where they do not describe it.

    Raises:
        InputError: an image is smaller than a pooling window.
    """
    *before, readout = steps
    if not isinstance(readout, ReadoutStep) or readout.kind not in ("flatten", "global_average"):
        return None
    levels = [Level(height, width)]
    for step in before:
        if not _append(levels, step):
            return None
    if readout.kind == "global_average":
        _pool(levels, levels[-1].height, levels[-1].width)
    for level in levels:
        remains = level.height % level.window[0] or level.width % level.window[1]
        if len(level.paddings) > 1 or (level.circular and remains):
            return None
    return levels


def _append(levels: list[Level], step: Step) -> bool:
    """Whether the step is one of those that are known here."""
    level = levels[-1]
    if isinstance(step, ConvStep):
        if step.size % 2 == 0 or step.padding not in ("SAME", "CIRCULAR"):
            return False
        level.operations.append(Operation(step))
    elif isinstance(step, HomogeneousStep):
        every = [o for v in levels for o in v.operations]
        if not every or every[-1].slopes is not None:
            return False  # of values that are not Gaussian
        if not level.operations:
            level.operations.append(Operation(ConvStep(1, 1.0, 0.0, 0.0, 0.0)))
        level.operations[-1].slopes = step.slopes
    elif isinstance(step, AvgPoolStep):
        _pool(levels, step.size, step.size)
    else:
        return False
    return True


def _pool(levels: list[Level], high: int, wide: int) -> None:
    """Append a pooling; one straight after another makes one larger window."""
    last = levels[-1]
    if high > last.height or wide > last.width:
        raise InputError(
            "The images are too small for the network's poolings.",
            received=f"{last.height} x {last.width} positions before a window of {high} x {wide}",
            needed="at least one window",
        )
    if (high, wide) == (1, 1):
        return
    if len(levels) > 1 and not last.operations:
        levels.pop()
        last = levels[-1]
    last.window = (last.window[0] * high, last.window[1] * wide)
    levels.append(Level(last.height // last.window[0], last.width // last.window[1]))


def make_radii(levels: list[Level]) -> list[tuple[int, int]]:
    """Largest |dy| and |dx| that each level needs; the last is flattened."""
    y = x = 0
    radii = [(y, x)]
    for level in reversed(levels[:-1]):
        high, wide = level.window
        y, x = high * y + high - 1, wide * x + wide - 1
        y, x = min(y, level.height - 1), min(x, level.width - 1)
        radii.append((y, x))
    return radii[::-1]
