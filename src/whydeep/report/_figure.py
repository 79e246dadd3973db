"""What a figure is: plain dictionaries for plotly.js, with colours by name.

A colour is written ``var(--name)`` and looked up in the style sheet by the page, so that figures
follow the reader's light or dark scheme. Numbers keep seven digits.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = [
    "MEASURED",
    "SERIES",
    "SYMBOLS",
    "THEORY",
    "Figure",
    "Group",
    "Key",
    "Plot",
    "axis",
    "band",
    "line",
    "log_axis",
    "points",
    "safe",
]


THEORY = "var(--theory)"
MEASURED = "var(--measured)"
SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "star", "x")
"""Of the points of a series: colours alone tell not everybody, and nobody in print."""
SERIES = tuple(f"var(--series-{k})" for k in range(1, 9))

Figure = dict[str, Any]
Values = Sequence[Any] | np.ndarray


@dataclass(frozen=True)
class Key:
    """An entry of a legend that the plots of a group share.

    Args:
        kind: "line", "dash", "dot", "point" or "diamond".
        color: "theory", "measured", "muted" or "ink", as in the style sheet.
        text: what it stands for.
    """

    kind: str
    color: str
    text: str


@dataclass(frozen=True)
class Plot:
    """A place in the page where one figure is shown at a time.

    Args:
        title: above it.
        summary: what it shows, for readers who cannot see it.
        figures: one an option of its group, or one for all.
    """

    title: str
    summary: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Group:
    """Plots that share a choice.

    Args:
        name: identifier in the page.
        title: heading.
        lead: a sentence or two on how to read it.
        label: what is chosen.
        options: the choices; one or none means there is nothing to choose.
        plots: side by side.
        keys: a legend for all of them; without one, every plot has its own.
        notes: below.
        columns: how many plots stand side by side where there is room.
    """

    name: str
    title: str
    lead: str
    label: str
    options: tuple[str, ...]
    plots: tuple[Plot, ...]
    keys: tuple[Key, ...] = ()
    notes: tuple[str, ...] = ()
    columns: int = 2

    def as_dict(self) -> dict[str, Any]:
        """For the page."""
        return {
            "label": self.label,
            "options": list(self.options),
            "plots": [list(plot.figures) for plot in self.plots],
        }


def safe(text: str) -> str:
    """Text for plotly, which reads a little HTML in labels."""
    return html.escape(text, quote=False)


def numbers(values: Values) -> list[float | None]:
    """A list with seven digits each; what is not finite is left out of a figure."""
    rounded = (float(f"{float(v):.7g}") for v in values)
    return [v if math.isfinite(v) else None for v in rounded]


def line(
    x: Values, y: Values, name: str, color: str,
    *, dash: str = "solid", width: float = 2.0, group: str = "", legend: bool = True,
    hover: str = "%{y:.5g}",
) -> Figure:  # fmt: skip
    """A line: what theory says, or a fit."""
    return {
        "type": "scatter", "mode": "lines", "x": numbers(x), "y": numbers(y), "name": safe(name),
        "line": {"color": color, "dash": dash, "width": width},
        "legendgroup": group or safe(name), "showlegend": legend, "hovertemplate": hover,
    }  # fmt: skip


def points(
    x: Values, y: Values,
    errors: Values, name: str, color: str,
    *, symbol: str = "circle", size: float = 8.0, group: str = "", legend: bool = True,
    hover: str = "%{y:.5g} ± %{error_y.array:.2g}",
) -> Figure:  # fmt: skip
    """Points with error bars: what was measured."""
    return {
        "type": "scatter", "mode": "markers", "x": numbers(x), "y": numbers(y), "name": safe(name),
        "error_y": {
            "type": "data", "array": numbers(errors), "color": color, "thickness": 1.6, "width": 4,
        },
        "marker": {"color": color, "size": size, "symbol": symbol,
                   "line": {"color": "var(--card)", "width": 1}},
        "legendgroup": group or safe(name), "showlegend": legend, "hovertemplate": hover,
    }  # fmt: skip


def band(x: Values, low: np.ndarray, high: np.ndarray, name: str, color: str) -> Figure:
    """The area between two curves."""
    return {
        "type": "scatter", "mode": "lines", "name": safe(name),
        "x": numbers([*x, *list(x)[::-1]]), "y": numbers([*high, *low[::-1]]),
        "fill": "toself", "fillcolor": color, "line": {"width": 0, "color": color},
        "hoverinfo": "skip", "showlegend": bool(name),
    }  # fmt: skip


def axis(title: str, **more: Any) -> dict[str, Any]:
    """An axis with its title."""
    return {"title": {"text": title}, **more}


_FEW_DECADES = 2.0
_MOST_TICKS = 6


def log_axis(title: str, values: Values, **more: Any) -> dict[str, Any]:
    """A logarithmic axis whose labels stand apart: powers of ten, or 1, 2, 5 where they are few.

    Args:
        title: of the axis.
        values: what is drawn along it; what is not positive has no place.
        more: of the axis.
    """
    positive = np.asarray(values, dtype=np.float64)
    positive = positive[np.isfinite(positive) & (positive > 0)]
    shape: dict[str, Any] = {"type": "log", "exponentformat": "power"}
    if positive.size:
        low, high = math.log10(positive.min()), math.log10(positive.max())
        if high - low >= _FEW_DECADES:
            shape["dtick"] = math.ceil((high - low) / _MOST_TICKS)
        else:
            decades = range(math.floor(low) - 1, math.ceil(high) + 1)
            ticks = [d * 10.0**k for k in decades for d in (1, 2, 5)]
            shape |= {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
    return axis(title, **shape, **more)
