"""Is each coefficient inside the recursions of first order seen by a measurement?

In every function of the recursions each term of a sum, each number, each entry of a map and each
result is multiplied by 1.1, one at a time (`_alter`); the recursion runs on with the altered term,
the measurement stays as it is. An alteration is detected if the comparison then disagrees.

A term that a layer adds to what it carries from the layer below can be a percent of the tensor.
Theory alone says in which networks a term weighs more, and those are measured: two inputs, three
layers, off criticality, a second layer four times as wide as the first (what is carried is
multiplied by the ratio of widths), in two settings of variances and learning rates. A setting that
calls the right theory wrong judges nothing.

    python benchmarks/tensor_power.py [--activations tanh,gelu,relu] [--scale 1.0] [--write]
"""

from __future__ import annotations

import argparse
import os
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _alter import altered, places, plain
from _page import load_average, machine, markdown, write_page

import whydeep as wd
from whydeep.comparison import compare
from whydeep.observables import OBSERVABLES
from whydeep.theory.finite import _ddntk, _dntk, _means, _ntk_correction, _ntk_fluctuations

X = np.array([[1.0, 0.3, -0.5], [0.2, -0.9, 1.1]])
SEED = 20_261_123
ALPHA = 0.05
WIDER = 4
H1 = ("ntk", "ntk_correction")
FLUCTUATIONS = ("ntk_A", "ntk_B", "ntk_F")
DIFFERENTIALS = ("dntk_P", "dntk_Q", "ddntk_R", "ddntk_S", "ddntk_T", "ddntk_U")

STEP = _means.Step
RECURSIONS = (
    _ntk_fluctuations.next_d, _ntk_fluctuations.next_f, _ntk_fluctuations.next_a,
    _ntk_fluctuations.next_b, _ntk_fluctuations._image_tangent_covariance,
    _ntk_fluctuations._image_slope_covariance, _ntk_fluctuations._slope_covariance,
    _ntk_correction.next_tangent_correction, _dntk.next_p, _dntk.next_q, _ddntk.next_r,
    _ddntk.next_s, _ddntk.next_t, _ddntk.next_u, STEP.__dict__["image_map"],
    STEP.__dict__["slope_map"], STEP.__dict__["tangent_map"], STEP.__dict__["mixed_map"],
    STEP.__dict__["gradient"], STEP.__dict__["kick_map"], STEP.__dict__["fourth_tangent"],
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """Numbers of the three layers, and (observables, draws, rungs) of what is measured there.

    `width` is that of the first layer in the narrowest network.
    """

    name: str
    width: int
    weight_var: tuple[float, float, float]
    bias_var: tuple[float, float, float]
    weight_lr: tuple[float, float, float]
    bias_lr: tuple[float, float, float]
    calls: tuple[tuple[tuple[str, ...], int, int], ...]

    def network(self, activation):
        return wd.mlp(
            2, (self.width, WIDER * self.width), activation, weight_var=self.weight_var,
            bias_var=self.bias_var, weight_lr=self.weight_lr, bias_lr=self.bias_lr,
        )  # fmt: skip

    def predicted(self, activation):
        kinked = activation == "relu"
        names = (*H1, "ntk_D", *FLUCTUATIONS, *(() if kinked else DIFFERENTIALS))
        return wd.predict(self.network(activation), X, order=1, observables=names)

    def measured(self, activation, scale):
        return [
            wd.measure(
                self.network(activation), X, draws=max(int(draws * scale), 64), seed=SEED,
                observables=names, rungs=rungs,
            )
            for names, draws, rungs in self.calls
        ]  # fmt: skip


def wide(width, *calls):
    return Setting(
        f"wide, from {width}", width, (1.4, 2.0, 1.4), (0.1, 0.1, 0.1), (1.0, 1.6, 1.0),
        (0.5, 0.7, 1.1), calls,
    )  # fmt: skip


def fast_output(width, *calls):
    return Setting(
        f"fast output, from {width}", width, (1.0, 0.3, 0.3), (0.1, 0.0, 1.0), (1.0, 0.1, 5.0),
        (0.2, 0.1, 0.2), calls,
    )  # fmt: skip


# A slope in 1/width, which ntk_correction is, loses more to noise by a fourth width than it gains
# by another order, and its noise over it does not depend on the width: so it is measured at larger
# widths. Fewer than 16 relu neurons do not tell two inputs apart often enough to expand in 1/width.
SETTINGS = {
    "tanh": (
        wide(8, (("ntk_D",), 50_000, 4), (FLUCTUATIONS, 32_000, 4), (DIFFERENTIALS, 4_000, 4)),
        wide(16, (H1, 800_000, 3)),
        fast_output(8, (FLUCTUATIONS, 48_000, 4), (DIFFERENTIALS, 2_400, 4)),
    ),
    "gelu": (
        wide(8, (("ntk_D",), 50_000, 4), (FLUCTUATIONS, 32_000, 4), (DIFFERENTIALS, 4_000, 4)),
        wide(16, (H1, 1_000_000, 3)),
        fast_output(16, (H1, 400_000, 3)),
        fast_output(8, (DIFFERENTIALS, 2_400, 4)),
    ),
    "relu": (
        Setting(
            "wide", 16, (1.4, 1.4, 1.4), (0.1, 0.1, 0.1), (1.0, 0.8, 1.3), (0.5, 0.7, 1.1),
            ((("ntk_D",), 50_000, 4), (FLUCTUATIONS, 48_000, 3)),
        ),
        Setting(
            "fast biases", 16, (1.4, 1.4, 1.4), (0.4, 0.0, 0.1), (0.1, 0.1, 0.1), (0.2, 5.0, 0.1),
            ((("ntk_D",), 150_000, 4),),
        ),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """A setting with its right theory and its measurements."""

    setting: Setting
    theory: object
    measurements: list

    def against(self, theory, alpha):
        return compare(theory, *self.measurements, alpha=alpha)


# -- altered recursions ----------------------------------------------------------------------------


def largest_change(old, new):
    """The tensor and layer whose entries change most, and by how much of their size."""
    best = ("", 0.0)
    for name in old:
        if OBSERVABLES[name].order == 0:
            continue
        for layer in range(1, old[name].shape[0]):
            right, wrong = old[name].values[layer], new[name].values[layer]
            size = np.linalg.norm(right)
            change = np.linalg.norm(wrong - right) / size if size > 0 else 0.0
            if change > best[1]:
                best = (f"{name} at layer {layer + 1}", float(change))
    return best


def without_slope(theory):
    """The tensors of first order without ntk_correction."""
    return {n: v for n, v in theory.items() if n != "ntk_correction"}


def power_rows(activation, every):
    """One row an alteration: the setting whose comparison sees it best."""
    rows = []
    for function in RECURSIONS:
        for chosen in range(places(function)):
            tried = [attempt(activation, one, function, chosen) for one in every]
            tried = [row for row in tried if row is not None]
            if not tried:
                continue  # nothing that is measured depends on it
            best = max(tried, key=lambda row: (row[-1] == "yes", float(row[5])))
            rows.append(best)
            print(" | ".join(best), flush=True)
    return rows


def attempt(activation, one, function, chosen):
    with altered(function, chosen) as label:
        wrong = one.setting.predicted(activation)
    old, new = one.theory, wrong
    if activation == "relu":  # its ntk_correction, nearly nothing on two inputs, is not judged
        old, new = without_slope(old), without_slope(new)
    where, change = largest_change(old, new)
    if change < 1e-9:
        return None
    # Every setting may cry wolf: they share the rate.
    found = one.against(wrong, ALPHA / len(SETTINGS[activation]))
    bad = any(r.verdict == "disagrees" for r in found.rows)
    z = max((abs(r.z) for r in found.rows if not r.exact), default=0.0)
    p = min((r.pattern_bound for r in found.rows if r.pattern_bound is not None), default=1)
    return [plain(function).__name__, f"`{shortened(label)}`", one.setting.name, where,
            f"{change:.2%}", f"{z:.1f}", f"{p:.1g}", "yes" if bad else "NO"]  # fmt: skip


def shortened(label, most=70):
    label = label.replace("|", "/")
    return label if len(label) <= most else label[: most - 3] + "..."


POWER = ["function", "multiplied by 1.1", "setting", "changes most", "by",
         "largest z", "smallest p of a pattern", "detected"]  # fmt: skip


# -- the right theory ------------------------------------------------------------------------------


def agreement_rows(one, comparison):
    return [
        [one.setting.name, row.observable, str(row.layer or "all"),
         f"{row.ratio:.4f} ± {row.stderr:.4f}",
         f"{comparison.limit * row.stderr + row.neglected:.2%}",
         "" if row.pattern_p_value is None else f"{row.pattern_p_value:.2f}", row.verdict]
        for row in comparison.rows
        if row.observable != "ntk"
    ]  # fmt: skip


AGREEMENT = ["setting", "tensor", "layer", "continued to 1/n = 0, over theory",
             "sees", "pattern p", "verdict"]  # fmt: skip


# -- the page --------------------------------------------------------------------------------------


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--activations", default=",".join(SETTINGS))
    parser.add_argument("--scale", type=float, default=1.0, help="times the draws")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks/tensor_power_*")
    arguments = parser.parse_args()
    for activation in arguments.activations.split(","):
        begin, load = time.perf_counter(), os.getloadavg()[0]
        every, agreement, notes = [], [], []
        for setting in SETTINGS[activation]:
            one = Measured(
                setting,
                setting.predicted(activation),
                setting.measured(activation, arguments.scale),
            )
            found = one.against(one.theory, ALPHA / len(SETTINGS[activation]))
            if found.verdict != "disagrees":  # who calls the right theory wrong is no judge
                every.append(one)
            print(found, flush=True)
            agreement += agreement_rows(one, found)
            drawn = ", ".join(
                f"{m.draws:,} of {', '.join(m)} in {m.seconds:.0f} s" for m in one.measurements
            )
            notes.append(
                f"{setting.name}: {found.verdict}; {found.tests} tests share a false-alarm rate of "
                f"{found.alpha:.2g}, {found.limit:.2f} standard errors each; {drawn}."
            )
            print(notes[-1], flush=True)
        power = power_rows(activation, every)
        made = (
            f"`python benchmarks/tensor_power.py --activations {activation} --scale "
            f"{arguments.scale:g} --write` made this page in {time.perf_counter() - begin:.0f} s "
            f"on {machine()}, {load_average(load)}; seed {SEED}."
        )
        text = page(activation, made, notes, agreement, power)
        print(text)
        if arguments.write:
            folder = Path(__file__).parents[1] / "docs" / "benchmarks"
            write_page(folder / f"tensor_power_{activation}.md", text)


def page(activation, made, notes, agreement, power):
    missed = [row for row in power if row[-1] != "yes"]
    lines = [
        f"# Tensors of first order: power, {activation}", "", made, "",
        *textwrap.dedent(PREFACE).strip().splitlines(), "",
        *(f"- {note}" for note in notes), "",
        "## Alterations", "",
        f"{len(power) - len(missed)} of {len(power)} alterations are detected.", "",
        *markdown(POWER, power, 4), "",
        "## The right theory", "", *markdown(AGREEMENT, agreement, 3), "",
    ]  # fmt: skip
    return "\n".join(lines)


PREFACE = """
    Each term of a sum, each number, each entry of a map and each result in the functions of the
    recursions is multiplied by 1.1, one at a time; the recursion runs on with it. It is detected if
    the comparison with measured networks then disagrees, in one setting or the other; the settings
    of an activation share a false-alarm rate of 0.05.

    Two inputs, two hidden layers and an output, off criticality. The second layer is four times as
    wide as the first, whose widths are 8, 16, 32 and 64 (relu: from 16; for ntk_correction 16, 32,
    64); the last layer is averaged exactly. Settings of (layer 1, 2, 3), chosen by theory alone so
    that terms weigh more:

    - wide: C_W = (1.4, 2, 1.4), C_b = 0.1, lambda_W = (1, 1.6, 1), lambda_b = (0.5, 0.7, 1.1)
      (relu: C_W = 1.4, lambda_W = (1, 0.8, 1.3));
    - fast output: C_W = (1, 0.3, 0.3), C_b = (0.1, 0, 1), lambda_W = (1, 0.1, 5), lambda_b =
      (0.2, 0.1, 0.2);
    - fast biases (relu): C_W = 1.4, C_b = (0.4, 0, 0.1), lambda_W = 0.1, lambda_b = (0.2, 5, 0.1).

    Relu has no differentials by automatic differentiation, and its ntk_correction, nearly nothing
    on two inputs, is not measured here: what alters nothing else is left out. Agreement of the
    right theory at equal widths: tensors.md; recursions of kernel and vertex: power.md.
"""

if __name__ == "__main__":
    main()
