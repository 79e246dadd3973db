"""Depth costs time and nothing else: kernels of deep networks, in every way they are found."""

import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import whydeep as wd
from whydeep.network import Network
from whydeep.theory.infinite._propagate import Propagation

X = np.array([[1.0, 2.0], [0.5, -0.3], [-1.0, 0.4]])


def _relu_step(k: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """<s s> and <s' s'> T of relu (Cho and Saul 2009)."""
    root = np.sqrt(np.outer(np.diag(k), np.diag(k)))
    cosine = np.clip(k / root, -1.0, 1.0)
    angle = np.arccos(cosine)
    image = root * (np.sin(angle) + (math.pi - angle) * cosine) / (2.0 * math.pi)
    return image, t * (math.pi - angle) / (2.0 * math.pi)


def _blocks(depth: int, *, norm: bool = False) -> Network:
    inner = [wd.RMSNorm(eps=0.0)] if norm else []
    block = wd.Residual(wd.chain(*inner, wd.Activation("relu"), wd.Dense(8, 0.02, 0.001)))
    return wd.chain(wd.Dense(8), wd.repeat(block, depth), wd.Dense(1))


def _blocks_by_hand(depth: int) -> tuple[np.ndarray, np.ndarray]:
    k = X @ X.T / 2
    t = k.copy()
    for _ in range(depth):
        image, slope = _relu_step(k, t)
        k, t = k + 0.001 + 0.02 * image, t + 0.001 + 0.02 * (image + slope)
    return k, k + t


def _normed(depth: int) -> Network:
    block = wd.chain(wd.Dense(8, 2.0), wd.Activation("relu"))
    return wd.chain(wd.repeat(block, depth), wd.LayerNorm(), wd.Dense(1))


def _check_normed(depth: int) -> None:
    k = 2.0 * X @ X.T / 2
    for _ in range(depth - 1):
        k = 2.0 * _relu_step(k, k)[0]
    mean = np.sqrt(np.diag(k) / (2.0 * math.pi))
    centred = _relu_step(k, k)[0] - np.outer(mean, mean)
    root = np.sqrt(np.diag(centred) + 1e-5)
    found = wd.kernel(_normed(depth), X, ntk=False).nngp
    np.testing.assert_allclose(found, centred / np.outer(root, root), rtol=1e-6)


def _check_blocks(depth: int) -> None:
    found = wd.kernel(_blocks(depth), X)
    k, t = _blocks_by_hand(depth)
    np.testing.assert_allclose(found.nngp, k, rtol=1e-11)
    np.testing.assert_allclose(found.ntk, t, rtol=1e-6)  # arccos loses half the digits near 1


def test_residual_blocks_are_summed_to_any_depth() -> None:
    _check_blocks(40)


def test_a_norm_stands_above_any_number_of_layers() -> None:
    _check_normed(60)


@pytest.mark.slow
def test_a_thousand_layers() -> None:
    _check_blocks(1000)
    _check_normed(1000)
    images = np.random.default_rng(0).normal(size=(2, 4, 4, 2))
    for net in (wd.cnn(1000, 8, "relu"), wd.cnn(1000, 8, "tanh")):
        assert np.isfinite(wd.kernel(net, images).nngp).all()
    assert len(wd.kernel(wd.mlp(1000, 8, "tanh"), X, layers="all").layers) == 1001
    for activation in ("tanh", "relu", "gelu", "erf"):
        assert np.isfinite(wd.kernel(wd.mlp(2000, 8, activation), X).ntk).all()


def test_deep_networks_do_not_deepen_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """The frames in use do not grow with the blocks."""
    deepest = [0]
    found = Propagation._found

    def spy(self: Propagation, *args: object, **keywords: object) -> object:
        frame, depth = inspect.currentframe(), 0
        while frame is not None:
            frame, depth = frame.f_back, depth + 1
        deepest[0] = max(deepest[0], depth)
        return found(self, *args, **keywords)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Propagation, "_found", spy)
    used = []
    for net in (_blocks(12), _blocks(24), _blocks(12, norm=True)):
        deepest[0] = 0
        wd.kernel(net, X[:1])
        used.append(deepest[0])
    assert max(used) == min(used), used


def test_nested_residuals() -> None:
    """Residual(chain(Residual(...), relu, Dense)): x + 0.1 <relu relu> of what is inside."""
    net = wd.chain(wd.Dense(8, 0.1))
    for _ in range(40):
        net = wd.Residual(wd.chain(net, wd.Activation("relu"), wd.Dense(8, 0.1)))
    found = wd.kernel(wd.chain(wd.Dense(8), net, wd.Dense(1)), X, ntk=False).nngp
    k = X @ X.T / 2
    inner = 0.1 * k
    for _ in range(40):
        inner = k + 0.1 * _relu_step(inner, inner)[0]
    np.testing.assert_allclose(found, inner, rtol=1e-11)


def test_gradients_pass_through_many_layers() -> None:
    def entry(weight_var: object) -> object:
        block = wd.chain(wd.Dense(8, weight_var), wd.Activation("relu"))
        return wd.kernel(wd.chain(wd.repeat(block, 30), wd.Dense(1)), jnp.asarray(X)).nngp[0, 0]

    with jax.enable_x64(True):
        slope = jax.grad(entry)(2.0)
    # K_aa = (C_W / 2)^30 |x|^2 / n_0, of which the 30th power is differentiated
    np.testing.assert_allclose(slope, 30 / 2.0 * (X[0] @ X[0]) / 2.0, rtol=1e-10)


def test_functions_without_weights_between_them_are_one_of_any_length() -> None:
    """12 of tanh, scaled: by Gauss-Hermite quadrature of the whole function."""
    bend = [wd.Activation("tanh"), wd.Affine(1.5, 0.0)]
    net = wd.chain(wd.Dense(8), *bend * 12, wd.Dense(1))
    found = wd.kernel(net, X[:1], ntk=False)
    z, w = np.polynomial.hermite_e.hermegauss(150)
    y = z * math.sqrt(X[0] @ X[0] / 2)
    for _ in range(12):
        y = 1.5 * np.tanh(y)
    assert found.nngp[0, 0] == pytest.approx(w @ y**2 / w.sum(), abs=0.05)


def test_what_is_shared_is_computed_once() -> None:
    """x + s(x), 40 times over: written out, it would hold 2^40 terms."""
    net = wd.chain(wd.Dense(8), wd.repeat(wd.Residual(wd.Activation("relu")), 40), wd.Dense(1))
    # z + relu(z) doubles what is positive and keeps what is negative.
    k = X @ X.T / 2
    found = wd.kernel(net, X[:1], ntk=False).nngp[0, 0]
    assert found == pytest.approx(k[0, 0] * (1.0 + 4.0**40) / 2.0, rel=1e-10)
    smooth = wd.chain(wd.Dense(8), wd.repeat(wd.Residual(wd.Activation("sin")), 12), wd.Dense(1))
    assert np.isfinite(wd.kernel(smooth, X[:1], ntk=False).nngp).all()
