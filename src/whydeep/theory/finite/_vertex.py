"""First corrections in 1/width: the four-point vertex and the correction of the kernel.

With M_ab^{cd} = (1/2) <D_c D_d (s_a s_b)> (derivatives with respect to preactivations), r = n_l /
n_(l-1), and V = G = 0 at the first layer,

    V'_(ab)(cd) = C_W^2 [<s_a s_b s_c s_d> - <s_a s_b><s_c s_d>]
                  + r C_W^2 sum M_ab^{ef} M_cd^{gh} V_(ef)(gh)
    G'_ab = r C_W [sum M_ab^{cd} G_cd + (1/8) sum <D_c D_d D_e D_f (s_a s_b)> V_(cd)(ef)].

V / n is the connected four-point function of two neurons of the next layer, G / n the shift of its
mean kernel, with n the width of the layer below. Derivatives of a kinked activation are those of
distributions; they exist as long as the inputs are apart.

Source: Roberts, Yaida and Hanin 2022, Eqs. 4.90 (V) and 4.136 (G), there through inverse kernels;
the derivative form is theirs after integration by parts, and works for dependent inputs too.
"""

from __future__ import annotations

import itertools

import numpy as np

from whydeep.activations import ScalarFunction
from whydeep.gaussian import (
    Covariance,
    Estimate,
    pair_derivatives,
    product_moments,
    self_derivatives,
)
from whydeep.network import Network
from whydeep.observables import pair_indices, positions, quadruple_indices
from whydeep.theory.finite._kernel import Layer

__all__ = ["first_corrections"]


def first_corrections(network: Network, layers: list[Layer]) -> tuple[list[Estimate], ...]:
    """Vertices (N, N, N, N) and kernel corrections (N, N) of all layers.

    Cost: N^4 four-sample means a layer, of which the N (N + 1) (N + 2) (N + 3) / 24 distinct ones
    are computed; memory N^4.
    """
    size = layers[0].law.size
    vertex = Estimate(np.zeros((size,) * 4), np.zeros((size,) * 4))
    correction = Estimate(np.zeros((size, size)), np.zeros((size, size)))
    vertices, corrections = [vertex], [correction]
    for below, layer in itertools.pairwise(layers):
        c_w = network.dense[layer.number - 1].weight_var
        ratio = 0.0
        if below.number > 1:
            widths = network.widths
            ratio = widths[below.number - 1] / widths[below.number - 2]
        step = _Step(network.activation, below.law)
        source = step.covariance(layer.images)
        vertex, correction = (
            _next_vertex(c_w, ratio, source, step, vertex),
            _next_correction(c_w, ratio, step, vertex, correction),
        )
        vertices.append(vertex)
        corrections.append(correction)
    return vertices, corrections


def _next_vertex(
    c_w: float, ratio: float, source: Estimate, step: _Step, vertex: Estimate
) -> Estimate:
    carried = step.through_pairs(vertex.value)
    value = c_w**2 * (source.value + ratio * carried)
    error = c_w**2 * (source.error + ratio * step.error_through_pairs(vertex))
    return Estimate(value, error)


def _next_correction(
    c_w: float, ratio: float, step: _Step, vertex: Estimate, correction: Estimate
) -> Estimate:
    value = step.through_kernel(correction.value) + step.fourth(vertex.value) / 8
    error = step.error_through_kernel(correction) + step.error_fourth(vertex) / 8
    return Estimate(ratio * c_w * value, ratio * c_w * error)


class _Step:
    """The Gaussian means of one layer, as linear maps on pairs of samples."""

    def __init__(self, activation: ScalarFunction, law: Covariance) -> None:
        self.activation, self.law = activation, law
        self.pair = pair_derivatives(activation, law, 4)
        self.single = self_derivatives(activation, law, 4)
        self.map = self._pair_map(self.pair.value, self.single.value)
        self.map_error = self._pair_map(self.pair.error, self.single.error)

    def _pair_map(self, pair: np.ndarray, single: np.ndarray) -> np.ndarray:
        """M_ab^{cd} as (N^2, N^2), where the only c, d that count are a and b."""
        n = self.law.size
        out = np.zeros((n, n, n, n))
        for a in range(n):
            for b in range(n):
                if a == b:
                    out[a, a, a, a] = single[2, a] / 2
                    continue
                out[a, b, a, a] = pair[2, 0, a, b] / 2
                out[a, b, b, b] = pair[0, 2, a, b] / 2
                out[a, b, a, b] = out[a, b, b, a] = pair[1, 1, a, b] / 2
        return out.reshape(n * n, n * n)

    def covariance(self, images: Estimate) -> Estimate:
        """<s_a s_b s_c s_d> - <s_a s_b><s_c s_d>."""
        n = self.law.size
        rows, cols = pair_indices(n)
        first, second = quadruple_indices(n)
        quads = np.stack([rows[first], cols[first], rows[second], cols[second]], axis=1)
        product = product_moments(self.activation, self.law, quads)
        full = positions("four_point", n)
        means, errors = images.value, images.error
        outer = means[:, :, None, None] * means[None, None]
        outer_error = np.abs(means)[:, :, None, None] * errors[None, None]
        outer_error = outer_error + outer_error.transpose(2, 3, 0, 1)
        return Estimate(product.value[full] - outer, product.error[full] + outer_error)

    def through_pairs(self, vertex: np.ndarray) -> np.ndarray:
        """Sum M_ab^{ef} M_cd^{gh} V_(ef)(gh)."""
        n = self.law.size
        flat = vertex.reshape(n * n, n * n)
        return _product(self.map, _product(self.map, flat).T).T.reshape(vertex.shape)

    def error_through_pairs(self, vertex: Estimate) -> np.ndarray:
        n = self.law.size
        value, error = (np.abs(v).reshape(n * n, n * n) for v in (vertex.value, vertex.error))
        size = np.abs(self.map)
        carried = _product(size, _product(size, error).T).T
        own = _product(self.map_error, _product(size, value).T).T
        return (carried + own + own.T).reshape(vertex.value.shape)

    def through_kernel(self, correction: np.ndarray) -> np.ndarray:
        """Sum M_ab^{cd} G_cd."""
        return _product(self.map, correction.ravel()).reshape(correction.shape)

    def error_through_kernel(self, correction: Estimate) -> np.ndarray:
        value, error = np.abs(correction.value).ravel(), correction.error.ravel()
        out = _product(np.abs(self.map), error) + _product(self.map_error, value)
        return out.reshape(correction.value.shape)

    def fourth(self, vertex: np.ndarray) -> np.ndarray:
        """Sum <D_c D_d D_e D_f (s_a s_b)> V_(cd)(ef)."""
        return _fourth(self.pair.value, self.single.value, vertex)

    def error_fourth(self, vertex: Estimate) -> np.ndarray:
        own = _fourth(self.pair.error, self.single.error, np.abs(vertex.value))
        return own + _fourth(np.abs(self.pair.value), np.abs(self.single.value), vertex.error)


def _product(matrix: np.ndarray, other: np.ndarray) -> np.ndarray:
    """A matrix product in which 0 times infinity is 0: what multiplies no vertex adds nothing."""
    if np.all(np.isfinite(matrix)):
        return matrix @ other
    columns = other.reshape(1, other.shape[0], -1)
    terms = np.where(columns == 0, 0.0, matrix[:, :, None]) * columns
    return terms.sum(axis=1).reshape(matrix.shape[0], *other.shape[1:])


def _fourth(pair: np.ndarray, single: np.ndarray, vertex: np.ndarray) -> np.ndarray:
    """The fourth-derivative term, by how many of the four derivatives act on the first sample."""
    n = single.shape[-1]
    out = np.zeros((n, n))
    for a in range(n):
        out[a, a] = single[4, a] * vertex[a, a, a, a]
        for b in range(n):
            if a == b:
                continue
            weights = {
                (4, 0): vertex[a, a, a, a],
                (3, 1): 4 * vertex[a, a, a, b],
                (2, 2): 2 * vertex[a, a, b, b] + 4 * vertex[a, b, a, b],
                (1, 3): 4 * vertex[b, b, a, b],
                (0, 4): vertex[b, b, b, b],
            }
            out[a, b] = sum(pair[i, j, a, b] * w for (i, j), w in weights.items() if w != 0)
    return out
