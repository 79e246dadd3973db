"""Every tensor of first order, predicted and measured.

Two inputs, two hidden layers (three layers), off criticality, learning rates that differ by layer:
setting X. Each tensor is measured at a ladder of widths and continued to 1/width = 0 with one more
order than its widths need (`whydeep.compare`); the last layer is averaged exactly.

Which altered coefficients a measurement sees: tensor_power.py.

    python benchmarks/tensors.py [--activations tanh,gelu,relu] [--scale 1.0] [--write]
"""

from __future__ import annotations

import argparse
import os
import textwrap
import time
from pathlib import Path

import numpy as np
from _page import load_average, machine, markdown, write_page

import whydeep as wd
from whydeep.comparison import compare
from whydeep.observables import reduce

X = np.array([[1.0, 0.3, -0.5], [0.2, -0.9, 1.1]])
SEED = 20_261_122
FLUCTUATIONS = ("ntk_A", "ntk_B", "ntk_D", "ntk_F")
DIFFERENTIALS = ("dntk_P", "dntk_Q", "ddntk_R", "ddntk_S", "ddntk_T", "ddntk_U")
NAMES = ("ntk_correction", *FLUCTUATIONS, *DIFFERENTIALS)
KINKED = NAMES[:5]


def network(activation):
    # Fewer than 16 relu neurons do not tell two inputs apart often enough to expand in 1/width.
    return wd.mlp(
        2, 16 if activation == "relu" else 8, activation, weight_var=1.4, bias_var=0.1,
        weight_lr=(1.0, 0.8, 1.3), bias_lr=(0.5, 0.7, 1.1),
    )  # fmt: skip


# -- what is measured ------------------------------------------------------------------------------


def calls(activation, scale):
    """(observables, draws, rungs) of every measurement: widths n, 2n, 4n, and 8n where it is 4.

    A slope in 1/width, which is what ntk_correction is, loses more to noise by the widest networks
    than it gains by another order.
    """
    out = [
        (("ntk", "ntk_correction"), 100_000, 3),
        (("ntk_D",), 50_000, 4),
        (("ntk_A", "ntk_B", "ntk_F"), 16_000, 4),
    ]
    if activation != "relu":
        out.append((DIFFERENTIALS, 3_000, 4))
    return [(names, max(int(draws * scale), 64), rungs) for names, draws, rungs in out]


def measured(activation, scale):
    return [
        wd.measure(network(activation), X, draws=draws, seed=SEED, observables=names, rungs=rungs)
        for names, draws, rungs in calls(activation, scale)
    ]


def predicted(activation):
    names = KINKED if activation == "relu" else NAMES
    return wd.predict(network(activation), X, order=1, observables=("ntk", *names))


# -- agreement -------------------------------------------------------------------------------------


def deviation(values, right):
    """|measured - theory| / |theory| over all components, at every width, the noise subtracted."""
    mean = values.mean(axis=1)
    noise = (values.var(axis=1, ddof=1) / values.shape[1]).sum(axis=1)
    size = np.linalg.norm(right) or np.nan
    raw = ((mean - right) ** 2).sum(axis=1)
    return np.sqrt(np.maximum(raw - noise, 0)) / size, np.sqrt(noise) / size


def agreement_rows(activation, theory, measurements, comparison):
    rows = []
    for row in comparison.rows:
        if row.layer is None or row.observable == "ntk":
            continue
        source = next((m for m in measurements if row.observable in m), None)
        shown = ["", "", "", ""]
        if source is not None:
            right = reduce(row.observable, theory[row.observable].values)[row.layer - 1]
            at = source.layers[row.observable].index(row.layer)
            off, noise = deviation(source.batches[row.observable][:, :, at], right)
            shown = [f"{o:.2%} ± {e:.2%}" for o, e in zip(off, noise, strict=True)]
            shown = [*(text if np.isfinite(o) else "" for o, text in zip(off, shown, strict=True))]
            shown += [""] * (4 - len(shown))
        reach = comparison.limit * row.stderr + row.neglected
        pattern = "" if row.pattern_p_value is None else f"{row.pattern_p_value:.2f}"
        rows.append(
            [activation, f"{row.observable}", str(row.layer), *shown,
             f"{row.ratio:.4f} ± {row.stderr:.4f}", f"{reach:.2%}", pattern, row.verdict]
        )  # fmt: skip
    return rows


AGREEMENT = ["activation", "tensor", "layer", "off at width n", "2n", "4n", "8n",
             "continued to 1/n = 0, over theory", "sees", "pattern p", "verdict"]  # fmt: skip


# -- the page --------------------------------------------------------------------------------------


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--activations", default="tanh,gelu,relu")
    parser.add_argument("--scale", type=float, default=1.0, help="times the draws")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks/tensors.md")
    arguments = parser.parse_args()
    begin, load = time.perf_counter(), os.getloadavg()[0]
    agreement, notes = [], []
    for activation in arguments.activations.split(","):
        theory = predicted(activation)
        measurements = measured(activation, arguments.scale)
        comparison = compare(theory, *measurements)
        print(comparison, flush=True)
        agreement += agreement_rows(activation, theory, measurements, comparison)
        drawn = ", ".join(
            f"{m.draws:,} of {', '.join(m)} in {m.seconds:.0f} s" for m in measurements
        )
        notes.append(
            f"{activation}: {comparison.verdict}; {comparison.tests} tests share a false-alarm "
            f"rate of {comparison.alpha:.2g}, {comparison.limit:.2f} standard errors each; {drawn}."
        )
        print(notes[-1], flush=True)
        made = (
            f"`python benchmarks/tensors.py --activations {arguments.activations} --scale "
            f"{arguments.scale:g} --write` made this page in {time.perf_counter() - begin:.0f} s "
            f"on {machine()}, {load_average(load)}; seed {SEED}."
        )
        if arguments.write:  # after every activation: the next one takes its time
            target = Path(__file__).parents[1] / "docs" / "benchmarks" / "tensors.md"
            write_page(target, page(made, notes, agreement))
    print(page(made, notes, agreement))


def page(made, notes, agreement):
    lines = [
        "# Tensors of first order: agreement", "", made, "",
        *textwrap.dedent(PREFACE).strip().splitlines(), "",
        *(f"- {note}" for note in notes), "",
        *markdown(AGREEMENT, agreement, 3), "",
    ]  # fmt: skip
    return "\n".join(lines)


PREFACE = """
    Two inputs, two hidden layers of equal width and an output, C_b = 0.1, C_W = 1.4, lambda_b =
    (0.5, 0.7, 1.1), lambda_W = (1, 0.8, 1.3): off criticality, so that every term matters. The
    networks of n, 2n, 4n and 8n neurons a layer are drawn, n = 8 (relu: 16); the layer above is
    averaged exactly over its own weights.

    *Off at n*: the length of measured minus predicted over the length of the prediction, over all
    components, with what noise adds taken off, and the noise beside it. It is to vanish like 1/n
    (in layer 2 it is nothing at any width: neurons of the first layer are independent).
    *Continued*: the polynomial in 1/n through all four widths at 1/n = 0, the precision-weighted
    mean over components of measured over predicted. *Sees*: the deviation that the row can tell
    from none, noise and a bound on what the polynomial neglects included. ntk_correction is the
    slope in 1/n of the measured tangent kernel.

    Relu has no differentials by automatic differentiation, and its ntk_correction is small on two
    inputs (zero on one): its row needs no power. Which altered coefficients are seen:
    tensor_power_tanh.md, tensor_power_gelu.md, tensor_power_relu.md.
"""

if __name__ == "__main__":
    main()
