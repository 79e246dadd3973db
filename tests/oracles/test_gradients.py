"""Derivatives of kernels against a plain recursion in complex numbers, which knows no derivative.

The oracle integrates the activation itself by Gauss-Legendre panels between its kinks, along a line
t -> parameters + t direction. A first derivative is the imaginary part at t = i h over h (Squire
and Trapp 1998): exact up to h^2, with h = 1e-10; a second one is a difference of order 4 of those.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

import whydeep as wd
from whydeep import activations
from whydeep.errors import UnsupportedError
from whydeep.theory.infinite import kernel

INF = np.inf
SCALE, ALPHA = 1.0507009873554805, 1.6732632423543772


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def inner_mish(z):
    return np.tanh(np.log(1 + np.exp(z)))


def inner_gelu(z):
    return np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)


def bell(z):
    return np.exp(-z * z / 2) / np.sqrt(2 * np.pi)


# Pieces, their derivatives by hand, and kinks: from the definitions alone.
FUNCTIONS = {
    "tanh": ([np.tanh], [lambda z: 1 - np.tanh(z) ** 2], []),
    "sigmoid": ([sigmoid], [lambda z: sigmoid(z) * sigmoid(-z)], []),
    "softplus": ([lambda z: np.log(1 + np.exp(z))], [sigmoid], []),
    "silu": (
        [lambda z: z * sigmoid(z)],
        [lambda z: sigmoid(z) * (1 + z * sigmoid(-z))],
        [],
    ),
    "mish": (
        [lambda z: z * inner_mish(z)],
        [lambda z: inner_mish(z) + z * (1 - inner_mish(z) ** 2) * sigmoid(z)],
        [],
    ),
    "gelu": (
        [lambda z: z * (1 + erf(z / np.sqrt(2))) / 2],
        [lambda z: (1 + erf(z / np.sqrt(2))) / 2 + z * bell(z)],
        [],
    ),
    "gelu_tanh": (
        [lambda z: z / 2 * (1 + np.tanh(inner_gelu(z)))],
        [
            lambda z: (
                (1 + np.tanh(inner_gelu(z))) / 2
                + z / 2 / np.cosh(inner_gelu(z)) ** 2 * np.sqrt(2 / np.pi) * (1 + 0.134145 * z * z)
            )
        ],
        [],
    ),
    "erf": ([erf], [lambda z: 2 / np.sqrt(np.pi) * np.exp(-z * z)], []),
    "sin": ([np.sin], [np.cos], []),
    "cos": ([np.cos], [lambda z: -np.sin(z)], []),
    "gaussian": ([lambda z: np.exp(-z * z)], [lambda z: -2 * z * np.exp(-z * z)], []),
    "gabor": (
        [lambda z: np.exp(-z * z) * np.sin(z)],
        [lambda z: np.exp(-z * z) * (np.cos(z) - 2 * z * np.sin(z))],
        [],
    ),
    "rbf(0.5)": (
        [lambda z: np.sqrt(2) * np.sin(z + np.pi / 4)],
        [lambda z: np.sqrt(2) * np.cos(z + np.pi / 4)],
        [],
    ),
    "polynomial(0.4, -0.7, 0.3, 0.1)": (
        [lambda z: 0.4 - 0.7 * z + 0.3 * z**2 + 0.1 * z**3],
        [lambda z: -0.7 + 0.6 * z + 0.3 * z**2],
        [],
    ),
    "relu": ([lambda z: 0 * z, lambda z: z], [lambda z: 0 * z, lambda z: 0 * z + 1], [0.0]),
    "leaky_relu(0.2)": (
        [lambda z: 0.2 * z, lambda z: z],
        [lambda z: 0 * z + 0.2, lambda z: 0 * z + 1],
        [0.0],
    ),
    "abs": ([lambda z: -z, lambda z: z], [lambda z: 0 * z - 1, lambda z: 0 * z + 1], [0.0]),
    "elu": ([lambda z: np.exp(z) - 1, lambda z: z], [np.exp, lambda z: 0 * z + 1], [0.0]),
    "selu": (
        [lambda z: SCALE * ALPHA * (np.exp(z) - 1), lambda z: SCALE * z],
        [lambda z: SCALE * ALPHA * np.exp(z), lambda z: 0 * z + SCALE],
        [0.0],
    ),
    "hard_tanh": (
        [lambda z: 0 * z - 1, lambda z: z, lambda z: 0 * z + 1],
        [lambda z: 0 * z, lambda z: 0 * z + 1, lambda z: 0 * z],
        [-1.0, 1.0],
    ),
    "rectified_monomial(2)": (
        [lambda z: 0 * z, lambda z: z**2],
        [lambda z: 0 * z, lambda z: 2 * z],
        [0.0],
    ),
}
QUICK = ["tanh", "gelu", "relu", "selu"]
NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)


def panels(breaks, soft=()):
    """Nodes, Gaussian weights and pieces of panels that end at complex breaks.

    Panels end at `soft` too, where a mean varies fast but smoothly.
    """
    base = [(b, 0) for b in (*np.linspace(-9.0, 9.0, 9), *soft) if abs(b) <= 9]
    marks = sorted([*base, *((b, 1) for b in breaks if abs(b.real) < 9)], key=lambda m: m[0].real)
    piece = sum(b.real <= -9 for b in breaks)
    nodes, weights, pieces = [], [], []
    for (low, _), (high, _) in itertools.pairwise(marks):
        piece_here = piece + sum(m[1] for m in marks if m[0].real <= low.real)
        half = (high - low) / 2
        u = low + half * (1 + NODES)
        nodes.append(u)
        weights.append(half * WEIGHTS * np.exp(-u * u / 2) / np.sqrt(2 * np.pi))
        pieces.append(np.full(len(u), piece_here))
    return map(np.concatenate, (nodes, weights, pieces))


def applied(pieces, z, which):
    out = np.zeros_like(z)
    for n, piece in enumerate(pieces):
        out = np.where(which == n, piece(np.where(which == n, z, 0.5)), out)
    return out


def pair(name, qa, qb, k, slope):
    """<s s>, or <s' s'> where `slope`, of complex variances and covariance."""
    pieces, slopes, kinks = FUNCTIONS[name]
    pieces = slopes if slope else pieces
    root = np.sqrt(qa + 0j)
    beta = k / qa if abs(qa) > 0 else 0.0
    rest = np.sqrt(qb - beta * k + 0j) or 1e-300
    slow = (beta * root).real
    soft = [(x + n * abs(rest)) / slow for x in kinks for n in (-9, -3, -1, 1, 3, 9) if slow]
    u, w, which = panels([x / root for x in kinks] if abs(root) > 1e-9 else [], soft)
    left = w * applied(pieces, root * u, which)
    if not kinks:
        v, x, there = panels([])
        inner = applied(pieces, beta * root * u[:, None] + rest * v, there) @ x
        return left @ inner
    total = 0.0
    for mean, value in zip(beta * root * u, left, strict=True):
        v, x, there = panels([(kink - mean) / rest for kink in kinks])
        total = total + value * (x @ applied(pieces, mean + rest * v, there))
    return total


def recursion(name, depth, x, c_w, c_b, pairs):
    """K and Theta of the output for pairs of rows, in complex numbers, ntk parameterization."""
    n0 = x.shape[1]
    need = sorted({*pairs, *((i, i) for both in pairs for i in both)})
    k = {(i, j): c_b + c_w * (x[i] @ x[j]) / n0 for i, j in need}
    theta = dict(k)
    for _ in range(depth):
        image = {p: pair(name, k[p[0], p[0]], k[p[1], p[1]], k[p], slope=False) for p in need}
        slope = {p: pair(name, k[p[0], p[0]], k[p[1], p[1]], k[p], slope=True) for p in need}
        theta = {p: c_b + c_w * image[p] + c_w * slope[p] * theta[p] for p in need}
        k = {p: c_b + c_w * image[p] for p in need}
    return np.array([[k[p] for p in pairs], [theta[p] for p in pairs]])


def along(name, depth, x, numbers, direction, pairs):
    """First and second derivatives along a direction: (2, 2 kernels, pairs)."""
    dx, d_w, d_b = direction
    h, step = 1e-10, 4e-3

    def first(t):
        t = t + 1j * h
        found = recursion(
            name, depth, x + t * dx, numbers[0] + t * d_w, numbers[1] + t * d_b, pairs
        )
        return found.imag / h

    near, far = first(step) - first(-step), first(2 * step) - first(-2 * step)
    return np.stack([first(0.0), (8 * near - far) / (12 * step)])


def found_along(name, depth, x, numbers, direction, order):
    dx, d_w, d_b = direction

    def kernels(t):
        net = wd.mlp(depth, 8, name, weight_var=numbers[0] + t * d_w, bias_var=numbers[1] + t * d_b)
        found = kernel(net, x + t * dx)
        return jnp.stack([found.nngp, found.ntk])

    def first(t):
        return jax.jvp(kernels, (t,), (jnp.ones_like(t),))[1]

    with jax.enable_x64(True):
        zero = jnp.zeros(())
        out = [first(zero)]
        if order == 2:
            out.append(jax.jvp(first, (zero,), (jnp.ones_like(zero),))[1])
        return np.stack([np.asarray(v) for v in out])


def a_case(seed, bias, small=1e-3):
    """Rows: two generic ones, one again, its opposite, zeros, a small and a large one."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, 3))
    x = np.concatenate([x, x[:1], -x[:1], np.zeros((1, 3)), small * rng.normal(size=(1, 3)),
                        1.5 * rng.normal(size=(1, 3))])  # fmt: skip
    numbers = rng.uniform(0.6, 1.4), bias * rng.uniform(0.05, 0.3)
    direction = rng.normal(size=x.shape), rng.normal(), bias * rng.normal()
    return x, numbers, direction


def checked(name, depth, seed, bias, order, thin=1):
    pieces, _, _ = FUNCTIONS[name]
    # differences of second order must not step across a cusp
    x, numbers, direction = a_case(seed, bias, small=1e-3 if len(pieces) == 1 else 0.4)
    pairs = [(i, j) for i in range(len(x)) for j in range(i, len(x))]
    if len(pieces) > 1:  # where it has cusps other tests say what they are
        cusps = {(0, 2), (0, 3), (2, 3), (0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6)}
        pairs = [p for p in pairs if p not in cusps and (bias or 4 not in p)][::thin]
    exact = along(name, depth, x, numbers, direction, pairs)
    found = found_along(name, depth, x, numbers, direction, order)
    for n in range(order):
        values = found[n][:, [i for i, _ in pairs], [j for _, j in pairs]]
        scale = np.abs(exact[n]).max(1, keepdims=True)
        worst = np.abs((values - exact[n]) / scale)
        assert worst.max() < (1e-9, 1e-6)[n], (name, depth, seed, bias, n, worst.max(1))


@pytest.mark.parametrize("name", QUICK)
def test_derivatives_along_a_line(name):
    checked(name, 2, seed=len(name), bias=1, order=2, thin=5)


def grad_of(net, x, kind, a, b):
    return jax.grad(lambda z: getattr(kernel(net, z), kind)[a, b])(jnp.asarray(x, float))


def test_the_gradient_at_a_row_of_zeros():
    """d <s_a s_b> / dx_a = C_W x_b / n_0 s'(0) <s'_b> for an odd s, layer by layer."""
    x = [[0.0, 0.0], [1.0, 2.0]]
    with jax.enable_x64(True):
        found = grad_of(wd.mlp(1, 64, "tanh", weight_var=1.0, bias_var=0.0), x, "nngp", 0, 1)
        u, w, _ = panels([])
        root = np.sqrt(2.5)
        slope = w @ (1 - np.tanh(root * u) ** 2)
        np.testing.assert_allclose(found[0], slope * np.array([1.0, 2.0]) / 2, rtol=1e-11)
        assert found[0, 0] == pytest.approx(0.2206, abs=5e-5)
        two = grad_of(wd.mlp(2, 64, "tanh", weight_var=1.0, bias_var=0.0), x, "nngp", 0, 1)
        second = np.sqrt(w @ np.tanh(root * u) ** 2)
        slope *= w @ (1 - np.tanh(second * u) ** 2)
        np.testing.assert_allclose(two[0], slope * np.array([1.0, 2.0]) / 2, rtol=1e-11)


def test_the_second_derivative_of_relu_at_generic_inputs():
    x = np.array([[1, 2], [0.5, -0.3]])
    with jax.enable_x64(True):
        found = jax.hessian(
            lambda v: kernel(wd.mlp(2, 8, "relu", weight_var=v, bias_var=0.1), x).nngp[0, 1]
        )(2.0)
    assert float(found) == pytest.approx(0.98691, abs=5e-6)


@pytest.mark.parametrize(("name", "odd"), [("relu", 0.5), ("leaky_relu(0.2)", 0.6), ("abs", 0.0)])
def test_cusps_have_the_documented_subgradient(name, odd):
    """A zero row is at a right angle in every layer: C_W x_b / n_0 times (C_W odd^2)^L."""
    x = [[0.0, 0.0], [1.0, 2.0], [1.0, 2.0], [-1.0, -2.0]]
    net = wd.mlp(2, 8, name, weight_var=1.5, bias_var=0.0)
    rate = 1.5 * (1.5 * odd**2) ** 2
    with jax.enable_x64(True):
        zero = grad_of(net, x, "nngp", 0, 1)
        np.testing.assert_allclose(zero[0], rate * np.array([0.5, 1.0]), rtol=1e-12, atol=1e-30)
        own = grad_of(net, x, "ntk", 1, 1)
        for other, sign in ((2, 1.0), (3, -1.0)):  # at a fixed angle: half of what K_aa has
            pair = np.asarray(grad_of(net, x, "ntk", 1, other))
            value = kernel(net, np.array(x)).ntk
            ratio = value[1, other] / value[1, 1]
            np.testing.assert_allclose(pair[1], ratio * own[1] / 2, rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(pair[other], sign * pair[1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_derivatives_of_relu_at_far_scales(scale):
    x = scale * np.array([[1.0, 2.0], [0.5, -0.3]])
    with jax.enable_x64(True):
        net = wd.mlp(2, 8, "relu", weight_var=2.0, bias_var=0.0)
        slope = np.asarray(grad_of(net, x, "ntk", 0, 1))
        value = kernel(net, x).ntk[0, 1]
    np.testing.assert_allclose((slope * x).sum(1), value, rtol=1e-10)  # homogeneous: Euler


@pytest.mark.parametrize(
    "scale",
    [
        1e-6,
        3.0,
        pytest.param(1e2, marks=pytest.mark.slow),
        pytest.param(1e6, marks=pytest.mark.slow),
    ],
)
def test_derivatives_by_quadrature_at_far_scales(scale):
    """A function that is erf, unnamed, has Williams's closed form whatever the scale."""
    x = scale * np.array([[1.0, 2.0], [0.5, -0.3]])
    unnamed = activations.custom(jax.scipy.special.erf, name="unnamed")
    with jax.enable_x64(True):
        slope = np.asarray(
            grad_of(wd.mlp(1, 8, unnamed, weight_var=1.0, bias_var=0.1), x, "nngp", 0, 1)
        )
    k = 0.1 + x @ x.T / 2
    # a covariance's determinant by cross products, which nothing cancels in
    area = 0.1 * ((x[0] - x[1]) ** 2).sum() / 2 + (x[0, 0] * x[1, 1] - x[0, 1] * x[1, 0]) ** 2 / 4
    det = 1 + 2 * (k[0, 0] + k[1, 1]) + 4 * area
    d_k = 4 / np.pi / np.sqrt(det)
    d_q = -d_k * k[0, 1] / (1 + 2 * k[0, 0])
    np.testing.assert_allclose(slope[0], (d_k * x[1] + 2 * d_q * x[0]) / 2, rtol=1e-8)


def test_learning_rates_and_layers_can_be_varied():
    x = np.array([[1.0, 0.5], [0.2, -0.7]])

    def found(t):
        net = wd.mlp(
            2, 8, "tanh", weight_var=[1 + t, 1.0, 1 - t], bias_var=[0.1, t + 0.2, 0.1],
            weight_lr=[1.0, 1 + 2 * t, 0.5], bias_lr=[0.3 + t, 0.0, 1.0],
        )  # fmt: skip
        return kernel(net, x).ntk

    step = 1e-5
    with jax.enable_x64(True):
        slope = jax.jacfwd(found)(0.0)
    difference = (found(step) - found(-step)) / (2 * step)
    np.testing.assert_allclose(slope, difference, rtol=1e-7, atol=1e-8)


def test_a_hidden_kink_is_refused():
    x = np.eye(2)
    with pytest.raises(UnsupportedError, match="kink"):
        grad_of(wd.mlp(1, 8, jax.nn.relu), x, "nngp", 0, 1)


@pytest.mark.slow
@pytest.mark.parametrize("bias", [0, 1])
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_derivatives_along_a_line_for_all(name, depth, bias):
    for seed in range(3):
        checked(name, depth, seed=seed, bias=bias, order=2)
