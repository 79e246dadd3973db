"""Gaussian means by other means: 30 or more digits, in other coordinates."""

import mpmath as mp

from whydeep import activations

# Every named activation, as it can be spelled: a polynomial has no default.
SPELLED = (*(n for n in activations.NAMES if n != "polynomial"), "polynomial(0.4, -0.7, 0.3, 0.1)")

SMOOTH = {
    "tanh": mp.tanh,
    "erf": mp.erf,
    "gelu": lambda z: z * mp.erfc(-z / mp.sqrt(2)) / 2,
    "gelu_tanh": lambda z: (
        z / 2 * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (z + mp.mpf(0.044715) * z**3)))
    ),
    "silu": lambda z: z / (1 + mp.exp(-z)),
    "mish": lambda z: z * mp.tanh(mp.log1p(mp.exp(z))),
    "sigmoid": lambda z: 1 / (1 + mp.exp(-z)),
    "softplus": lambda z: mp.log1p(mp.exp(z)),
    "sin": mp.sin,
    "cos": mp.cos,
    "exp": mp.exp,
    "gaussian": lambda z: mp.exp(-z * z),
    "linear": lambda z: z,
    "monomial(2)": lambda z: z**2,
    "monomial(3)": lambda z: z**3,
}


def smooth_pair(name, qa, qb, less, steps=6):
    """<s_a^2>, <(s_a - s_b)^2>, <s_a s_b> with K = sqrt(qa qb)(1 - less), by a Cholesky grid."""
    s, (qa, qb, less) = SMOOTH[name], map(mp.mpf, (qa, qb, less))
    sine = mp.sqrt(less * (2 - less))
    h = mp.mpf(1) / steps
    axis = [h * k for k in range(-9 * steps, 9 * steps + 1)]
    weight = [mp.npdf(u) * h for u in axis]
    square = difference = product = mp.mpf(0)
    for u, w in zip(axis, weight, strict=True):
        first = s(mp.sqrt(qa) * u)
        square += w * first**2
        for v, x in zip(axis, weight, strict=True):
            if u * u + v * v > 81:
                continue
            second = s(mp.sqrt(qb) * ((1 - less) * u + sine * v))
            difference += w * x * (first - second) ** 2
            product += w * x * first * second
    return square, difference, product


def relu_pair(qa, qb, less):
    """<s_a s_b>, <(s_a - s_b)^2>, <s'_a s'_b> for relu: Cho and Saul 2009."""
    qa, qb, less = map(mp.mpf, (qa, qb, less))
    theta = mp.acos(1 - less)
    deviation = mp.sqrt(qa * qb)
    product = deviation / (2 * mp.pi) * (mp.sin(theta) + (mp.pi - theta) * mp.cos(theta))
    return product, (qa + qb) / 2 - 2 * product, (mp.pi - theta) / (2 * mp.pi)


def kinked_pair(pieces, qa, qb, less):
    """<s_a s_b> and <(s_a - s_b)^2>, inner mean closed, outer one by adaptive quadrature.

    A piece (low, high, c, t) is c on (low, high), or c z for t = "z", or c exp(z) for t = "exp".
    """
    qa, qb, less = map(mp.mpf, (qa, qb, less))
    slope = (1 - less) * mp.sqrt(qb / qa)
    spread = mp.sqrt(qb * less * (2 - less))

    def value(z):
        return sum(
            c * {"1": 1, "z": z, "exp": mp.exp(z)}[t]
            for low, high, c, t in pieces
            if low <= z < high
        )

    def inner(x, power):  # E s(z_b)^power given z_a = x, by erf
        total = mp.mpf(0)
        for low, high in sorted({(low, high) for low, high, _, _ in pieces}):
            terms = [(c, t) for lo, _, c, t in pieces if lo == low]
            if power == 2:
                terms = [(c * d, t + "*" + r) for c, t in terms for d, r in terms]
            for c, t in terms:
                total += c * _truncated(slope * x, spread, low, high, t)
        return total

    edges = sorted({e for low, high, _, _ in pieces for e in (low, high) if abs(e) < mp.inf})
    points = [-12 * mp.sqrt(qa), 12 * mp.sqrt(qa)]
    for e in edges:  # the inner mean varies over the spread around e / slope
        points += [e / slope + k * spread / slope for k in (-12, -6, -3, 0, 3, 6, 12)] + [e]
    points = sorted(p for p in points if abs(p) <= 12 * mp.sqrt(qa))

    def weighted(f):
        return mp.quad(lambda x: f(x) * mp.npdf(x, 0, mp.sqrt(qa)), points)

    product = weighted(lambda x: value(x) * inner(x, 1))
    difference = weighted(lambda x: value(x) ** 2 - 2 * value(x) * inner(x, 1) + inner(x, 2))
    return product, difference


def _truncated(mean, spread, low, high, kind):
    """E[g(y); low < y < high] for normal y, g a product of 1, z and exp(z)."""
    factors = kind.split("*")
    tilt = factors.count("exp")
    powers = factors.count("z")
    scale = mp.exp(tilt * mean + tilt**2 * spread**2 / 2)
    mean += tilt * spread**2
    a, b = (low - mean) / spread, (high - mean) / spread
    zeroth = mp.ncdf(b) - mp.ncdf(a) if a < 0 else mp.ncdf(-a) - mp.ncdf(-b)
    first = mp.npdf(a) - mp.npdf(b)
    edge_a = a * mp.npdf(a) if mp.isfinite(a) else 0
    edge_b = b * mp.npdf(b) if mp.isfinite(b) else 0
    second = zeroth + edge_a - edge_b
    moments = (
        zeroth,
        mean * zeroth + spread * first,
        mean**2 * zeroth + 2 * mean * spread * first + spread**2 * second,
    )
    return scale * moments[powers]


INF = mp.inf
KINKED = {
    "hard_tanh": [(-INF, -1, -1, "1"), (-1, 1, 1, "z"), (1, INF, 1, "1")],
    "elu": [(-INF, 0, 1, "exp"), (-INF, 0, -1, "1"), (0, INF, 1, "z")],
    "step": [(-INF, 0, 0, "1"), (0, INF, 1, "1")],
}
