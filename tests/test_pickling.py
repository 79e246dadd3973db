"""What is public can be written down, read back, copied and sent, and is the same after."""

import copy
import multiprocessing
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import whydeep as wd

X = np.array([[1.0, 0.5, -1.0], [0.3, -1.2, 0.8], [-0.7, 0.9, 1.1], [1.4, 0.2, -0.3]])
Y = np.array([0.0, 1.0, 0.0, 1.0])
NET = wd.mlp(2, 8, "tanh")
PARAMETERS = {"polynomial": "polynomial(0, 1, 0, -0.2)", "leaky_relu": "leaky_relu(0.123456789)"}


def _again(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))  # noqa: S301 -- written one line before


def check(value: Any) -> None:
    again = _again(value)
    assert again == value
    assert not again != value  # noqa: SIM202 -- both operators
    assert hash(again) == hash(value)
    assert copy.deepcopy(value) == value == copy.copy(value)
    assert repr(again) == repr(value)


@pytest.mark.parametrize("name", wd.activations.NAMES)
def test_activations_and_networks_of_them(name: str) -> None:
    function = wd.activations.get(PARAMETERS.get(name, name))
    check(function)
    check(wd.mlp(2, 8, function, weight_var=1.0, bias_var=0.0))


def test_one_activation_written_in_two_ways_is_one() -> None:
    assert wd.mlp(2, 8, "leaky_relu(.5)") == wd.mlp(2, 8, "leaky_relu(0.50)")
    assert wd.mlp(2, 8, "leaky_relu(.5)") != wd.mlp(2, 8, "leaky_relu(.25)")


def test_networks_of_every_builder() -> None:
    block = wd.chain(wd.LayerNorm(), wd.Attention(2, width=8), wd.Dropout(0.1))
    mixed = wd.chain(wd.Dense(8), wd.Residual(block), wd.resize((4,), (2,)), wd.Flatten())
    for net in (wd.cnn(2), wd.resnet((1, 1)), wd.transformer(1, tokens=5), mixed):
        check(net)
    check(wd.residual_mlp(2, 8))
    constant = _again(wd.Constant(np.ones((2, 3))))
    assert not constant.array.values.flags.writeable


def test_a_users_function_is_pickled_by_its_code() -> None:
    slope = 0.25

    def bent(z: Any) -> Any:
        return jnp.tanh(z) + slope * z

    for function in (lambda z: jnp.tanh(z) - 0.5 * z, bent):
        check(wd.mlp(2, 8, function, weight_var=1.0, bias_var=0.0))
    net = wd.mlp(1, 8, bent, weight_var=1.0, bias_var=0.0)
    again = _again(net)
    np.testing.assert_array_equal(wd.kernel(again, X).nngp, wd.kernel(net, X).nngp)
    assert wd.activations.custom(lambda z: 2.0 * z) != wd.activations.custom(lambda z: 3.0 * z)


def test_a_function_that_holds_a_lock_is_refused_in_words() -> None:
    lock = threading.Lock()

    def held(z: Any) -> Any:
        with lock:
            return jnp.tanh(z)

    net = wd.mlp(2, 8, held, weight_var=1.0, bias_var=0.0)
    assert copy.deepcopy(net) == net
    with pytest.raises(wd.errors.InputError, match="can't be pickled"):
        pickle.dumps(net)


def test_predictions() -> None:
    check(wd.kernel(NET, X))
    check(wd.kernel(wd.mlp(1, 8, "relu"), X[:2], layers="all"))
    predicted = wd.predict(NET, X[:2])
    check(predicted)
    check(wd.critical("gelu"))
    check(wd.fixed_points("tanh", weight_var=1.5, bias_var=0.1))
    check(wd.flow("tanh", depth=4, kernel=1.0))
    check(wd.exact_moments(wd.mlp(2, 8, "linear"), X[:2]))
    check(wd.posterior(wd.mlp(2, 512, "tanh"), X, Y, X[:2], noise=1.0))
    check(wd.predict_training(NET, X, Y, X[:2], times=[1.0, 2.0]))
    check(wd.critical_exponents("tanh"))
    check(wd.optimal_aspect_ratio("tanh"))
    check(wd.predict_residual(wd.residual_mlp(2, 8), X[:2]))
    changed = wd.predict(NET, X[:2] + 1e-9)
    assert predicted != changed


def test_measurements_and_comparisons() -> None:
    predicted, measured = wd.predict(NET, X[:2]), wd.measure(NET, X[:2], draws=1000)
    check(measured)
    check(wd.compare(predicted, measured))
    check(wd.train(NET, X, Y, X[:2], draws=4, steps=2))


def test_geometry() -> None:
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=(6, 2)), rng.normal(size=(1, 6))]
    f = wd.geometry.from_layers(weights, [rng.normal(size=6), rng.normal(size=1)])
    check(f)
    check(wd.geometry.breakpoints(f, [-1.0, 0.0], [1.0, 1.0]))
    plane = [0.0, 0.0], [1.0, 0.0], [0.0, 1.0]
    found = wd.geometry.regions(f, *plane)
    check(found)
    check(found.maps)
    check(wd.geometry.region_statistics(f, *plane))
    check(wd.geometry.in_hull(X[:2, :2], X[:, :2]))
    check(wd.geometry.intrinsic_dimension(rng.normal(size=(60, 2)), method="twonn"))
    for of_network in (NET, wd.mlp(2, 8, "relu")):
        check(of_network)


@pytest.mark.parametrize("kind", ["NTKRegressor", "NNGPRegressor", "NTKClassifier"])
def test_fitted_estimators_predict_the_same(kind: str) -> None:
    labels = Y.astype(int) if "Classifier" in kind else Y
    fitted = getattr(wd, kind)(NET).fit(X, labels)
    again = _again(fitted)
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))
    assert again.net == fitted.net
    np.testing.assert_array_equal(copy.deepcopy(fitted).predict(X), fitted.predict(X))


def test_a_process_that_is_spawned() -> None:
    """Networks go there, kernels come back."""
    context = multiprocessing.get_context("spawn")
    net = wd.mlp(2, 8, "gelu")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        found = pool.submit(wd.kernel, net, X).result(timeout=300)
    assert found == wd.kernel(net, X)
