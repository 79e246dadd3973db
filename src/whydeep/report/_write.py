"""The report of a verification: verdict, figures, table, sources and provenance."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from whydeep.arguments import each, either, file_path, instance, number, takes, text
from whydeep.comparison import Comparison
from whydeep.ensemble import MEASUREMENT, Measurement
from whydeep.publish import publish
from whydeep.report._density_figure import density_group
from whydeep.report._kernel_figure import kernel_group
from whydeep.report._ladder_figure import ladder_group
from whydeep.report._verdict_page import VerdictPage
from whydeep.report._words import cards, facts, headline, sources, table
from whydeep.theory.finite import PREDICTION, Prediction

__all__ = ["render_report", "write_report"]


_MEASUREMENTS = either(
    MEASUREMENT, each(MEASUREMENT, least=1), when=lambda m: isinstance(m, Measurement)
)
_COMPARISON = instance(
    Comparison, needed="a comparison", suggestion="whydeep.compare(predicted, measured) makes one"
)


@takes(
    path=file_path, predicted=PREDICTION, measured=_MEASUREMENTS, comparison=_COMPARISON,
    inputs=text, command=text, seconds=number(least=0),
)  # fmt: skip
def write_report(
    path: str | os.PathLike[str],
    predicted: Prediction,
    measured: Measurement | Iterable[Measurement],
    comparison: Comparison,
    *,
    inputs: str = "",
    command: str = "",
    seconds: float | None = None,
) -> Path:
    """Write verdict, figures, table, sources and provenance to one HTML file that opens offline.

    Args:
        path: where; its folder must exist. An older file is replaced, in one step.
        predicted: from `whydeep.predict`.
        measured: from `whydeep.measure`, one or several.
        comparison: of these, from `whydeep.comparison`.
        inputs: what the inputs are, in words.
        command: the command line that does the same again.
        seconds: what everything took.

    Returns:
        The path.

    Raises:
        InputError: the file can't be written.

    Cost: about 1.6 MB, of which 1.5 are the library that draws the figures.

    Source: the figures are explained in the report; its own sources are ``predicted.cite()``.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from whydeep import ensemble, network
        >>> from whydeep.theory.finite import predict
        >>> from whydeep.comparison import compare
        >>> net, x = network.mlp(1, 32, "relu"), np.eye(2)
        >>> predicted = predict(net, x, order=0, observables="kernel")
        >>> measured = ensemble.measure(net, x, draws=512, observables="kernel")
        >>> comparison = compare(predicted, measured)
        >>> folder = tempfile.TemporaryDirectory()
        >>> file = Path(folder.name) / "report.html"
        >>> write_report(file, predicted, measured, comparison).name
        'report.html'
        >>> folder.cleanup()
    """
    text = render_report(
        predicted, measured, comparison, inputs=inputs, command=command, seconds=seconds
    )
    return publish(path, text)


def render_report(
    predicted: Prediction,
    measured: Measurement | Iterable[Measurement],
    comparison: Comparison,
    *,
    inputs: str = "",
    command: str = "",
    seconds: float | None = None,
) -> str:
    """The text of the report; arguments as in `write_report`."""
    several = (measured,) if isinstance(measured, Measurement) else tuple(measured)
    groups = [
        group
        for group in (
            kernel_group(predicted, several),
            ladder_group(predicted, comparison),
            density_group(predicted, several),
        )
        if group is not None
    ]
    state, sentence, reason = headline(comparison)
    return VerdictPage(
        title=f"{sentence}: {comparison.network.activation.name}",
        brand="prediction against measurement",
        state=state,
        headline=sentence,
        reason=reason,
        cards=cards(comparison),
        facts_title="What was compared",
        facts=facts(predicted, several, comparison, inputs, seconds),
        command=command,
        groups=groups,
        table_title="Every row",
        table_lead="A row agrees if what was measured, continued to infinite width, lies within "
        "the allowed number of standard errors and the bound on neglected orders, and if its "
        "components over pairs of inputs scatter as noise does (“pattern”, a p-value of its own).",
        columns=(
            "layer", "predicted", "measured / predicted", "z", "p", "pattern", "verdict and reason",
        ),
        table=table(comparison),
        sources=sources(predicted),
    ).render()  # fmt: skip
