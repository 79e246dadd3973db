"""Estimates of dimension: exact laws, known manifolds, invariances, refusals."""

import dataclasses
import sys

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize_scalar

import whydeep as wd
from whydeep.errors import InputError, UnsupportedError
from whydeep.geometry.dimension import (
    calibrated_dimension,
    intrinsic_dimension,
    reference_dimension,
)
from whydeep.geometry.dimension._estimators import gride, likelihood, slope
from whydeep.geometry.dimension._neighbours import blocks, neighbours

METHODS = ("twonn", "twonn_slope", "mle", "gride")


def ball(rng, n, d):
    x = rng.normal(size=(n, d))
    return x / np.linalg.norm(x, axis=1, keepdims=True) * rng.uniform(size=(n, 1)) ** (1 / d)


def sphere(rng, n, d):
    x = rng.normal(size=(n, d + 1))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def swiss_roll(rng, n):
    turn = 1.5 * np.pi * (1 + 2 * rng.uniform(size=n))
    return np.column_stack([turn * np.cos(turn), 21 * rng.uniform(size=n), turn * np.sin(turn)])


def clusters(rng, count, n, d):
    """Centres of balls that are far apart, and n uniform points about each."""
    away = 10.0 * np.arange(count)[:, None, None] * np.eye(d)[0]
    around = np.stack([ball(rng, n, d) for _ in range(count)])
    return np.concatenate([away, away + around], axis=1)


@pytest.mark.parametrize("d", [1, 3, 8])
@pytest.mark.parametrize(("a", "b"), [(1, 2), (2, 4), (3, 7)])
def test_the_exact_law_of_ratios_of_distances(d, a, b):
    """About the centre of a uniform ball, (r_a/r_b)^d is Beta(a, b-a), whatever the number of
    points; for (1, 2) that is Facco's Pareto law. Nine Kolmogorov-Smirnov tests at 1e-4."""
    rng = np.random.default_rng(10 * d + b)
    cloud = clusters(rng, 300, 30, d)
    centres = cloud[:, 0]
    found = neighbours(cloud.reshape(-1, d), b)
    order = {tuple(p): k for k, p in enumerate(found.points.tolist())}
    r = found.distances[[order[tuple(c)] for c in centres.tolist()]]
    share = (r[:, a - 1] / r[:, b - 1]) ** d
    assert stats.kstest(share, stats.beta(a, b - a).cdf).pvalue > 1e-4
    wrong = (r[:, a - 1] / r[:, b - 1]) ** (1.5 * d)
    assert stats.kstest(wrong, stats.beta(a, b - a).cdf).pvalue < 1e-4


@pytest.mark.parametrize("d", [1.0, 4.0, 30.0])
@pytest.mark.parametrize("b", [2, 4, 16])
def test_estimators_on_their_own_law(d, b):
    """Distances drawn from the law itself: no bias beyond chance, at z = 4 (6e-5 each)."""
    rng = np.random.default_rng(int(d) + b)
    arrivals = np.cumsum(rng.exponential(size=(4000, b)), axis=1) ** (1 / d)
    n = len(arrivals)
    assert abs(likelihood(arrivals) / d - 1) < 4 / np.sqrt(n * (b - 1))
    assert abs(gride(arrivals) / d - 1) < 4 / np.sqrt(n)
    if b == 2:
        assert gride(arrivals) == pytest.approx(likelihood(arrivals) * n / (n - 1), rel=1e-12)
        assert abs(slope(arrivals) / d - 1) < 4 * 1.1 / np.sqrt(n)


def test_gride_is_at_the_maximum_of_its_likelihood():
    rng = np.random.default_rng(0)
    r = np.cumsum(rng.exponential(size=(200, 8)), axis=1) ** (1 / 3)
    mu = r[:, 7] / r[:, 3]

    def minus_log_likelihood(d):
        density = np.log(d) + 3 * np.log(mu**d - 1) - (7 * d + 1) * np.log(mu)
        return -np.sum(density)

    best = minimize_scalar(minus_log_likelihood, bounds=(0.5, 10), method="bounded",
                           options={"xatol": 1e-10})  # fmt: skip
    assert gride(r) == pytest.approx(best.x, rel=1e-6)


MANIFOLDS = {
    "sphere 2": (lambda rng: sphere(rng, 2000, 2), 2),
    "sphere 5": (lambda rng: sphere(rng, 2000, 5), 5),
    "cube 2": (lambda rng: rng.uniform(size=(2000, 2)), 2),
    "swiss roll": (lambda rng: swiss_roll(rng, 2000), 2),
    "plane in 100 columns": (
        lambda rng: rng.normal(size=(2000, 3)) @ rng.normal(size=(3, 100)),
        3,
    ),
    "curve": (lambda rng: np.exp(1j * np.linspace(0, 6, 2000) + 0.3j * rng.uniform(size=2000)), 1),
}


@pytest.mark.parametrize("name", MANIFOLDS)
@pytest.mark.parametrize("method", METHODS)
def test_manifolds_of_known_dimension(name, method):
    """Within four standard errors and a bias of 5%, which is what curvature and edges leave."""
    make, d = MANIFOLDS[name]
    x = make(np.random.default_rng(1))
    x = np.column_stack([x.real, x.imag]) if np.iscomplexobj(x) else x
    found = intrinsic_dimension(x, method)
    assert abs(found.value - d) < 4 * found.stderr + 0.05 * d
    assert found.stderr < 0.08 * d


@pytest.mark.parametrize(
    ("make", "method", "published"),
    [
        (lambda rng: sphere(rng, 2000, 10), "twonn", 9.39),
        (lambda rng: sphere(rng, 2000, 10), "mle", 9.05),
        (lambda rng: sphere(rng, 2000, 20), "mle", 15.5),
        (lambda rng: rng.uniform(size=(2000, 20)), "mle", 14.3),
        (lambda rng: rng.normal(size=(2000, 10)), "mle", 9.09),
    ],
)
def test_the_known_bias_in_high_dimension(make, method, published):
    """scikit-dimension's values for single clouds; both clouds vary, z = 4. Its MLE averages over
    points in another way (Levina and Bickel's, without MacKay and Ghahramani), which is 5% up."""
    found = intrinsic_dimension(make(np.random.default_rng(2)), method)
    allowed = 4 * np.sqrt(2) * found.stderr + (0.06 * published if method == "mle" else 0.0)
    assert abs(found.value - published) < allowed


@pytest.mark.parametrize("method", METHODS)
def test_rotation_scaling_shift_and_embedding_change_nothing(method):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(300, 4))
    turn, _ = np.linalg.qr(rng.normal(size=(12, 12)))
    moved = 1e3 * np.column_stack([x, np.zeros((300, 8))]) @ turn + rng.normal(size=12)
    first, other = intrinsic_dimension(x, method), intrinsic_dimension(moved, method)
    assert other.value == pytest.approx(first.value, rel=1e-9)
    assert other.distance == pytest.approx(1e3 * first.distance, rel=1e-9)
    assert intrinsic_dimension(x[::-1], method).value == pytest.approx(first.value, rel=1e-12)
    for tiny in (1e-150, 1e150):
        assert intrinsic_dimension(tiny * x, method).value == pytest.approx(first.value, rel=1e-9)


def test_far_from_the_origin_distances_do_not_cancel():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(200, 20))  # many columns: the search goes through inner products
    near, far = neighbours(x, 2), neighbours(x + 1e5, 2)
    np.testing.assert_allclose(far.distances, near.distances, rtol=1e-9)


def test_duplicates_count_once_and_are_reported():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(200, 3))
    plain, repeated = intrinsic_dimension(x), intrinsic_dimension(np.vstack([x, x[:50], x[:50]]))
    assert repeated.value == pytest.approx(plain.value, rel=1e-12)
    assert (plain.duplicates, repeated.duplicates) == (0, 100)
    assert "100 duplicates left out" in repr(repeated)


@pytest.mark.parametrize("method", METHODS)
def test_rounded_numbers_are_said_to_be_rounded(method):
    """By brute force: how many points have two nearest neighbours at one distance."""
    steps = np.unique(np.rint(np.random.default_rng(6).normal(size=(400, 3)) * 10), axis=0)
    apart = np.sort(((steps[:, None] - steps) ** 2).sum(axis=-1), axis=1)
    ties = int((apart[:, 1] == apart[:, 2]).sum())
    assert 20 < ties < 130
    with pytest.warns(UserWarning, match=f"{ties} of {len(steps)} points have two nearest"):
        assert intrinsic_dimension(steps / 10, method).ties == ties


def _lattices():
    rng = np.random.default_rng(60)
    yield "linspace", np.linspace(0, 1, 1000)[:, None]
    yield "whole numbers", np.arange(1000)[:, None]
    yield "sevenths", np.arange(1000)[:, None] / 7
    yield "summed", np.cumsum(np.full(1000, 0.1))[:, None]
    angle = np.arange(500) * 2 * np.pi / 500
    yield "circle", np.column_stack([np.cos(angle), np.sin(angle)])
    rows = np.arange(900) // 30
    yield "hexagons", np.column_stack([np.arange(900) % 30 + rows / 2, rows * np.sqrt(0.75)])
    for d, n in ((2, 30), (3, 10), (4, 5)):
        lattice = np.stack(np.meshgrid(*[np.linspace(0, 1, n)] * d), axis=-1).reshape(-1, d)
        turn, _ = np.linalg.qr(rng.normal(size=(d, d)))
        yield f"{d}-D", lattice
        yield f"{d}-D turned", lattice @ turn
        yield f"{d}-D of unequal sides", lattice * np.geomspace(1, 0.3, d)
    yield "few digits", np.round(rng.normal(size=(2000, 1)), 2)
    yield "simplex", np.eye(50)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("unit", "offset"), [(1.0, 0.0), (1e-200, 0.0), (1e200, 0.0), (1.0, 1e9)])
def test_lattices_have_no_dimension_whatever_the_rounding(method, unit, offset):
    for _, x in _lattices():
        with pytest.raises(InputError, match="equally far"):
            intrinsic_dimension(x * unit + offset, method)


@pytest.mark.parametrize("method", METHODS)
def test_no_unit_and_no_offset_changes_a_dimension(method):
    x = np.random.default_rng(61).uniform(size=(500, 2))
    plain = intrinsic_dimension(x, method)
    for unit in (2.0**-700, 2.0**700, 2.0**-1000, 2.0**1000):
        other = intrinsic_dimension(x * unit, method)
        assert other.value == pytest.approx(plain.value, rel=1e-9)
        assert other.stderr == pytest.approx(plain.stderr, rel=1e-9)
        assert other.distance / unit == pytest.approx(plain.distance, rel=1e-9)
    steps = np.rint(x * 2**20) / 2**20  # exact with the offset
    moved = intrinsic_dimension(steps + 2.0**30, method)
    # There, distances that differ by the rounding of 1e9, 1e-6, are equal.
    assert moved.value == pytest.approx(intrinsic_dimension(steps, method).value, rel=1e-5)


def test_ties_are_seen_through_single_precision():
    with pytest.raises(InputError, match="equally far"):
        intrinsic_dimension(np.linspace(0, 1, 1000, dtype=np.float32)[:, None])


@pytest.mark.parametrize(("method", "d"), [("twonn", 2), ("mle", 2), ("gride", 3)])
def test_error_bars_are_the_spread_of_estimates(method, d):
    """40 clouds: their standard deviation is known to 11%, and the mean error bar must be
    within 4 x 11% of it (z = 4)."""
    found = [
        intrinsic_dimension(np.random.default_rng([7, i]).uniform(size=(600, d)), method)
        for i in range(40)
    ]
    spread = np.std([f.value for f in found], ddof=1)
    assert abs(np.mean([f.stderr for f in found]) / spread - 1) < 0.45


def test_blocks_are_of_equal_size_and_apart():
    x = np.random.default_rng(8).uniform(size=(640, 2))
    number = blocks(x)
    np.testing.assert_array_equal(np.bincount(number), np.full(32, 20))
    means = np.stack([x[number == b].mean(axis=0) for b in range(32)])
    within = np.mean([x[number == b].var(axis=0).sum() for b in range(32)])
    assert within < means.var(axis=0).sum() / 5


def test_calibration_undoes_the_bias():
    rng = np.random.default_rng(9)
    for d in (10, 15):
        raw = intrinsic_dimension(rng.normal(size=(800, d)), "mle")
        known = calibrated_dimension(raw)
        assert raw.value < d - 0.5
        assert known.low < d < known.high
        assert known.high - known.low < 0.25 * d


def test_reference_has_the_spread_of_single_clouds():
    found = reference_dimension(400, 4, "gride", k=4, draws=20, law="uniform")
    single = intrinsic_dimension(np.random.default_rng(0).uniform(size=(400, 4)), "gride")
    assert abs(single.value - found.value) < 4 * found.spread * np.sqrt(1 + 1 / 20)
    assert found.stderr == pytest.approx(found.spread / np.sqrt(20))
    again = reference_dimension(400, 4, "gride", k=4, draws=20, law="uniform")
    assert again == found


def test_digits():
    """8.9 by TwoNN and 6.8 by the MLE of scikit-dimension, which averages otherwise."""
    x, _ = wd.data.load("digits", scale=False)
    found = intrinsic_dimension(x)
    assert abs(found.value - 8.9) < 4 * found.stderr
    assert 6 < intrinsic_dimension(x, "mle").value < 9


@pytest.mark.parametrize(
    ("x", "options"),
    [
        (np.eye(3)[:2], {}),
        (np.ones((50, 3)), {}),
        (np.full((50, 3), np.nan), {}),
        (np.ones(50), {}),
        (np.random.default_rng(0).normal(size=(50, 2)), {"method": "pca"}),
        (np.random.default_rng(0).normal(size=(50, 2)), {"method": "twonn", "k": 3}),
        (np.random.default_rng(0).normal(size=(50, 2)), {"method": "gride", "k": 3}),
        (np.random.default_rng(0).normal(size=(50, 2)), {"method": "mle", "k": 1}),
        (np.random.default_rng(0).normal(size=(15, 2)), {"method": "mle"}),
        (np.eye(30), {}),  # all distances equal
    ],
)
def test_what_is_refused(x, options):
    with pytest.raises(InputError):
        intrinsic_dimension(x, **options)


def test_bad_references_are_refused():
    for options in ({"law": "cauchy"}, {"method": "pca"}, {"draws": 1}, {"seed": -1}):
        with pytest.raises(InputError):
            reference_dimension(100, 2, **options)
    raw = intrinsic_dimension(np.random.default_rng(0).normal(size=(100, 2)))
    with pytest.raises(UnsupportedError, match="our own"):
        calibrated_dimension(dataclasses.replace(raw, method="lPCA"))
    with pytest.raises(UnsupportedError, match="beyond"):
        calibrated_dimension(dataclasses.replace(raw, value=1e4), draws=1)


def test_the_long_tail_needs_scikit_dimension(monkeypatch):
    monkeypatch.setitem(sys.modules, "skdim", None)
    with pytest.raises(UnsupportedError, match="not installed"):
        intrinsic_dimension(np.random.default_rng(0).normal(size=(100, 2)), "lPCA")


def test_the_long_tail_reads_what_scikit_dimension_finds(monkeypatch):
    class Fitted:
        dimension_ = 7

    class Estimator:
        def fit(self, x):
            assert x.shape == (100, 2)
            return Fitted()

    module = type(sys)("skdim")
    module.id = type("id", (), {"lPCA": Estimator})
    monkeypatch.setitem(sys.modules, "skdim", module)
    x = np.random.default_rng(0).normal(size=(100, 2))
    found = intrinsic_dimension(np.vstack([x, x[:3]]), "lPCA")
    assert (found.value, found.duplicates) == (7.0, 3)
    assert np.isnan(found.stderr)
