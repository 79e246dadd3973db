import itertools
import re
from pathlib import Path

import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

from tests.gaussian import oracle
from whydeep import activations
from whydeep.activations import NAMES
from whydeep.errors import InputError
from whydeep.network._layers import PARAMETERIZATIONS

ALL = [*oracle.SPELLED, "monomial(3)", "leaky_relu(0.2)", "elu(0.5)"]
POINTS = [-20.0, -3.1, -0.7, -1e-3, 1e-9, 0.4, 2.3, 11.0]


@pytest.mark.parametrize("name", oracle.SMOOTH)
@pytest.mark.parametrize("z", POINTS)
def test_derivatives_of_smooth_functions(name, z):
    with mp.workdps(40):
        expected = [float(c) for c in mp.taylor(oracle.SMOOTH[name], mp.mpf(z), 4)]
    expected = [c * f for c, f in zip(expected, (1, 1, 2, 6, 24), strict=True)]
    found = [d[0] for d in activations.get(name).derivatives(np.array([z]), 4)]
    for n, (value, exact) in enumerate(zip(found, expected, strict=True)):
        # Rounding of an argument of size z is z eps of the next derivative.
        assert value == pytest.approx(exact, rel=2e-13, abs=3e-14), n


@pytest.mark.parametrize("name", ALL)
def test_derivatives_are_derivatives(name):
    z = np.linspace(-3.03, 3.01, 41)
    h = 1e-4
    s = activations.get(name)
    middle, above, below = (s.derivatives(x, 4) for x in (z, z + h, z - h))
    for n in range(4):
        slope = (above[n] - below[n]) / (2 * h)
        scale = max(1.0, np.abs(middle[n + 1]).max())
        np.testing.assert_allclose(middle[n + 1], slope, atol=2e-6 * scale)


@pytest.mark.parametrize("name", ALL)
def test_flags_tell_the_truth(name):
    s = activations.get(name)
    z = np.linspace(0.01, 5, 50)
    plus, minus = s.derivatives(z, 0)[0], s.derivatives(-z, 0)[0]
    assert np.allclose(plus, -minus, rtol=1e-14) == s.odd
    homogeneous = np.allclose(plus, z * plus[-1] / 5) and np.allclose(minus, z * minus[-1] / 5)
    assert homogeneous == (s.slopes is not None)
    if s.slopes is not None:
        assert (-minus[-1] / 5, plus[-1] / 5) == pytest.approx(s.slopes)
    assert s.smooth == (not s.kinks)
    assert s.continuous == (name not in ("step", "sign"))


@pytest.mark.parametrize("name", ALL)
def test_the_function_that_networks_apply_is_the_same(name):
    s = activations.get(name)
    z = np.concatenate([np.linspace(-3, 3, 31), s.kinks])
    applied = np.asarray(s(jnp.asarray(z, dtype=jnp.float32)))
    np.testing.assert_allclose(applied, s.derivatives(z, 0)[0], rtol=2e-5, atol=2e-6)


def test_the_page_of_activations_names_all_of_them():
    page = Path(__file__).parents[1] / "docs" / "activations.md"
    named = re.findall(r"^\| `(\w+)` \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert tuple(named) == NAMES


def test_the_page_of_parameterizations_names_all_of_them():
    page = Path(__file__).parents[1] / "docs" / "parameterizations.md"
    named = re.findall(r'^\| `"(\w+)"` \|', page.read_text(encoding="utf-8"), re.MULTILINE)
    assert tuple(named) == PARAMETERIZATIONS


def test_jumps():
    np.testing.assert_array_equal(activations.get("relu").jumps(2), [[0, 1, 0]])
    np.testing.assert_array_equal(activations.get("step").jumps(1), [[1, 0]])
    np.testing.assert_array_equal(activations.get("hard_tanh").jumps(2), [[0, 1, 0], [0, -1, 0]])
    np.testing.assert_allclose(activations.get("elu(0.5)").jumps(3), [[0, 0.5, -0.5, -0.5]])


def test_a_long_grid_equals_its_parts():
    z = np.linspace(-5, 5, 300_000)
    whole = activations.get("tanh").derivatives(z, 1)
    part = activations.get("tanh").derivatives(z[::1000], 1)
    for a, b in zip(whole, part, strict=True):
        np.testing.assert_allclose(a[::1000], b, rtol=1e-15, atol=1e-300)
    assert activations.get("tanh").derivatives(np.zeros((0, 3)), 2)[2].shape == (0, 3)


def test_a_kink_declared_by_the_user_has_both_sides():
    own = activations.custom(lambda z: jnp.abs(z - 0.5), kinks=(0.5,))
    np.testing.assert_allclose(own.jumps(1), [[0, 2]], atol=1e-15)
    np.testing.assert_allclose(own.derivatives(np.array([0.4, 0.6]), 1)[1], [-1, 1])


def test_names_and_parameters():
    assert activations.get("SiLU") == activations.get("swish")
    assert activations.get("leaky_relu(0.2)").slopes == (0.2, 1.0)
    assert activations.get("monomial(3)").odd
    plain = [n for n in activations.NAMES if n not in ("polynomial", "hermite")]
    assert [activations.get(n).family for n in plain] == plain
    assert activations.get("hermite(2)").family == "polynomial"


@pytest.mark.parametrize(
    "bad",
    ["tanhh", "", "tanh(2)", "monomial(-1)", "monomial(2.5)", "elu(x)", "elu(nan)", "elu(1,2)"],
)
def test_unknown_names_are_refused(bad):
    with pytest.raises(InputError):
        activations.get(bad)


@pytest.mark.parametrize(
    "bad",
    [np.tanh, lambda z: z.sum(), lambda z: z > 0, jnp.log, lambda z: 1 / z, float],
)
def test_useless_functions_are_refused(bad):
    with pytest.raises(InputError):
        activations.get(bad)


def test_pieces_are_ordered():
    for name, (a, b) in itertools.product(ALL, [(0, 1)]):
        kinks = activations.get(name).kinks
        assert list(kinks) == sorted(kinks)
        assert len(activations.get(name).pieces) == len(kinks) + 1 + a * b
