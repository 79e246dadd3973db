"""Single-input flows to depth 30 against 30 digits: other quadrature, other formulas, no library.

mpmath, midpoint rule in z / sqrt(K) with steps of 1/8 (poles of tanh, the nearest at K = 1, leave
e^-79), from s and s' alone: derivatives with respect to K through Hermite polynomials, which cost
digits that there are plenty of.
"""

import jax.numpy as jnp
import mpmath as mp
import pytest

import whydeep as wd
from whydeep.theory.flow import flow

DEPTH = 30
DIGITS = 30
ACCURACY = 1e-10  # relative, of every quantity at every layer


def _gelu_slope(z):
    return mp.erfc(-z / mp.sqrt(2)) / 2 + z * mp.npdf(z)


def _silu_slope(z):
    y = 1 / (1 + mp.exp(-z))
    return y + z * y * (1 - y)


def _mish_slope(z):
    t, y = mp.tanh(mp.log1p(mp.exp(z))), 1 / (1 + mp.exp(-z))
    return t + z * (1 - t**2) * y


def _sigmoid(z):
    return 1 / (1 + mp.exp(-z))


FUNCTIONS = {
    "tanh": (mp.tanh, lambda z: mp.sech(z) ** 2),
    "sin": (mp.sin, mp.cos),
    "erf": (mp.erf, lambda z: 2 / mp.sqrt(mp.pi) * mp.exp(-z * z)),
    "gelu": (lambda z: z * mp.erfc(-z / mp.sqrt(2)) / 2, _gelu_slope),
    "silu": (lambda z: z * _sigmoid(z), _silu_slope),
    "mish": (lambda z: z * mp.tanh(mp.log1p(mp.exp(z))), _mish_slope),
    "softplus": (lambda z: mp.log1p(mp.exp(z)), _sigmoid),
    "sigmoid": (_sigmoid, lambda z: _sigmoid(z) * (1 - _sigmoid(z))),
    "relu": (lambda z: max(z, mp.mpf(0)), lambda z: mp.mpf(z > 0)),
    "arctan": (mp.atan, lambda z: 1 / (1 + z * z)),
}
OWN = {"softplus": (0.9, 0.1), "sigmoid": (2.5, 0.3)}  # no critical point


def _means(s, slope, kernel):
    """<s^2>, its first two derivatives in K, <s'^2>, its first, <s^4>, <s^2 s'^2>, <s'^4>."""
    h, half = mp.mpf(1) / 8, 104
    nodes = [h * (k + mp.mpf(1) / 2) for k in range(-half, half)]  # none at 0, where relu turns
    total = [mp.mpf(0)] * 8
    root = mp.sqrt(kernel)
    for u in nodes:
        weight = h * mp.npdf(u)
        square, steep = s(root * u) ** 2, slope(root * u) ** 2
        two, four = u**2 - 1, u**4 - 6 * u**2 + 3
        terms = (
            square, square * two / (2 * kernel), square * four / (4 * kernel**2), steep,
            steep * two / (2 * kernel), square**2, square * steep, steep**2,
        )  # fmt: skip
        total = [t + weight * term for t, term in zip(total, terms, strict=True)]
    return total


def _flow(name, c_w, c_b, depth):
    s, slope = FUNCTIONS[name]
    c_w, c_b = mp.mpf(c_w), mp.mpf(c_b)
    k, k1, k2 = mp.mpf(1), mp.mpf(1), mp.mpf(1)
    theta = c_b + (k - c_b)  # lambda_W = C_W, lambda_b = C_b
    v = g = d = f = a = b = mp.mpf(0)
    for _ in range(depth):
        e, e1, e2, t, t1, ssss, sstt, tttt = _means(s, slope, k)
        par, perp, h = c_w * e1, c_w * t, c_w * t1 / 2
        yield {
            "kernel": k, "parallel": k1, "perpendicular": k2, "chi_parallel": par,
            "chi_perpendicular": perp, "h": h, "ntk": theta, "four_point": v,
            "kernel_correction": g, "ntk_A": a, "ntk_B": b, "ntk_D": d, "ntk_F": f,
        }  # fmt: skip
        # Omega = C_W (s^2 + Theta s'^2); its response to K is o.
        o = c_w * (e1 + theta * t1)
        s_om = c_w * (ssss - e * e + theta * (sstt - e * t))
        om_om = c_w**2 * (ssss + 2 * theta * sstt + theta**2 * tttt - (e + theta * t) ** 2)
        a = om_om + o * o * v + 2 * o * perp * d + perp**2 * a
        d = c_w * s_om + par * o * v + par * perp * d
        f = c_w**2 * sstt * theta + par**2 * f
        b = c_w**2 * tttt * theta**2 + perp**2 * b
        g = par * g + c_w * e2 * v / 2
        v = c_w**2 * (ssss - e * e) + par**2 * v
        theta = c_b + c_w * e + perp * theta
        k1, k2 = par * k1, perp * k2 + h * k1**2
        k = c_b + c_w * e


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_flow_to_depth_30_at_30_digits(name):
    activation = jnp.arctan if name == "arctan" else name
    if name in OWN:
        c_w, c_b = OWN[name]
    else:
        point = wd.critical(activation).preferred
        c_w, c_b = point.weight_var, point.bias_var
    found = flow(activation, DEPTH, weight_var=c_w, bias_var=c_b)
    with mp.workdps(DIGITS):
        for number, exact in enumerate(_flow(name, c_w, c_b, DEPTH)):
            for quantity, value in exact.items():
                mine = mp.mpf(float(getattr(found, quantity)[number]))
                # Where terms cancel (h and G change sign along some flows, A of sin is 0 at layer
                # 2) it is relative to a thousandth of what cancels.
                floor = {
                    "h": exact["chi_perpendicular"] / exact["kernel"],
                    "kernel_correction": exact["four_point"] / exact["kernel"],
                    "ntk_A": exact["ntk"] ** 2,
                    "ntk_D": exact["ntk"] * exact["kernel"],
                }.get(quantity, mp.mpf(0))
                scale = max(abs(value), floor / 1000)
                assert abs(mine - value) <= ACCURACY * scale, (quantity, number)
