"""One input, and two that are close, through layer after layer.

With g = <s^2>_K, chi_par = C_W g'(K), chi_perp = C_W <s'^2>, h = (1/2) dchi_perp/dK, and inputs
x_+- = x_0 +- dx/2 whose kernels are K_++ = K + K1 + K2, K_-- = K - K1 + K2, K_+- = K - K2,

    K' = C_b + C_W g        K1' = chi_par K1        K2' = chi_perp K2 + h K1^2.

Tangent kernel and fluctuations of layers of equal width, with Omega = lambda_W s^2 + C_W Theta
s'^2, o = lambda_W g' + 2 h Theta its response to K, and cov the covariance under N(0, K):

    Theta' = lambda_b + lambda_W g + chi_perp Theta
    V' = C_W^2 cov(s^2, s^2) + chi_par^2 V
    G' = chi_par G + (1/2) C_W g'' V
    D' = C_W cov(s^2, Omega) + chi_par (o V + chi_perp D)
    F' = C_W^2 <s^2 s'^2> Theta + chi_par^2 F
    A' = cov(Omega, Omega) + o^2 V + 2 o chi_perp D + chi_perp^2 A
    B' = C_W^2 <s'^4> Theta^2 + chi_perp^2 B.

Source: Roberts, Yaida and Hanin 2022, Chapter 5 (kernels and nearby inputs), Chapters 4, 8 and 9
(fluctuations, here for one input).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from whydeep import activations
from whydeep.activations import ACTIVATION, ScalarFunction
from whydeep.arguments import DEPTH, NUMBER, POSITIVE, RATE, VARIANCE, one_or_each, or_word, takes
from whydeep.errors import InputError, UnsupportedError
from whydeep.gaussian import SingleMeans, critical
from whydeep.progress import progress_bar
from whydeep.results import by_content
from whydeep.theory.flow._table import means_table

__all__ = ["Flow", "flow"]


@by_content
@dataclass(frozen=True)
class Flow:
    """What one input's kernel and its fluctuations become, layer by layer: arrays (depth,).

    Fluctuations are coefficients of 1/width for layers of equal width.

    Args:
        activation: s.
        weight_var: C_W.
        bias_var: C_b.
        layer: 1 to depth.
        kernel: K.
        parallel: K1, the difference of two nearby inputs' kernels, halved.
        perpendicular: K2, a quarter of the mean square of the difference of their preactivations.
        chi_parallel: C_W g'(K), by which K1 grows to the next layer.
        chi_perpendicular: C_W <s'^2>, by which K2 grows.
        h: (1/2) dchi_perp/dK.
        ntk: Theta.
        four_point: V.
        kernel_correction: G.
        ntk_A: Cov(H_11, H_22) times width.
        ntk_B: E H_12^2 times width.
        ntk_D: Cov(z_1^2, H_22) times width.
        ntk_F: E z_1 z_2 H_12 times width.
        error: relative error of the means of each layer.
    """

    activation: ScalarFunction
    weight_var: float
    bias_var: float
    layer: np.ndarray
    kernel: np.ndarray
    parallel: np.ndarray
    perpendicular: np.ndarray
    chi_parallel: np.ndarray
    chi_perpendicular: np.ndarray
    h: np.ndarray
    ntk: np.ndarray
    four_point: np.ndarray
    kernel_correction: np.ndarray
    ntk_A: np.ndarray
    ntk_B: np.ndarray
    ntk_D: np.ndarray
    ntk_F: np.ndarray
    error: np.ndarray

    def __repr__(self) -> str:
        return (
            f"<flow of {self.activation.name} through {len(self.layer)} layers, weight_var "
            f"{self.weight_var:.6g}, bias_var {self.bias_var:.6g}: kernel {self.kernel[0]:.4g} to "
            f"{self.kernel[-1]:.4g}, V/K^2 to {self.vertex_ratio[-1]:.4g}>"
        )

    @property
    def vertex_ratio(self) -> np.ndarray:
        """V / K^2: over the width, what is expanded in. It grows like nu times depth."""
        return self.four_point / self.kernel**2

    @property
    def ntk_ratio(self) -> np.ndarray:
        """(A + 2 B) / Theta^2: over the width, the relative variance of the tangent kernel."""
        return (self.ntk_A + 2 * self.ntk_B) / self.ntk**2


_CRITICAL = or_word(VARIANCE, "critical")


@takes(
    activation=ACTIVATION, depth=DEPTH, kernel=POSITIVE, parallel=NUMBER, perpendicular=NUMBER,
    weight_var=_CRITICAL, bias_var=_CRITICAL, weight_lr=one_or_each(RATE),
    bias_lr=one_or_each(RATE),
)  # fmt: skip
def flow(
    activation: str | ScalarFunction | Callable[[Any], Any],
    depth: int,
    *,
    kernel: float = 1.0,
    parallel: float = 1.0,
    perpendicular: float = 1.0,
    weight_var: float | str = "critical",
    bias_var: float | str = "critical",
    weight_lr: Any = None,
    bias_lr: Any = None,
) -> Flow:
    """Kernel, susceptibilities and fluctuations of one input through `depth` layers.

    K' = C_b + C_W <s^2>_K, K1' = chi_par K1, K2' = chi_perp K2 + h K1^2, and the first
    fluctuations in 1/width of preactivations and tangent kernel; ``whydeep.theory.flow._flow``
    has the formulas.

    Args:
        activation: a name or a ``jax.numpy`` function of one variable.
        depth: the number of layers.
        kernel: K of layer 1.
        parallel: K1 of layer 1. The flow of K1 is linear.
        perpendicular: K2 of layer 1.
        weight_var: C_W, or "critical": the critical point that `whydeep.mlp` takes.
        bias_var: C_b, likewise.
        weight_lr: lambda_W, a number or one a layer; C_W unless given.
        bias_lr: lambda_b, likewise; C_b unless given.

    Returns:
        A `Flow`: arrays over layers 1 to depth. Layer 1 has Theta = lambda_b + lambda_W (K - C_b)
        / C_W.

    Raises:
        InputError: numbers out of range; a sequence of the wrong length.
        UnsupportedError: "critical" where there is no critical point; an activation that jumps;
            a kernel that overflows or falls to 0 where the activation has kinks.

    Accuracy: about 1e-13 a layer for smooth activations; ``.error`` says for each. Cost: under a
    second, then a tenth of a millisecond a layer.

    Source: Roberts, Yaida and Hanin 2022, Chapter 5; Chapters 4 and 8 for the fluctuations.

    Example:
        >>> found = flow("tanh", 100)
        >>> round(float(2 * 100 * found.kernel[-1]), 3)  # the kernel dies like 1 / (2 depth)
        1.024
        >>> round(float(found.vertex_ratio[-1] / 100), 3)  # and this tends to 2/3
        0.648
    """
    s = activations.get(activation)
    c_w, c_b = _variances(s, weight_var, bias_var)
    k, k1, k2 = kernel, parallel, perpendicular
    weight_lrs = _rates("weight_lr", weight_lr, c_w, depth)
    bias_lrs = _rates("bias_lr", bias_lr, c_b, depth)
    image = (k - c_b) / c_w if c_w > 0 else 0.0
    state = np.array([k, k1, k2, bias_lrs[0] + weight_lrs[0] * image, *[0.0] * 6])
    rows = []
    with progress_bar(f"flow of {s.name}", depth) as advance:
        for number in range(1, depth + 1):
            means = _means(s, float(state[0]), number)
            rows.append((state, c_w * means.square_1[0], c_w * means.slope[0],
                         c_w * means.slope_1[0] / 2, means.error[0]))  # fmt: skip
            if number < depth:
                rates = weight_lrs[number], bias_lrs[number]
                state = _next(state, means, (c_w, c_b), rates)
            advance()
    states = np.stack([row[0] for row in rows])
    chi_par, chi_perp, h, error = np.array([row[1:] for row in rows]).T
    names = (
        "kernel", "parallel", "perpendicular", "ntk", "four_point", "kernel_correction", "ntk_A",
        "ntk_B", "ntk_D", "ntk_F",
    )  # fmt: skip
    return Flow(
        activation=s,
        weight_var=c_w,
        bias_var=c_b,
        layer=np.arange(1, depth + 1),
        chi_parallel=chi_par,
        chi_perpendicular=chi_perp,
        h=h,
        error=error,
        **dict(zip(names, states.T, strict=True)),
    )


def _next(
    state: np.ndarray, m: SingleMeans, variances: tuple[float, float], rates: tuple[float, float]
) -> np.ndarray:
    (c_w, c_b), (l_w, l_b) = variances, rates
    _, k1, k2, theta, v, g, a, b, d, f = state
    square, square_1, square_2, slope, slope_1, fourth, mixed, slope_fourth, _ = (
        float(mean[0]) for mean in dataclasses.astuple(m)
    )
    par, perp = c_w * square_1, c_w * slope
    images = fourth - square**2
    cross = mixed - square * slope
    slopes = slope_fourth - slope**2
    response = l_w * square_1 + c_w * theta * slope_1
    varied = l_w**2 * images + 2 * l_w * c_w * theta * cross + (c_w * theta) ** 2 * slopes
    return np.array([
        c_b + c_w * square,
        par * k1,
        perp * k2 + c_w * slope_1 / 2 * k1**2,
        l_b + l_w * square + perp * theta,
        c_w**2 * images + par**2 * v,
        par * g + c_w * square_2 * v / 2,
        varied + response**2 * v + 2 * response * perp * d + perp**2 * a,
        (c_w * theta) ** 2 * slope_fourth + perp**2 * b,
        c_w * (l_w * images + c_w * theta * cross) + par * (response * v + perp * d),
        c_w**2 * mixed * theta + par**2 * f,
    ])  # fmt: skip


def _means(s: ScalarFunction, kernel: float, number: int) -> SingleMeans:
    if not np.isfinite(kernel) or (kernel <= 0 and not s.smooth):
        raise UnsupportedError(
            f"The flow of this kernel ends at layer {number}.",
            received=f"K = {kernel:g}",
            cause=f"{s.name} amplifies it from layer to layer"
            if kernel > 0
            else "variances are too small for it to survive",
            suggestion="another weight_var, or fewer layers",
        )
    with np.errstate(over="ignore", invalid="ignore"):
        return means_table(s).at(np.array([kernel]))


def _variances(
    s: ScalarFunction, weight_var: float | str, bias_var: float | str
) -> tuple[float, float]:
    out = []
    for name, value in (("weight_var", weight_var), ("bias_var", bias_var)):
        if isinstance(value, str):
            out.append(float(getattr(critical(s).preferred, name)))
        else:
            out.append(value)
    return out[0], out[1]


def _rates(name: str, value: Any, default: float, depth: int) -> list[float]:
    if value is None:
        return [default] * depth
    if not isinstance(value, tuple):
        return [value] * depth
    values = list(value)
    if len(values) != depth:
        raise InputError(
            f"{name} has the wrong length.",
            received=f"{len(values)} values",
            needed=f"one number, or {depth}: one a layer",
        )
    return values
