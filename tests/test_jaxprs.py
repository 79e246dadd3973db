"""What is read from jaxprs, and how a jaxpr of an unknown version of JAX is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from whydeep.errors import UnsupportedError
from whydeep.jaxprs import Options, inner_jaxpr, scan_counts
from whydeep.network import read_jax


@pytest.mark.parametrize("constants", [0, 2])
@pytest.mark.parametrize("carried", [0, 1, 3])
@pytest.mark.parametrize("over", [0, 2])
def test_what_a_scan_carries_is_seen_from_shapes(constants, carried, over):
    """Any mixture, each operand a scalar, a vector or a square matrix as large as the scan long."""
    shapes = [(), (4,), (4, 4)]
    closed_over = [jnp.ones(shapes[k]) for k in range(constants)]

    def function(known, start, rows):
        def step(carry, row):
            total = sum(jnp.sum(a) for a in (*known, *(row or ())))
            return tuple(c + total for c in carry), row

        return jax.lax.scan(step, start, rows, length=4)

    start = tuple(jnp.zeros(shapes[k]) for k in range(carried))
    rows = tuple(jnp.ones((4, *shapes[k])) for k in range(over)) or None
    traced = jax.make_jaxpr(function)(closed_over, start, rows)
    (equation,) = [e for e in traced.eqns if e.primitive.name == "scan"]
    assert scan_counts(equation) == (constants, carried)


def test_calls_are_opened_with_their_constants():
    numbers = np.arange(3.0)
    for function in (jax.jit(lambda x: x * numbers), jax.checkpoint(lambda x: x * numbers)):
        traced = jax.make_jaxpr(function)(jnp.ones(3))
        jaxpr, constants = inner_jaxpr(traced.eqns[0])
        assert len(jaxpr.constvars) == len(constants)
        assert "mul" in [e.primitive.name for e in jaxpr.eqns]
    assert inner_jaxpr(jax.make_jaxpr(jnp.sin)(1.0).eqns[0]) is None


def test_a_parameter_that_this_version_of_jax_does_not_write_is_refused_in_words(monkeypatch):
    """A renamed parameter was a bare KeyError in the middle of the reading."""
    equation = jax.make_jaxpr(jnp.sum)(jnp.ones(3)).eqns[0]
    with pytest.raises(UnsupportedError, match=rf"JAX {jax.__version__}, without .*'axes'"):
        Options(equation, {"renamed": 0})["axes"]

    monkeypatch.setattr(
        "whydeep.network.jax_reader._walk.Options", lambda e: Options(e, {"renamed": 0})
    )
    with pytest.raises(UnsupportedError, match=r"'dot_general' is written in a way"):
        read_jax(lambda p, x: x @ p, jnp.ones((4, 4)), jnp.ones((2, 4)))
