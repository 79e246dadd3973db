"""wd.kernel and wd.predict against a plain recursion: any activation, depth, variance and scale.

A case is a pair of inputs in a network that is drawn at random; inputs of a network hold a
duplicate, an opposite, a multiple of another and a row of zeros. Nothing may be beyond the error
that is stated, with what the oracle's own arithmetic leaves (1e-12) beside it.
"""

import functools
import itertools
import os

import numpy as np
import pytest

import whydeep as wd
from tests.oracles import _oracle as oracle

_OWN = 1e-12  # of the oracle's quadrature, which is in double precision
_CLOSED, _FUNCTIONS = tuple(oracle.CLOSED), tuple(oracle.FUNCTIONS)
_SLOW = int(os.environ.get("WHYDEEP_ORACLE_CASES", "100000"))


@functools.lru_cache(maxsize=1)
def _network(seed):
    """A network, its inputs, and pairs of them."""
    rng = np.random.default_rng(seed)
    closed = seed % 4 != 3
    names = _CLOSED if closed else _FUNCTIONS
    name = names[(seed // 4 if not closed else seed) % len(names)]
    depth = int(rng.integers(1, 4 if closed else 3))
    c_w = float(10.0 ** rng.uniform(-1, 1))
    c_b = float(rng.choice([0.0, 10.0 ** rng.uniform(-2, 1)]))
    x = oracle.inputs(rng, 10.0 ** rng.uniform(-6, 6))
    pairs = list(itertools.combinations_with_replacement(range(len(x)), 2))
    if not closed:  # its oracle is a plane of nodes a layer
        pairs = [pairs[k] for k in rng.choice(len(pairs), 6, replace=False)]
    net = wd.mlp(depth, 8, name, weight_var=c_w, bias_var=c_b)
    answers = [oracle.kernels(name, depth, c_w, c_b, x[a], x[b]) for a, b in pairs]
    return net, x, pairs, answers


def _within(found, error, part, pairs, answers):
    for (a, b), answer in zip(pairs, answers, strict=True):
        scale = getattr(answer, f"{part}_scale")
        away = abs(found[a, b] - getattr(answer, part))
        assert away <= (error + _OWN) * scale, (part, a, b, found[a, b], answer, error)


def _check(seed):
    net, x, pairs, answers = _network(seed)
    found = wd.kernel(net, x)
    assert found.error <= 1e-10
    _within(found.nngp, found.error, "nngp", pairs, answers)
    _within(found.ntk, found.error, "ntk", pairs, answers)
    return len(pairs)


def _check_predict(seed):
    net, x, pairs, answers = _network(seed)
    predicted = wd.predict(net, x, order=0)
    for name, part in (("kernel", "nngp"), ("ntk", "ntk")):
        _within(predicted[name].values[-1], 1e-10, part, pairs, answers)


@pytest.mark.parametrize("seed", range(36))  # 27 networks of 36 pairs, 9 of 6: 1,026 cases
def test_kernels_are_those_of_the_recursion(seed):
    _check(seed)
    if seed % 2:
        _check_predict(seed)


@pytest.mark.slow
def test_kernels_are_those_of_the_recursion_in_many_networks():
    cases, seed = 0, 1000
    while cases < _SLOW:
        cases += _check(seed)
        if seed % 8 in (0, 7):
            _check_predict(seed)
        seed += 1


def test_a_planted_error_is_beyond_what_is_stated():
    net, x, pairs, answers = _network(3)
    found = wd.kernel(net, x)
    with pytest.raises(AssertionError):
        _within(found.ntk * (1.0 + 1e-10), found.error, "ntk", pairs, answers)
