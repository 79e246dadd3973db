"""The front door: what is known of a scale-invariant network at any width, with no expansion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import gammaln

from whydeep.arguments import count, takes
from whydeep.data import INPUTS
from whydeep.errors import InputError, UnsupportedError
from whydeep.network import NETWORK, Network
from whydeep.observables import OBSERVABLES, ByName, expand, reduce
from whydeep.results import by_content
from whydeep.theory.exact._factors import LogVariance, factor_moments, log_factor
from whydeep.theory.exact._pairs import Pairs, pair_moments

__all__ = ["ExactMoments", "exact_moments"]

_MOST_INPUTS = 40  # above it the N^4 arrays of a layer take a few hundred megabytes
_HIGHEST_ORDER = 40
_SOURCE = "Roberts, Yaida and Hanin 2022, Chapter 3 (linear); Hanin and Nica 2020 (relu)"


@by_content
@dataclass(frozen=True)
class ExactMoments(ByName):
    """Moments of a network of finite width: a mapping from observable to labelled array.

    ``kernel``, ``ntk``, ``four_point``, ``ntk_A``, ``ntk_B``, ``ntk_D`` and ``ntk_F`` have the
    definitions, axes and scalings of `whydeep.predict`, whose values they become at large width.

    Args:
        network: what they are about.
        inputs: (N, n_0).
        arrays: by observable, layers 1 to L + 1.
        log_moments: log E[z^{2m}] of one preactivation, ``(layer, input, order)``, order m from 1.
        vertex_ratio: Var g / (E g)^2, g the variance of preactivations given the layer below: what
            width adds to a Gaussian law, V / (n K^2) exactly; ``(layer, input)``.
        leading_vertex_ratio: its first order in 1/width: the sum of nu / n_l over hidden layers
            below without biases, nu = 2 for linear networks, 5 for relu.
        log_variance: the law of log g; None for networks with biases.
        source: of the formulas.
    """

    network: Network
    inputs: np.ndarray
    arrays: Mapping[str, xr.DataArray]
    log_moments: xr.DataArray
    vertex_ratio: xr.DataArray
    leading_vertex_ratio: xr.DataArray
    log_variance: LogVariance | None
    source: str = _SOURCE

    def __getitem__(self, name: str) -> xr.DataArray:
        return self._found(name, "There is no exact result of that name.")

    @property
    def _held(self) -> Mapping[str, xr.DataArray]:
        return self.arrays

    def __repr__(self) -> str:
        worst = float(self.vertex_ratio[-1].max())
        return (
            f"<exact moments of {self.network} on {len(self.inputs)} inputs: "
            f"Var g / (E g)^2 at the output {worst:.4g}>"
        )

    @property
    def moments(self) -> xr.DataArray:
        """E[z^{2m}], ``(layer, input, order)``; infinite beyond the range of float64."""
        with np.errstate(over="ignore"):
            return self.log_moments.copy(data=np.exp(self.log_moments.values)).rename("moments")

    @property
    def ntk_ratio(self) -> xr.DataArray:
        """Var H / (E H)^2 of the tangent kernel H_ii of one input, ``(layer, input)``.

        It is (A + 2 B) / (n Theta^2). In relu networks without biases whose weights alone are
        trained, at critical variance, it tends with width at fixed b = L / n to

            e^{5b} [1/3 + 2/(9b) - (1 - e^{-6b})/(27b^2)] - 1,

        the limit of the recursion: it begins as (11/3) b and grows like e^{5b}, the rate that
        Hanin and Nica 2020, Theorem 1, prove up to constants.
        """
        n = np.arange(len(self.inputs))
        a, b, mean = (self.arrays[k].values for k in ("ntk_A", "ntk_B", "ntk"))
        widths = np.array([1, *self.network.widths], dtype=np.float64)[:, None]
        variance = (a[:, n, n, n, n] + 2 * b[:, n, n, n, n]) / widths
        square = mean[:, n, n] ** 2
        ratio = np.divide(variance, square, out=np.zeros_like(square), where=square > 0)
        return _by_input("ntk_ratio", ratio)


@takes(network=NETWORK, inputs=INPUTS, order=count(1, _HIGHEST_ORDER))
def exact_moments(network: Network, inputs: Any, *, order: int = 3) -> ExactMoments:
    """Moments of a linear, relu, leaky_relu or abs network at its own width, to any depth.

    Given the layer below, a preactivation is normal with variance g^(l), and for s(z) = a_- z
    (z < 0), a_+ z (z > 0) on one input::

        g^(l+1) = C_b + C_W g^(l) Y_l,   Y_l = (1/n_l) sum_j sigma_j^2 u_j^2, independent of g^(l)
        E[z^{2m}] = (2m - 1)!! E[g^m];   without biases E[g^m] = K_1^m prod_l C_W^m E[Y_l^m]
        linear: E[Y^m] = prod_{k<m} (1 + 2k/n);   relu, C_W = 2: E[(C_W Y)^2] = 1 + 5/n

    with u_j standard normal and sigma_j = a_- or a_+ by chance. No expansion in 1/width is made:
    v = Var g / (E g)^2 = prod_l (1 + nu / n_l) - 1 grows exponentially in the sum of 1/n_l, where
    the perturbative law is that sum times nu, nu = 3 A_4 / A_2^2 - 1. The tangent kernel's second
    moments, on one input or of a linear network on many, follow a linear recursion of their own.

    Args:
        network: from `whydeep.mlp`, with an activation made of two lines through the origin; any
            widths, variances, biases and learning rates.
        inputs: (N, n_0): any N for a linear network, one input for others.
        order: the highest m.

    Returns:
        `ExactMoments`.

    Raises:
        InputError: bad inputs or order; more than 40 inputs.
        UnsupportedError: another activation; several inputs to a network that is not linear.

    Accuracy: rounding; the fluctuations of order 1/n are differences of numbers of order 1, so
    their relative error is about 1e-15 n. Cost: N^4 a layer.

    Source: Roberts, Yaida and Hanin 2022, Chapter 3 (moments of deep linear networks); Hanin and
    Nica 2020 (products of random factors in relu networks). The recursion for unequal slopes,
    biases and the tangent kernel is derived in ``whydeep.theory.exact._pairs``.

    Example:
        >>> from whydeep.network import mlp
        >>> exact = exact_moments(mlp(8, 16, "relu"), [[1.0, 1.0]], order=2)
        >>> round(float(exact.vertex_ratio[-1, 0]), 6), round((1 + 5 / 16) ** 8 - 1, 6)
        (7.806321, 7.806321)
        >>> float(exact.leading_vertex_ratio[-1, 0])
        2.5
    """
    x = inputs
    slopes = _check(network, x)
    layers = list(pair_moments(network, x))
    moments = _variance_moments(network, slopes, x, max(order, 2))
    double = np.arange(1, order + 1)
    log_moments = moments[:, :, 1 : order + 1] + _log_odd_factorial(double)
    return ExactMoments(
        network=network,
        inputs=x,
        arrays=_arrays(network, layers),
        log_moments=xr.DataArray(
            log_moments,
            dims=("layer", "input", "order"),
            coords={"layer": np.arange(1, len(layers) + 1), "order": double},
            name="log_moments",
        ),
        vertex_ratio=_by_input("vertex_ratio", np.expm1(moments[:, :, 2] - 2 * moments[:, :, 1])),
        leading_vertex_ratio=_by_input("leading_vertex_ratio", _leading(network, slopes, x)),
        log_variance=_log_variance(network, slopes, x),
    )


def _check(network: Network, x: np.ndarray) -> tuple[float, float]:
    slopes = network.activation.slopes
    if slopes is None:
        raise UnsupportedError(
            "Exact results at finite width are known for scale-invariant activations only.",
            received=network.activation.name,
            needed="linear, relu, leaky_relu or abs: two lines that meet at the origin",
            suggestion="whydeep.predict(network, x, order=1): to first order in 1/width",
        )
    if len(x) > 1 and slopes[0] != slopes[1]:
        raise UnsupportedError(
            "Beyond linear networks, exact results are known for one input at a time.",
            received=f"{len(x)} inputs, {network.activation.name}",
            needed="one row, or a linear network",
            suggestion="exact_moments(network, x[:1])",
        )
    if len(x) > _MOST_INPUTS:
        raise InputError(
            "The pair moments of this many inputs do not fit in memory.",
            received=f"{len(x)} inputs",
            needed=f"at most {_MOST_INPUTS}: they have N^4 entries a layer",
        )
    return slopes


def _arrays(network: Network, layers: list[Pairs]) -> dict[str, xr.DataArray]:
    widths = np.array([1, *network.widths], dtype=np.float64)
    out = {"kernel": [p.kernel for p in layers], "ntk": [p.ntk for p in layers]}
    connected = [p.connected() for p in layers]
    for name in connected[0]:
        out[name] = [n * c[name] for n, c in zip(widths.tolist(), connected, strict=True)]
    size = len(layers[0].kernel)
    named = {name: expand(name, reduce(name, np.stack(full)), size) for name, full in out.items()}
    return {name: named[name] for name in OBSERVABLES if name in named}


def _variance_moments(
    network: Network, slopes: tuple[float, float], x: np.ndarray, order: int
) -> np.ndarray:
    """Log of E[(g^(l))^m], m = 0 to `order`: (layer, input, order + 1)."""
    powers = np.arange(order + 1)
    first = network.dense[0]
    with np.errstate(divide="ignore", invalid="ignore"):  # the log of 0; 0 times that is 0
        start = np.log(first.bias_var + first.weight_var * np.mean(x**2, axis=1))
        layers = [np.where(powers == 0, 0.0, powers * start[:, None])]
        for dense, width in zip(network.dense[1:], network.widths, strict=True):
            image = np.log(factor_moments(slopes, width, order)) + np.where(
                powers == 0, 0.0, powers * np.log(dense.weight_var)
            )
            images = layers[-1] + image
            out = np.empty_like(images)
            for m in powers:
                k = powers[: m + 1]
                choose = gammaln(m + 1) - gammaln(k + 1) - gammaln(m - k + 1)
                bias = np.where(k == m, 0.0, (m - k) * np.log(dense.bias_var))
                out[:, m] = np.logaddexp.reduce(choose + bias + images[:, : m + 1], axis=1)
            layers.append(out)
    return np.stack(layers)


def _leading(network: Network, slopes: tuple[float, float], x: np.ndarray) -> np.ndarray:
    """Var g / (E g)^2 to first order in 1/width, by the recursion of the four-point vertex."""
    two, four = ((slopes[0] ** p + slopes[1] ** p) / 2 for p in (2, 4))
    first = network.dense[0]
    kernel = first.bias_var + first.weight_var * np.mean(x**2, axis=1)
    variance = np.zeros_like(kernel)
    out = [variance]
    for dense, width in zip(network.dense[1:], network.widths, strict=True):
        spread = (3 * four - two**2) * kernel**2 / width
        variance = dense.weight_var**2 * (two**2 * variance + spread)
        kernel = dense.bias_var + dense.weight_var * two * kernel
        square = kernel**2
        out.append(np.divide(variance, square, out=np.zeros_like(square), where=square > 0))
    return np.stack(out)


def _log_variance(
    network: Network, slopes: tuple[float, float], x: np.ndarray
) -> LogVariance | None:
    if any(dense.bias_var > 0 for dense in network.dense) or not any(slopes):
        return None
    if any(dense.weight_var == 0 for dense in network.dense) or not np.all(np.any(x != 0, axis=1)):
        return None
    factors = np.array([log_factor(slopes, width) for width in network.widths])
    gains = np.log([dense.weight_var for dense in network.dense[1:]])
    drift = np.concatenate([[0.0], factors[:, 0] + gains])
    spread = np.concatenate([[0.0], factors[:, 1]])
    alive = np.concatenate([[1.0], np.cumprod(1.0 - factors[:, 2])])
    start = np.log(network.dense[0].weight_var * np.mean(x**2, axis=1))
    every = np.ones(len(x))
    return LogVariance(
        drift=_by_layer("drift", drift),
        spread=_by_layer("spread", spread),
        mean=_by_input("mean", np.cumsum(drift)[:, None] + start),
        variance=_by_input("variance", np.cumsum(spread)[:, None] * every),
        alive=_by_layer("alive", alive),
    )


def _log_odd_factorial(m: np.ndarray) -> np.ndarray:
    """Log of (2m - 1)!!."""
    return gammaln(m + 0.5) + m * np.log(2.0) - 0.5 * np.log(np.pi)


def _by_layer(name: str, values: np.ndarray) -> xr.DataArray:
    coords = {"layer": np.arange(1, len(values) + 1)}
    return xr.DataArray(values, dims="layer", coords=coords, name=name)


def _by_input(name: str, values: np.ndarray) -> xr.DataArray:
    coords = {"layer": np.arange(1, len(values) + 1)}
    return xr.DataArray(values, dims=("layer", "input"), coords=coords, name=name)
