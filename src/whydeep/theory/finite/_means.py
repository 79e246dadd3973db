"""The Gaussian means of one step between layers, as linear maps on samples.

With s_a = s(z_a), D_c the derivative by z_c of everything inside < >, and
Omega_ab = lambda_W s_a s_b + C_W Theta_ab s'_a s'_b (Theta held fixed), the recursions need

    M_ab^{cd} = (1/2) <D_c D_d (s_a s_b)>        O_ab^{cd} = (1/2) <D_c D_d Omega_ab>
    E_ab^c = <D_c (s_a s'_b)>                    X_ab^c = <D_c (lambda_W s'_a s_b
                                                               + C_W Theta_ab s''_a s'_b)>

and fourth derivatives of s_a s_b and Omega_ab. Only c and d in {a, b} give anything: by the rule
of Leibniz every entry is a mean <s^(i)_a s^(j)_b>, on the diagonal a derivative of s^2 or s'^2 as
one distribution, so that all of it exists for kinked activations too.

Source: Roberts, Yaida and Hanin 2022, Sections 4.3, 8.2 and 11.2, there through inverse kernels;
the derivative form is theirs after integration by parts, and works for dependent inputs too.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from whydeep.activations import ScalarFunction
from whydeep.gaussian import (
    Covariance,
    DerivativeProducts,
    TangentTables,
    derivative_products,
    pair_derivatives,
    product_moments,
    self_derivatives,
    tangent_tables,
)
from whydeep.observables import pair_indices, positions, quadruple_indices
from whydeep.theory.finite._bounded import Bounded, contract

__all__ = ["Step", "through"]


@dataclass(frozen=True)
class Step:
    """From the preactivations of one layer to those of the next.

    Args:
        activation: s.
        law: of the preactivations below.
        weight_var: C_W of the layer above.
        weight_lr: lambda_W of the layer above.
        ratio: n_l / n_(l-1) of the layers whose activations are below and above these
            preactivations; 0 for the first, where nothing fluctuates.
        images: <s_a s_b>.
        joint: whether tensors of the tangent kernel are wanted: then means of four images are some
            of those of four derivatives, and means of pairs some of `tangent_tables`.
        slopes: <s'_a s'_b>; None where s jumps.
        tangent: Theta of the preactivations below; None where s jumps.
    """

    activation: ScalarFunction
    law: Covariance
    weight_var: float
    weight_lr: float
    ratio: float
    images: Bounded
    joint: bool
    slopes: Bounded | None = None
    tangent: Bounded | None = None

    @property
    def slope(self) -> Bounded:
        """<s'_a s'_b>."""
        return _present(self.slopes)

    @property
    def theta(self) -> Bounded:
        """Theta_ab of the layer below."""
        return _present(self.tangent)

    # -- tables ---------------------------------------------------------------------------------

    @functools.cached_property
    def tables(self) -> TangentTables:
        """Means of derivatives of images and of slopes."""
        return tangent_tables(self.activation, self.law)

    @functools.cached_property
    def pairs(self) -> Bounded:
        """<s^(i)_a s^(j)_b> for i + j <= 4."""
        if self.joint:
            return Bounded.of(self.tables.pairs)
        return Bounded.of(pair_derivatives(self.activation, self.law, 4))

    @functools.cached_property
    def squares(self) -> Bounded:
        """<(s_a^2)^(m)>."""
        if self.joint:
            return Bounded.of(self.tables.squares)
        return Bounded.of(self_derivatives(self.activation, self.law, 4))

    @property
    def slope_pairs(self) -> Bounded:
        """<s^(1+i)_a s^(1+j)_b> for i + j <= 4."""
        return Bounded.of(self.tables.slope_pairs)

    @property
    def slope_squares(self) -> Bounded:
        """<(s'_a^2)^(m)>."""
        return Bounded.of(self.tables.slope_squares)

    @functools.cached_property
    def products(self) -> DerivativeProducts:
        """Means of four derivatives."""
        return derivative_products(self.activation, self.law)

    def mean(self, i: int, j: int) -> Bounded:
        """<s^(i)_a s^(j)_b> as (N, N), for smooth s or at most slopes."""
        return Bounded(self.pairs.value[i, j], self.pairs.error[i, j])

    def four(self, *orders: int) -> Bounded:
        """<s^(i)_a s^(j)_b s^(k)_c s^(l)_d>, (N, N, N, N)."""
        return Bounded.of(self.products.full(*orders))

    @functools.cached_property
    def four_images(self) -> Bounded:
        """<s_a s_b s_c s_d>, (N, N, N, N)."""
        if self.joint:
            return self.four(0, 0, 0, 0)
        rows, cols = pair_indices(self.law.size)
        first, second = quadruple_indices(self.law.size)
        quads = np.stack([rows[first], cols[first], rows[second], cols[second]], axis=1)
        moments = product_moments(self.activation, self.law, quads)
        full = positions("four_point", self.law.size)
        return Bounded(moments.value[full], moments.error[full])

    # -- maps -----------------------------------------------------------------------------------

    @functools.cached_property
    def image_map(self) -> Bounded:
        """M_ab^{cd} as (N, N, N, N)."""
        return _second(self.pairs, self.squares) / 2.0

    @functools.cached_property
    def slope_map(self) -> Bounded:
        """(1/2) <D_c D_d (s'_a s'_b)> as (N, N, N, N)."""
        return _second(self.slope_pairs, self.slope_squares) / 2.0

    @functools.cached_property
    def tangent_map(self) -> Bounded:
        """O_ab^{cd} as (N, N, N, N)."""
        moved = contract("ab,abcd->abcd", self.theta, self.slope_map)
        return self.weight_lr * self.image_map + self.weight_var * moved

    @functools.cached_property
    def mixed_map(self) -> Bounded:
        """E_ab^c = <D_c (s_a s'_b)> as (N, N, N)."""
        n = self.law.size
        out = Bounded.zeros(n, n, n)
        rows, cols = np.nonzero(~np.eye(n, dtype=bool))
        for part, target in ((self.pairs.value, out.value), (self.pairs.error, out.error)):
            target[rows, cols, rows] = part[1, 1, rows, cols]
            target[rows, cols, cols] = part[0, 2, rows, cols]
        own = np.arange(n)
        out.value[own, own, own] = self.squares.value[2] / 2.0  # (s s')' = (s^2)''/2
        out.error[own, own, own] = self.squares.error[2] / 2.0
        return out

    def gradient(self, i: int, j: int) -> Bounded:
        """<D_c (s^(i)_a s^(j)_b)> as (N, N, N), for smooth s."""
        own = np.eye(self.law.size)
        before, after = self.mean(i + 1, j), self.mean(i, j + 1)
        first, second = own[:, None, :], own[None, :, :]
        return Bounded(
            before.value[..., None] * first + after.value[..., None] * second,
            before.error[..., None] * first + after.error[..., None] * second,
        )

    @functools.cached_property
    def kick_map(self) -> Bounded:
        """X_ab^c as (N, N, N)."""
        moved = contract("ab,abc->abc", self.theta, self.gradient(2, 1))
        return self.weight_lr * self.gradient(1, 0) + self.weight_var * moved

    def fourth_image(self, vertex: Bounded) -> Bounded:
        """Sum <D_c D_d D_e D_f (s_a s_b)> V_(cd)(ef)."""
        return _fourth(self.pairs, self.squares, vertex)

    def fourth_tangent(self, vertex: Bounded) -> Bounded:
        """Sum <D_c D_d D_e D_f Omega_ab> V_(cd)(ef)."""
        moved = _fourth(self.slope_pairs, self.slope_squares, vertex)
        moved = contract("ab,ab->ab", self.theta, moved)
        return self.weight_lr * self.fourth_image(vertex) + self.weight_var * moved


def through(first: Bounded, tensor: Bounded, second: Bounded | None = None) -> Bounded:
    """Sum A_ab^{ef} T_efgh B_cd^{gh}; without B the last two samples stay as they are."""
    n = tensor.value.shape[0]

    def flat(t: Bounded) -> Bounded:
        return Bounded(t.value.reshape(n * n, n * n), t.error.reshape(n * n, n * n))

    out = contract("pq,qr->pr", flat(first), flat(tensor))
    if second is not None:
        out = contract("pr,sr->ps", out, flat(second))
    return Bounded(out.value.reshape((n,) * 4), out.error.reshape((n,) * 4))


def _present(part: Bounded | None) -> Bounded:
    if part is None:  # a caller's mistake: tensors of the tangent kernel are refused before
        raise ValueError("this step has no tangent kernel")
    return part


def _second(pairs: Bounded, squares: Bounded) -> Bounded:
    """<D_c D_d (f_a f_b)> as (N, N, N, N), from means of pairs and of squares."""
    n = squares.value.shape[-1]
    out = Bounded.zeros(n, n, n, n)
    a, b = np.nonzero(~np.eye(n, dtype=bool))
    own = np.arange(n)
    both = ((pairs.value, squares.value, out.value), (pairs.error, squares.error, out.error))
    for pair, square, target in both:
        target[own, own, own, own] = square[2]
        target[a, b, a, a] = pair[2, 0, a, b]
        target[a, b, b, b] = pair[0, 2, a, b]
        target[a, b, a, b] = target[a, b, b, a] = pair[1, 1, a, b]
    return out


def _fourth(pairs: Bounded, squares: Bounded, vertex: Bounded) -> Bounded:
    """Sum <D_c D_d D_e D_f (f_a f_b)> V_(cd)(ef), by how many derivatives act on a."""
    n = squares.value.shape[-1]
    off = Bounded.of(1.0 - np.eye(n))
    total = Bounded.zeros(n, n)
    weights = {
        (4, 0): (("aaaa->a", "a,b->ab"), 1.0),
        (0, 4): (("bbbb->b", "b,a->ab"), 1.0),
        (3, 1): (("aaab->ab",), 4.0),
        (1, 3): (("bbab->ab",), 4.0),
        (2, 2): (("aabb->ab",), 2.0),
    }
    ones = Bounded.of(np.ones(n))
    for (i, j), (path, factor) in weights.items():
        entries = contract(path[0], vertex)
        if len(path) == 2:
            entries = contract(path[1], entries, ones)
        if (i, j) == (2, 2):
            entries = entries + 2.0 * contract("abab->ab", vertex)
        entries = contract("ab,ab->ab", entries, off)
        mean = Bounded(pairs.value[i, j], pairs.error[i, j])
        total = total + factor * contract("ab,ab->ab", mean, entries)
    own = contract("a,aaaa->a", Bounded(squares.value[4], squares.error[4]), vertex)
    return total + Bounded(np.diag(own.value), np.diag(own.error))
