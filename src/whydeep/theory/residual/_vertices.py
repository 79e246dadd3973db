"""The four-point vertex of residual networks: the exact first order in 1/width, and a closure.

With kernels fluctuating about their means by dK, neurons are independent given the kernels, and
every neuron's trajectory through the layers is Gaussian, so that

    dK^(l+1) = (C_W M^(l) + gamma^2) dK^(l) + C_W e^(l),
    e^(l)_ab = (1/n) sum_j s(z_ja^(l)) s(z_jb^(l)) - its mean given the kernels.

**Trajectories** (exact to first order). dK^(l) = sum_m c^{lm} e^(m) with c^{l+1,l} = C_W and
c^{l+1,m} = (C_W M^(l) + gamma^2) c^{l,m}. The skip keeps a neuron correlated with its past,
Cov(z_a^(m), z_b^(m')) = Gamma_{mm'} K_ab^(m), Gamma the product of skips in between, so that the
e's of different layers are correlated, and so are a neuron and all e's that it entered:

    V^(l) = sum_{mm'} c^{lm} Cov(s s^(m), s s^(m')) c^{lm'}^T
            + sum_m [c^{lm} Cov(s s^(m), z z^(l)) + its transpose],
    Cov(s_a s_b^(m), z_c z_d^(l)) = Gamma_{ml}^2 2 (M^(m) K^(m) K^(m))_{(ab)(cd)}.

**Closure** (the recursion of chapter 4 of Roberts, Yaida and Hanin, with a skip). What correlates
z_j with an image s(z_k) s(z_k) of another neuron is taken to be the vertex alone:

    V' = (C_W M + gamma^2) V (C_W M + gamma^2)^T + C_W^2 Cov(s s, s s)
         + gamma^2 C_W [2 M K K + its transpose].

It is exact at layer 2, for linear s, and without skips; elsewhere it loses the higher Hermite
components by which a neuron remembers its past. Both are divided by the width below.

Source: the closure after Roberts, Yaida and Hanin 2022, Eq. 4.90 and Appendix B; trajectories: the
quadratic fluctuations of the layer-to-layer action (Segadlo et al. 2022 for its saddle point).
"""

from __future__ import annotations

import math

import numpy as np

from whydeep.activations import ScalarFunction
from whydeep.gaussian import Covariance, Estimate, product_moments
from whydeep.observables import pair_indices
from whydeep.theory.residual._layers import ResidualLayer

__all__ = ["closure_vertices", "trajectory_vertices"]


def closure_vertices(activation: ScalarFunction, layers: list[ResidualLayer]) -> list[Estimate]:
    """Vertices of layers 1 to L + 1 as matrices over pairs of inputs (N^2, N^2)."""
    size = layers[0].law.size ** 2
    value, error = np.zeros((size, size)), np.zeros((size, size))
    out = [Estimate(value, error)]
    for number, layer in enumerate(layers):
        ratio = layer.width / layers[number - 1].width if number else 0.0
        carry = layer.weight_var * layer.response + layer.skip**2 * np.eye(size)
        images = _image_covariance(activation, layers, number, number)
        own = layer.skip**2 * layer.weight_var * _own(layer)
        value = ratio * carry @ value @ carry.T + layer.weight_var**2 * images.value + own + own.T
        growth = np.abs(carry)
        error = ratio * growth @ error @ growth.T + layer.weight_var**2 * images.error
        out.append(Estimate(value, error))
    return out


def trajectory_vertices(activation: ScalarFunction, layers: list[ResidualLayer]) -> list[Estimate]:
    """The same, exact to first order. Cost: L^2 N^4 / 4 means of four images."""
    size = layers[0].law.size ** 2
    identity = np.eye(size)
    out = [Estimate(np.zeros((size, size)), np.zeros((size, size)))]
    images: dict[tuple[int, int], Estimate] = {}
    weights: list[np.ndarray] = []  # c^{lm} of the layers m below
    for number, layer in enumerate(layers):
        carry = layer.weight_var * layer.response + layer.skip**2 * identity
        weights = [carry @ c for c in weights] + [layer.weight_var * identity]
        for m in range(number + 1):
            if _memory(layers, m, number) != 0:
                images[m, number] = _image_covariance(activation, layers, m, number)
        value, error = np.zeros((size, size)), np.zeros((size, size))
        for (m, n), image in images.items():
            # e^(m) has variance 1/n_m; the vertex is a coefficient of 1/width of the layer below.
            ratio = layer.width / layers[m].width
            term = ratio * weights[m] @ image.value @ weights[n].T
            doubt = ratio * np.abs(weights[m]) @ image.error @ np.abs(weights[n]).T
            value += term if m == n else term + term.T
            error += doubt if m == n else doubt + doubt.T
        for m in range(number + 1):
            memory = _memory(layers, m, number) * layer.skip
            ratio = layer.width / layers[m].width
            term = ratio * memory**2 * weights[m] @ _own(layers[m])
            value += term + term.T
        out.append(Estimate(value, error))
    return out


def _memory(layers: list[ResidualLayer], start: int, end: int) -> float:
    """Gamma: the part of a preactivation of layer `start` that is still in that of layer `end`."""
    return math.prod(layer.skip for layer in layers[start:end])


def _own(layer: ResidualLayer) -> np.ndarray:
    """Cov(s_a s_b, z_c z_d) = sum K_ce K_df <D_e D_f (s_a s_b)>, Stein's lemma twice."""
    kernel = layer.law.matrix
    return 2.0 * layer.response @ np.kron(kernel, kernel)


def _image_covariance(
    activation: ScalarFunction, layers: list[ResidualLayer], first: int, second: int
) -> Estimate:
    """Cov(s_a s_b, s_c s_d) of one neuron, a b in layer `first`, c d in layer `second`."""
    one, two = layers[first], layers[second]
    size = one.law.size
    rows, cols = pair_indices(size)
    p, q = np.indices((rows.size, rows.size)).reshape(2, -1)
    shift = 0 if first == second else size
    quads = np.stack([rows[p], cols[p], shift + rows[q], shift + cols[q]], axis=1)
    law = one.law if first == second else _joint(one, two, _memory(layers, first, second))
    products = product_moments(activation, law, quads)
    value = products.value - one.images[rows[p], cols[p]] * two.images[rows[q], cols[q]]
    place = np.empty((size, size), dtype=int)
    place[rows, cols] = place[cols, rows] = np.arange(rows.size)
    full = np.ix_(place.ravel(), place.ravel())
    shape = (rows.size, rows.size)
    return Estimate(value.reshape(shape)[full], products.error.reshape(shape)[full])


def _joint(one: ResidualLayer, two: ResidualLayer, memory: float) -> Covariance:
    """The law of one neuron's preactivations in two layers."""
    early, late = one.law.matrix, two.law.matrix
    return Covariance.from_matrix(np.block([[early, memory * early], [memory * early, late]]))
