"""Measured over predicted against 1/width: what is tested is where the curve meets the axis."""

from __future__ import annotations

import numpy as np

from whydeep.comparison import Comparison, Ladder, Row
from whydeep.observables import OBSERVABLES
from whydeep.report._figure import (
    MEASURED,
    THEORY,
    Figure,
    Group,
    Key,
    Plot,
    axis,
    band,
    line,
    points,
)
from whydeep.theory.finite import Prediction

__all__ = ["ladder_group"]

_GRID = 41
_BEYOND = 1.08  # the curves go a little past the narrowest network


def ladder_group(predicted: Prediction, comparison: Comparison) -> Group | None:
    """The ladder of widths of every observable, for all layers together or for one."""
    rows = [
        r for r in comparison.rows if r.series is not None and r.series.power == 0 and not r.exact
    ]
    names = [name for name in comparison.observables if any(r.observable == name for r in rows)]
    if not names:
        return None
    layers = sorted({r.layer for r in rows if r.layer is not None})
    together = any(r.layer is None for r in rows)
    choices: list[int | None] = [None, *layers] if together else list(layers)
    found = {(r.observable, r.layer): r for r in rows}
    plots = []
    for name in names:
        figures = tuple(_figure(found.get((name, layer)), comparison) for layer in choices)
        title = OBSERVABLES[name].title
        summary = (
            f"The measured {title} over the predicted one at widths "
            f"{', '.join(map(str, comparison.widths))}, a fit in 1/width, and its value at 1/width "
            "= 0, which theory says is 1."
        )
        plots.append(Plot(title.capitalize(), summary, figures))
    keys = [Key("line", "theory", "theory, infinite width")]
    corrected = {"kernel_correction", "ntk_correction"} & set(predicted)
    if corrected:
        keys.append(Key("dash", "theory", "theory, first order in 1/n"))
    keys += [
        Key("point", "measured", "measured, one standard error"),
        Key("dot", "measured", "fit in 1/n, band of two standard errors"),
        Key("diamond", "measured", "continued to 1/n = 0, with the interval the verdict allows"),
    ]
    lead = (
        "A prediction for infinite width can be tested with finite networks only by going there: "
        f"the same quantity is measured at {len(comparison.widths)} widths and continued to "
        "1/n = 0. Theory says that the interval there, noise and neglected orders included, holds "
        "1."
    )
    if corrected:
        lead += " For kernels it also says how the curve sets out."
    return Group(
        name="ladder",
        title="Towards infinite width",
        lead=lead,
        label="Layers",
        options=tuple("all together" if k is None else str(k) for k in choices),
        plots=tuple(plots),
        keys=tuple(keys),
        columns=min(len(plots), 3),
    )


def _figure(row: Row | None, comparison: Comparison) -> Figure:
    if row is None or row.series is None:
        note = {
            "text": "nothing random to fit at this layer", "showarrow": False, "xref": "paper",
            "yref": "paper", "x": 0.5, "y": 0.5,
        }  # fmt: skip
        hidden = {"visible": False}
        return {"data": [], "layout": {"annotations": [note], "xaxis": hidden, "yaxis": hidden}}
    widths = np.asarray(comparison.widths, dtype=np.float64)
    ladder = Ladder(tuple(int(w) for w in widths // widths[0]))
    values = row.series.values
    mean = values.mean(axis=1)
    error = values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])
    grid = np.linspace(0.0, _BEYOND, _GRID)
    curves = np.vander(grid, len(widths), increasing=True) @ ladder.weights @ values
    fit = curves.mean(axis=1)
    spread = curves.std(axis=1, ddof=1) / np.sqrt(curves.shape[1])
    x = grid / widths[0]
    target = 0.0 if row.absolute else 1.0
    reach = comparison.limit * row.stderr + row.neglected
    data = [
        band(x, fit - 2 * spread, fit + 2 * spread, "", "var(--measured-soft)"),
        line(x[[0, -1]], [target, target], "infinite width", THEORY, legend=False),
    ]
    if row.series.slope is not None:
        slope = target + row.series.slope * grid
        data.append(line(x, slope, "first order", THEORY, dash="dash", legend=False))
    data += [
        line(x, fit, "fit", MEASURED, width=1.5, dash="dot", legend=False),
        points(1 / widths, mean, error, "measured", MEASURED, size=9.0, legend=False),
        points(
            [0.0], [fit[0]], [reach], "continued", MEASURED, symbol="diamond-open", size=12.0,
            legend=False,
        ),
    ]  # fmt: skip
    ticks = [0.0, *(1 / widths)]
    names = ["0", *(f"1/{int(w)}" for w in widths)]
    layout = {
        "xaxis": axis("1 / width", tickvals=ticks, ticktext=names, zeroline=False,
                      range=[-0.06 / widths[0], _BEYOND / widths[0]]),
        "yaxis": axis("measured / predicted" if target else "measured, in units of the kernel",
                      zeroline=False),
    }  # fmt: skip
    return {"data": data, "layout": layout}
