"""Values as layers of ``(N, C, *spatial)`` see them: images, signals, and stacks of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from whydeep.network.torch_reader._align import place, position_cells
from whydeep.network.torch_reader._draft import Entry, Refusal, Value
from whydeep.network.torch_reader._layout import BATCH, CHANNELS, Layout, Mode
from whydeep.network.torch_reader._operations import Reader

__all__ = ["Spatial", "each", "spatial"]


@dataclass(frozen=True)
class Spatial:
    """A value as ``(N, C, *spatial)`` layers see it.

    Args:
        node: with positions ``(*lead, *spatial)``.
        first: the first axis: examples, and positions that the layer leaves alone (frames).
        lead: how many dimensions of those there are.
        sizes: of the spatial dimensions.
    """

    node: int
    first: tuple[Mode, ...]
    lead: int
    sizes: tuple[int, ...]

    def layout(self, sizes: Sequence[int], channels: int) -> Layout:
        """Of a result ``(N, channels, *sizes)``."""
        spatial = [
            (Mode(n, d, 1),) if n > 1 else () for d, n in enumerate(sizes, start=self.lead + 1)
        ]
        last = (Mode(channels, CHANNELS, 1),) if channels > 1 else ()
        return Layout((self.first, last, *spatial))


def spatial(r: Reader, x: Any, count: int) -> Spatial:
    """Read ``(N, C, *spatial)`` with `count` spatial dimensions."""
    if not isinstance(x, Value) or not isinstance(x.base, Entry):
        msg = f"it is applied to {x.base if isinstance(x, Value) else 'fixed numbers'}"
        raise Refusal(msg)
    if len(x.shape) != count + 2:
        msg = f"it is applied to {len(x.shape)} dimensions"
        raise Refusal(msg, f"(N, C, ...) with {count} more dimensions")
    layout = x.layout.simplified()
    groups = [g for g in position_cells(layout, [0]) if g[0].dim != BATCH]
    cells = [*groups, *layout.axes[2:]]
    node = place(r.drafts, x.seen(layout), cells, layout.axes[1])
    steps = {}
    for number, group in enumerate(groups, start=1):
        step = 1
        for mode in reversed(group):
            steps[mode] = Mode(mode.size, number, step)
            step *= mode.size
    first = tuple(steps.get(m, m) for m in layout.axes[0])
    return Spatial(node, first, len(groups), tuple(x.shape[2:]))


def each(value: Any, count: int) -> tuple[int, ...]:
    """One number for each of `count` dimensions."""
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    return values * count if len(values) == 1 else values
