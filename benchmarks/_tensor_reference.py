"""The recursions of all tensors of first order, as plainly as they can be written.

Every mean is a two-dimensional integral over the preactivations of two inputs, by whatever
quadrature is handed in; derivatives are taken by the rule of Leibniz on products of s^(k)(z_a);
sums over samples are dense. Nothing is shared with the library but the network's numbers.

Each term of each recursion has a name, so that it can be altered: ``alter={"ntk_D: M O V": 1.1}``.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

e = np.einsum

RADIUS = 8.0


class TanhDerivatives:
    """s, ..., s^(5) of tanh at z, each computed when it is asked for: polynomials in tanh z."""

    coefficients: tuple[tuple[float, ...], ...] = ()

    def __init__(self, z):
        self.t = np.tanh(z)

    def __getitem__(self, order):
        total = 0.0
        for coefficient in reversed(self.coefficients[order]):
            total = total * self.t + coefficient
        return total


def _tanh_polynomials():
    slope = np.polynomial.Polynomial([1, 0, -1])
    p = np.polynomial.Polynomial([0, 1])
    for _ in range(6):
        yield tuple(float(v) for v in p.coef)
        p = p.deriv() * slope


TanhDerivatives.coefficients = tuple(_tanh_polynomials())


def by_grid(function, step=0.08):
    """E f(u, v) of two standard normals by a product of trapezoid rules: exact for our purposes."""
    u = np.arange(-RADIUS - 1, RADIUS + 1 + step / 2, step)
    x, y = np.meshgrid(u, u, indexing="ij")
    weights = np.exp(-(x**2 + y**2) / 2) * step**2 / (2 * np.pi)
    return float(np.sum(function(x, y) * weights))


def by_cubature(function, rtol):
    """The same by scipy's adaptive cubature (Genz and Malik), many points at once."""
    from scipy.integrate import cubature

    def density(points):
        x, y = points.T
        return function(x, y) * np.exp(-(x**2 + y**2) / 2) / (2 * np.pi)

    found = cubature(
        density, [-RADIUS] * 2, [RADIUS] * 2, rule="genz-malik", rtol=rtol, atol=1e-2 * rtol
    )
    return float(found.estimate)


def by_nquad(function, rtol):
    """The same by scipy's nested adaptive quadrature, point by point."""
    from scipy.integrate import nquad

    def density(x, y):
        return function(x, y) * math.exp(-(x**2 + y**2) / 2)

    box = [(-RADIUS, RADIUS)] * 2
    options = {"epsrel": rtol, "epsabs": 1e-2 * rtol, "limit": 200}
    return nquad(density, box, opts=options)[0] / (2 * math.pi)


class Means:
    """<product of s^(k)(z_a)> under one covariance, each product integrated once."""

    def __init__(self, matrix, derivatives, integrate):
        self.root = np.linalg.cholesky(matrix)
        self.derivatives, self.integrate = derivatives, integrate
        self.known, self.tables = {}, {}

    def product(self, *factors):
        """Of factors (sample, order)."""
        key = tuple(sorted(factors))
        if key not in self.known:
            (r00, _), (r10, r11) = self.root

            def function(u, v):
                tables = self.derivatives(r00 * u), self.derivatives(r10 * u + r11 * v)
                return math.prod(tables[a][k] for a, k in key)

            self.known[key] = self.integrate(function)
        return self.known[key]

    def derivative(self, factors, *by):
        """<D_c D_d ... of a product>."""
        terms = Counter({tuple(sorted(factors)): 1})
        for c in by:
            raised = Counter()
            for term, count in terms.items():
                for k, (a, order) in enumerate(term):
                    if a == c:
                        new = tuple(sorted((*term[:k], (a, order + 1), *term[k + 1 :])))
                        raised[new] += count
            terms = raised
        return sum(count * self.product(*term) for term, count in terms.items())

    def table(self, orders, derivatives=0):
        """<D_c ... (s^(i)_a s^(j)_b ...)> over all samples: axes a, b, ..., then c, ..."""
        if (orders, derivatives) in self.tables:
            return self.tables[orders, derivatives]
        size = len(orders) + derivatives
        out = self.tables[orders, derivatives] = np.empty((2,) * size)
        for at in itertools.product(range(2), repeat=size):
            factors = list(zip(at[: len(orders)], orders, strict=True))
            out[at] = self.derivative(factors, *at[len(orders) :])
        return out


def recursion(network, x, derivatives, integrate, *, alter=None, names=None, known=None):
    """Tensors of all layers on two inputs: a list of dictionaries.

    `names` are those computed (all by default), and must contain what they depend on; the others
    stay 0. `alter` has factors by which single terms are multiplied. `known`, a dictionary, keeps
    the means of each layer from one call to the next, which no term alters.
    """
    alter, known = alter or {}, {} if known is None else known
    layers, rates, widths = network.dense, network.learning_rates(x.shape[1]), network.widths
    gram = x @ x.T / x.shape[1]
    k = layers[0].bias_var + layers[0].weight_var * gram
    th = rates[0][0] + rates[0][1] * gram
    tensors = {name: np.zeros((2,) * (2 if "correction" in name else 4)) for name in TERMS}
    out = [{"kernel": k, "ntk": th} | tensors]
    for layer in range(1, len(layers)):
        r = widths[layer - 1] / widths[layer - 2] if layer > 1 else 0.0
        means = known.setdefault(layer, Means(k, derivatives, integrate))
        step = Step(means, tensors, layers[layer].weight_var, rates[layer][1], r, th)
        following = {}
        for name, rule in TERMS.items():
            following[name] = np.zeros_like(tensors[name])
            if names is None or name in names:
                for term, value in rule(step).items():
                    following[name] = following[name] + alter.get(f"{name}: {term}", 1.0) * value
        tensors = following
        images, slopes = means.table((0, 0)), means.table((1, 1))
        th = rates[layer][0] + step.lw * images + step.c * th * slopes
        k = layers[layer].bias_var + step.c * images
        out.append({"kernel": k, "ntk": th} | tensors)
    return out


@dataclass
class Step:
    """What the terms of one layer are made of: means, C_W, lambda_W, r, Theta, and the maps."""

    means: Means
    below: dict
    c: float
    lw: float
    r: float
    th: np.ndarray

    def mean(self, *orders):
        return self.means.table(orders)

    @property
    def m(self):
        return self.means.table((0, 0), 2) / 2

    @property
    def n(self):
        return self.means.table((1, 1), 2) / 2

    @property
    def o(self):
        return self.lw * self.m + self.c * e("ab,abcd->abcd", self.th, self.n)

    @property
    def x(self):
        bent = e("ab,abc->abc", self.th, self.means.table((2, 1), 1))
        return self.lw * self.means.table((1, 0), 1) + self.c * bent

    @property
    def y(self):
        return self.means.table((1, 0), 1)

    @property
    def w(self):
        mean = self.mean(2, 2, 1, 1)
        return self.c**2 * e("abcd,ab,ac,bd->abcd", mean, self.th, self.th, self.th)


# The terms of each recursion, in the order and with the letters of its formula.


def four_point(s):
    out = {
        "<ssss>": s.c**2 * s.mean(0, 0, 0, 0),
        "<ss><ss>": -(s.c**2) * e("ab,cd->abcd", s.mean(0, 0), s.mean(0, 0)),
    }
    if s.r:
        v = s.below["four_point"]
        out["M M V"] = s.r * s.c**2 * e("abef,cdgh,efgh->abcd", s.m, s.m, v)
    return out


def kernel_correction(s):
    if not s.r:
        return {}
    fourth = s.means.table((0, 0), 4)
    return {
        "M G": s.r * s.c * e("abcd,cd->ab", s.m, s.below["kernel_correction"]),
        "<D^4 ss> V": s.r * s.c / 8 * e("abcdef,cdef->ab", fourth, s.below["four_point"]),
    }


def ntk_correction(s):
    if not s.r:
        return {}
    d, f, v = s.below["ntk_D"], s.below["ntk_F"], s.below["four_point"]
    bent = e("ab,abcdef->abcdef", s.th, s.means.table((1, 1), 4))
    rc = s.r * s.c
    return {
        "O G": s.r * e("abcd,cd->ab", s.o, s.below["kernel_correction"]),
        "<D^4 ss> V": s.r / 8 * s.lw * e("abcdef,cdef->ab", s.means.table((0, 0), 4), v),
        "<D^4 s's'> V": rc / 8 * e("abcdef,cdef->ab", bent, v),
        "<s's'> H": rc * s.mean(1, 1) * s.below["ntk_correction"],
        "N D": rc * e("abcd,cdab->ab", s.n, d),
        "N F_cadb": rc * e("abcd,cadb->ab", s.n, f),
        "N F_cbda": rc * e("abcd,cbda->ab", s.n, f),
    }


def ntk_a(s):
    th, m11 = s.th, s.mean(1, 1)
    mean = s.lw * s.mean(0, 0) + s.c * th * m11
    mixed = e("cd,abcd->abcd", th, s.mean(0, 0, 1, 1))
    out = {
        "<ss ss>": s.lw**2 * s.mean(0, 0, 0, 0),
        "<ss s's'>": s.lw * s.c * mixed,
        "<s's' ss>": s.lw * s.c * e("cdab->abcd", mixed),
        "<s's' s's'>": s.c**2 * e("ab,cd,abcd->abcd", th, th, s.mean(1, 1, 1, 1)),
        "<Omega><Omega>": -e("ab,cd->abcd", mean, mean),
    }
    if s.r:
        v, d = s.below["four_point"], s.below["ntk_D"]
        out["O O V"] = s.r * e("abef,cdgh,efgh->abcd", s.o, s.o, v)
        out["O_ab D"] = s.r * s.c * e("cd,abef,efcd->abcd", m11, s.o, d)
        out["O_cd D"] = s.r * s.c * e("ab,cdef,efab->abcd", m11, s.o, d)
        out["A"] = s.r * s.c**2 * e("ab,cd,abcd->abcd", m11, m11, s.below["ntk_A"])
    return out


def ntk_b(s):  # B'_acbd
    out = {"<s's's's'>": s.c**2 * e("abcd,ab,cd->acbd", s.mean(1, 1, 1, 1), s.th, s.th)}
    if s.r:
        m11 = s.mean(1, 1)
        out["B"] = s.r * s.c**2 * e("ac,bd,acbd->acbd", m11, m11, s.below["ntk_B"])
    return out


def ntk_d(s):
    ss, m11 = s.mean(0, 0), s.mean(1, 1)
    slopes = e("cd,abcd->abcd", s.th, s.mean(0, 0, 1, 1))
    out = {
        "<ss ss>": s.c * s.lw * s.mean(0, 0, 0, 0),
        "<ss s's'>": s.c**2 * slopes,
        "<ss><Omega>": -s.c * e("ab,cd->abcd", ss, s.lw * ss + s.c * s.th * m11),
    }
    if s.r:
        v, d = s.below["four_point"], s.below["ntk_D"]
        out["M O V"] = s.r * s.c * e("abef,cdgh,efgh->abcd", s.m, s.o, v)
        out["M D"] = s.r * s.c**2 * e("cd,abef,efcd->abcd", m11, s.m, d)
    return out


def ntk_f(s):  # F'_acbd
    out = {"<ss s's'>": s.c**2 * e("abcd,cd->acbd", s.mean(0, 0, 1, 1), s.th)}
    if s.r:
        half = s.means.table((0, 1), 1)
        out["E E F"] = s.r * s.c**2 * e("ace,bdf,ecfd->acbd", half, half, s.below["ntk_F"])
    return out


def dntk_p(s):
    th, m11 = s.th, s.mean(1, 1)
    out = {"<s''s's's>": s.c**2 * e("abcd,ab,ac->abcd", s.mean(2, 1, 1, 0), th, th)}
    if s.r:
        b, p = s.below["ntk_B"], s.below["dntk_P"]
        out["<s''s> B"] = s.r * s.c**2 * e("bc,ad,aabc->abcd", m11, s.mean(2, 0), b)
        out["Y P"] = s.r * s.c**2 * e("bc,ade,abce->abcd", m11, s.y, p)
    return out


def dntk_q(s):
    th, m11 = s.th, s.mean(1, 1)
    out = {
        "<s'ss's>": s.lw * s.c * e("abcd,ac->abcd", s.mean(1, 0, 1, 0), th),
        "<s''s's's>": s.c**2 * e("abcd,ab,ac->abcd", s.mean(2, 1, 1, 0), th, th),
    }
    if s.r:
        f, q = s.below["ntk_F"], s.below["dntk_Q"]
        out["X Y F"] = s.r * s.c * e("abe,cdf,eafc->abcd", s.x, s.y, f)
        out["Y Q"] = s.r * s.c**2 * e("ab,cde,abce->abcd", m11, s.y, q)
    return out


def ddntk_r(s):
    th, m11, third = s.th, s.mean(1, 1), s.mean(3, 1, 1, 1)
    out = {
        "<s''ss's'>": s.lw * s.c * e("abcd,ac,ad->abcd", s.mean(2, 0, 1, 1), th, th),
        "<s'''s's's'>": s.c**2 * e("abcd,ab,ac,ad->abcd", third, th, th, th),
    }
    if s.r:
        b, p, r = s.below["ntk_B"], s.below["dntk_P"], s.below["ddntk_R"]
        rc = s.r * s.c
        out["<s''s> B"] = rc * s.lw * e("cd,ab,aacd->abcd", m11, s.mean(2, 0), b)
        out["<s'''s'> B"] = rc * s.c * e("cd,ab,ab,aacd->abcd", m11, th, s.mean(3, 1), b)
        out["X P"] = rc * e("cd,abe,acde->abcd", m11, s.x, p)
        out["R"] = rc * s.c * e("cd,ab,abcd->abcd", m11, m11, r)
    return out


def ddntk_s(s):
    th, m11 = s.th, s.mean(1, 1)
    out = {
        "<s's's's'>": s.lw * s.c * e("abcd,ac,bd->abcd", s.mean(1, 1, 1, 1), th, th),
        "W": s.w,
    }
    if s.r:
        b, rc = s.below["ntk_B"], s.r * s.c
        out["<s's'> B"] = rc * s.lw * e("cd,ab,abcd->abcd", m11, m11, b)
        out["<s''s''> B"] = rc * s.c * e("cd,ab,ab,abcd->abcd", m11, th, s.mean(2, 2), b)
        out["S"] = rc * s.c * e("cd,ab,abcd->abcd", m11, m11, s.below["ddntk_S"])
    return out


def ddntk_t(s):  # samples 1 2 3 4 are a b c d: T'_1342 = T'_acdb
    th, m11, last = s.th, s.mean(1, 1), s.mean(2, 1, 1, 0)
    out = {
        "<s's'ss>": s.lw**2 * e("cdab,ab->acdb", s.mean(0, 0, 1, 1), th),
        "<s's''ss'>": s.lw * s.c * e("badc,ab,bd->acdb", last, th, th),
        "<s''s's's>": s.lw * s.c * e("abcd,ab,ac->acdb", last, th, th),
        "W": e("abcd->acdb", s.w),
    }
    if s.r:
        f, q, rc = s.below["ntk_F"], s.below["dntk_Q"], s.r * s.c
        out["X X F"] = s.r * e("ace,bdf,eafb->acdb", s.x, s.x, f)
        out["X_13 Q"] = rc * e("bd,ace,bdae->acdb", m11, s.x, q)
        out["X_24 Q"] = rc * e("ac,bde,acbe->acdb", m11, s.x, q)
        out["T"] = rc * s.c * e("ac,bd,acdb->acdb", m11, m11, s.below["ddntk_T"])
    return out


def ddntk_u(s):  # U'_1423 = U'_adbc
    out = {"W": e("abcd->adbc", s.w)}
    if s.r:
        m11 = s.mean(1, 1)
        out["U"] = s.r * s.c**2 * e("ad,bc,adbc->adbc", m11, m11, s.below["ddntk_U"])
    return out


TERMS = {
    "four_point": four_point, "kernel_correction": kernel_correction,
    "ntk_correction": ntk_correction, "ntk_A": ntk_a, "ntk_B": ntk_b, "ntk_D": ntk_d,
    "ntk_F": ntk_f, "dntk_P": dntk_p, "dntk_Q": dntk_q, "ddntk_R": ddntk_r, "ddntk_S": ddntk_s,
    "ddntk_T": ddntk_t, "ddntk_U": ddntk_u,
}  # fmt: skip
"""The terms of every tensor, by name, as functions of a step."""
