"""What is recorded, against brute force on tiny networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import whydeep.network as nw
from tests.ensemble.training.support import Plain, outputs_of, parameters_at_start, squared
from whydeep.ensemble import apply_network, learning_rates
from whydeep.ensemble.training import OBSERVABLES, train
from whydeep.ensemble.training._lanczos import spectral_norm

RANDOM = np.random.default_rng(11)
X, Y = RANDOM.normal(size=(4, 3)), RANDOM.normal(size=(4, 2))
X_TEST, Y_TEST = RANDOM.normal(size=(3, 3)), RANDOM.normal(size=(3, 2))
NET = nw.mlp(2, 5, "tanh", outputs=2, weight_var=1.5, bias_var=0.2)
SEED, STEPS, STEP = 4, 6, 0.05
CLOSE = {"rtol": 1e-9, "atol": 1e-11}


@pytest.fixture(scope="module")
def trained():
    names = [n for n in OBSERVABLES if "accuracy" not in n]
    return train(
        NET, X, Y, X_TEST, y_test=Y_TEST, draws=3, seed=SEED, steps=STEPS, step=STEP,
        record=STEPS, observables=names, costly_draws=2, hessian_inputs=2, dtype="float64",
    )  # fmt: skip


@pytest.fixture(scope="module")
def ends():
    """Parameters of draw 1 before and after, by a plain loop."""
    with jax.enable_x64(True):
        first = parameters_at_start(NET, X, SEED, 1)
        return first, Plain(NET, X, Y, SEED, 1, step=STEP).run(STEPS).w


def weights(parameters):
    return [np.asarray(own["weight"]) for own in parameters if "weight" in own]


def preactivations(parameters):
    """By numpy."""
    found, value = [], X
    for own in parameters:
        if "weight" in own:
            found.append(value @ np.asarray(own["weight"]) + np.asarray(own["bias"]))
            value = np.tanh(found[-1])
    return found


def scaled_output(parameters):
    """A function of the flat vector u = w / sqrt(rate), and the vector."""
    roots = jax.tree.map(lambda r: r**0.5, learning_rates(NET, (3,)))
    u, back = ravel_pytree(jax.tree.map(lambda w, r: w / r, parameters, roots))

    def output(u, x):
        w = jax.tree.map(lambda a, r: a * r, back(u), roots)
        return apply_network(NET, w, x)

    return output, u


def test_movement_is_that_of_weights_and_preactivations(trained, ends):
    moved, relative, values = [], [], []
    for old, new in zip(*map(weights, ends), strict=True):
        moved.append(np.linalg.norm(new - old))
        relative.append(moved[-1] / np.linalg.norm(old))
    for old, new in zip(*map(preactivations, ends), strict=True):
        change = np.linalg.norm(new - old, axis=1)
        share = change / np.linalg.norm(old, axis=1)
        values.append((change.mean(), change.mean() / old.shape[1] ** 0.5, share.mean()))
    parts = np.array(values).T

    def last(name):
        return trained.draws_of(name)[1, -1]

    np.testing.assert_allclose(last("weight_movement"), moved, **CLOSE)
    np.testing.assert_allclose(last("weight_movement_relative"), relative, **CLOSE)
    np.testing.assert_allclose(last("preactivation_movement"), parts[0], **CLOSE)
    np.testing.assert_allclose(last("preactivation_movement_rms"), parts[1], **CLOSE)
    np.testing.assert_allclose(last("preactivation_movement_relative"), parts[2], **CLOSE)
    for name in ("weight_movement", "preactivation_movement", "kernel_change", "ntk_change"):
        np.testing.assert_array_equal(trained[name][0], 0)
        assert np.all(trained[name][-1] > 0)


def test_losses_are_sums_over_examples(trained, ends):
    with jax.enable_x64(True):
        f, f_test = (np.asarray(outputs_of(NET, ends[1], x)) for x in (X, X_TEST))
    found = [float(trained.draws_of(name)[1, -1]) for name in ("loss", "test_loss")]
    expected = [0.5 * np.sum((f - Y) ** 2), 0.5 * np.sum((f_test - Y_TEST) ** 2)]
    np.testing.assert_allclose(found, expected, **CLOSE)


def test_kernels_are_those_of_the_jacobian_and_of_preactivations(trained, ends):
    kernels, tangents = [], []
    for parameters in ends:
        kernels.append([z @ z.T / z.shape[1] for z in preactivations(parameters)])
        with jax.enable_x64(True):
            output, u = scaled_output(parameters)
            jacobian = np.asarray(
                jax.jit(jax.jacrev(output))(u, X)
            )  # (inputs, outputs, parameters)
        tangents.append(np.einsum("acp,bcp->ab", jacobian, jacobian) / 2)
    np.testing.assert_allclose(trained.draws_of("kernel")[1], kernels, **CLOSE)
    np.testing.assert_allclose(trained.draws_of("ntk")[1], tangents, **CLOSE)
    change = np.linalg.norm(tangents[1] - tangents[0]) / np.linalg.norm(tangents[0])
    np.testing.assert_allclose(trained.draws_of("ntk_change")[1, -1], change, **CLOSE)
    change = [np.linalg.norm(b - a) / np.linalg.norm(a) for a, b in zip(*kernels, strict=True)]
    np.testing.assert_allclose(trained.draws_of("kernel_change")[1, -1], change, **CLOSE)


def test_the_hessian_is_the_dense_one(trained, ends):
    with jax.enable_x64(True):
        output, u = scaled_output(ends[1])
        update = np.asarray(jax.jit(jax.grad(lambda u: squared(output(u, X), Y)))(u))
        hessian = jax.jit(jax.hessian(lambda u, x: output(u, x[None])[0, 0]))
        for row in range(2):
            dense = np.asarray(hessian(u, X[row]))
            norm = np.abs(np.linalg.eigvalsh(dense)).max()
            along = np.linalg.norm(dense @ update) / np.linalg.norm(update)
            residual = float(trained.draws_of("hessian_residual")[1, -1, row])
            found = float(trained.draws_of("hessian_norm")[1, -1, row])
            assert abs(found - norm) <= (residual + 1e-10) * norm
            assert residual < 0.01
            np.testing.assert_allclose(
                trained.draws_of("hessian_along_update")[1, -1, row], along, **CLOSE
            )


def test_costly_observables_are_those_of_the_first_networks(trained):
    assert trained.draws_of("ntk").sizes["draw"] == 2
    assert trained.draws_of("outputs").sizes["draw"] == 3
    assert trained["hessian_norm"].sizes["input_1"] == 2


def test_labels_and_times(trained):
    assert trained["outputs"].dims == ("step", "input_1", "neuron")
    assert trained["kernel"].dims == ("step", "layer", "input_1", "input_2")
    assert trained["kernel"].layer.values.tolist() == [1, 2, 3]
    np.testing.assert_allclose(trained["loss"].time, [0, STEPS * STEP])
    outputs = trained.samples["outputs"]
    np.testing.assert_allclose(trained["outputs"], outputs.mean(0))
    np.testing.assert_allclose(trained.stderr["outputs"], outputs.std(0, ddof=1) / 3**0.5)
    assert set(trained) == set(trained.stderr) == {n for n in OBSERVABLES if "accuracy" not in n}
    mean, _ = trained.covariance("outputs", "test_outputs")
    assert mean.shape == (2, 2, 4, 3)
    both = np.concatenate([outputs, trained.samples["test_outputs"]], axis=2)[:, 1, :, 0]
    np.testing.assert_allclose(mean[1, 0], np.cov(both.T)[:4, 4:])
    assert "networks" in repr(trained)


def test_classes_of_one_output_lie_on_the_sides_of_the_middle():
    net = nw.chain(nw.Dense(1))
    y = np.array([3.0, 5.0, 3.0, 5.0])
    trained = train(net, X, y, X_TEST, y_test=[5, 3, 5], draws=3, steps=2, step=0.01)
    right = ((trained.samples["outputs"][..., 0] > 4) == (y == 5)).mean(-1)
    np.testing.assert_allclose(trained.samples["accuracy"], right)
    tested = ((trained.samples["test_outputs"][..., 0] > 4) == [True, False, True]).mean(-1)
    np.testing.assert_allclose(trained.samples["test_accuracy"], tested)


def test_outputs_with_positions_have_labels():
    net = nw.chain(nw.Conv(2, (3, 3)))
    x = RANDOM.normal(size=(2, 4, 4, 1))
    trained = train(net, x, np.zeros((2, 4, 4, 2)), draws=2, steps=2, observables="outputs")
    assert trained["outputs"].dims == ("step", "input_1", "position_1", "position_2", "neuron")


@pytest.mark.parametrize("case", ["random", "low rank", "zero", "negative", "tiny"])
def test_lanczos_finds_the_largest_magnitude(case):
    with jax.enable_x64(True):
        q = np.linalg.qr(RANDOM.normal(size=(60, 60)))[0]
        values = {
            "random": np.r_[3.0, np.linspace(-1, 1, 59)],
            "low rank": np.r_[2.0, -1.0, np.zeros(58)],
            "zero": np.zeros(60),
            "negative": np.r_[-3.0, 2.0, np.linspace(-1, 1, 58)],
            "tiny": 1e-30 * np.r_[3.0, np.linspace(-1, 1, 59)],
        }[case]
        matrix = jnp.asarray(q @ np.diag(values) @ q.T)
        start = jnp.asarray(RANDOM.normal(size=60))
        norm, residual = map(float, spectral_norm(lambda v: matrix @ v, start, 24))
    largest = np.abs(values).max()
    assert abs(norm - largest) <= (residual + 1e-12) * largest
    assert residual < 1e-4
