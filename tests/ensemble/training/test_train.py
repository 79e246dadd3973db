"""Training against plain loops and closed forms: exact identities, in float64 unless said."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

import whydeep.network as nw
from tests.ensemble.training.support import Plain, outputs_of, parameters_at_start
from whydeep.ensemble import apply_network, learning_rates
from whydeep.ensemble.training import _checks as checks
from whydeep.ensemble.training import train

RANDOM = np.random.default_rng(5)
X = RANDOM.normal(size=(6, 3))
X_TEST = RANDOM.normal(size=(2, 3))
Y = RANDOM.normal(size=(6, 2))
NET = nw.mlp(2, 5, "tanh", outputs=2, weight_var=1.5, bias_var=0.2)


def quick(*given, **options):
    """Only the outputs are recorded: less to compile."""
    return train(*given, **{"observables": ("outputs",)} | options)


def close(got, expected, tolerance=1e-12):
    scale = max(1.0, np.abs(expected).max())
    assert np.abs(np.asarray(got) - expected).max() <= tolerance * scale


@pytest.mark.parametrize("batch", [None, 4])
@pytest.mark.parametrize("rule", ["sgd", ("momentum", 0.9), "adam"])
def test_a_network_is_trained_as_by_a_plain_loop(rule, batch):
    trained = quick(
        NET, X, Y, X_TEST, draws=2, seed=7, steps=9, step=0.03, record=[4], optimizer=rule,
        batch=batch, dtype="float64", observables=("outputs", "test_outputs"),
    )  # fmt: skip
    with jax.enable_x64(True):
        plain = Plain(NET, X, Y, 7, 1, rule=rule, step=0.03, batch=batch)
        for place, steps in enumerate((0, 4, 5)):
            plain.run(steps)
            close(trained.draws_of("outputs")[1, place], plain.outputs())
            close(trained.draws_of("test_outputs")[1, place], plain.outputs(X_TEST))
    assert trained.steps.tolist() == [0, 4, 9]


def test_the_standard_parameterization_has_plain_gradient_descent():
    net = nw.mlp(1, 5, "relu", bias_var=0.1, parameterization="standard")
    y = Y[:, :1]
    trained = quick(net, X, y[:, 0], draws=2, steps=8, step=0.01, record=8, dtype="float64")
    with jax.enable_x64(True):
        w = parameters_at_start(net, X, 0, 0)
        gradient = jax.jit(jax.grad(lambda w: jnp.sum((apply_network(net, w, X) - y) ** 2) / 2))
        for _ in range(8):
            w = jax.tree.map(lambda w, g: w - 0.01 * np.asarray(g), w, gradient(w))
        close(trained.draws_of("outputs")[0, -1], np.asarray(outputs_of(net, w, X)))


def test_cross_entropy_of_classes_is_that_of_one_hot_rows():
    net = nw.mlp(1, 5, "tanh", outputs=3)
    labels = np.array([0, 1, 2, 2, 1, 0])

    def loss(f, y):
        return -jnp.sum(jnp.take_along_axis(jax.nn.log_softmax(f), y[:, None], 1))

    options = {"draws": 2, "steps": 6, "step": 0.1, "loss": "cross_entropy", "dtype": "float64"}
    trained = train(net, X, labels, **options)
    with jax.enable_x64(True):
        plain = Plain(net, X, labels, 0, 0, loss=loss)
        close(trained.draws_of("loss")[0, 0], float(loss(plain.outputs(), labels)))
        close(trained.draws_of("outputs")[0, -1], plain.run(6).outputs())
        right = np.mean(plain.outputs().argmax(1) == labels)
    assert trained.draws_of("accuracy")[0, -1] == right
    again = train(net, X, np.eye(3)[labels], **options)
    np.testing.assert_array_equal(trained.samples["outputs"], again.samples["outputs"])


def test_any_loss_is_descended():
    def loss(f, y):
        return jnp.sum(jnp.log(jnp.cosh(f - y)), axis=1)

    trained = train(NET, X, Y, draws=2, steps=5, step=0.1, loss=loss, dtype="float64")
    with jax.enable_x64(True):
        plain = Plain(NET, X, Y, 0, 0, loss=lambda f, y: jnp.sum(loss(f, y))).run(5)
        close(trained.draws_of("outputs")[0, -1], plain.outputs())
        close(trained.draws_of("loss")[0, -1], float(loss(plain.outputs(), Y).sum()))


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_one_linear_layer_follows_the_closed_form(momentum):
    """f_t = y + (1 - step Theta)^t (f_0 - y); with momentum by its two-step recursion."""
    net = nw.chain(nw.Dense(1, 1.3, 0.4))
    y = Y[:, :1]
    theta = 0.4 + 1.3 * X @ X.T / 3
    step = 0.5 / np.linalg.eigvalsh(theta)[-1]
    trained = quick(
        net, X, y, draws=3, steps=30, step=step, optimizer=("momentum", momentum), record=30,
        observables=["outputs", "ntk", "ntk_change"], dtype="float64",
    )  # fmt: skip
    outputs = trained.samples["outputs"]
    error, speed = outputs[:, 0] - y, 0.0
    for _ in range(30):
        speed = momentum * speed + theta @ error
        error = error - step * speed
    close(outputs[:, -1], y + error)
    close(trained["ntk"][-1], theta)
    close(trained["ntk_change"], 0.0)


@pytest.mark.parametrize("parameterization", ["ntk", "standard"])
def test_a_small_step_follows_the_tangent_kernel(parameterization):
    """(f_1 - f_0) / step = -Theta (f_0 - y) + O(step), Theta that of the same network."""
    net = nw.mlp(2, 6, "tanh", bias_var=0.3, weight_var=1.2, parameterization=parameterization)
    y, step = Y[:, :1], 1e-7
    trained = quick(
        net, X, y, draws=3, steps=1, step=step, observables=["outputs", "ntk"], dtype="float64"
    )
    outputs, theta = trained.samples["outputs"], trained.samples["ntk"]
    rate = (outputs[:, 1] - outputs[:, 0]) / step
    expected = -theta[:, 0] @ (outputs[:, 0] - y)
    close(rate, expected, 1e-4)  # step times second derivatives, and 1e-16 / step


def test_the_seed_says_which_networks_whatever_is_trained_beside_them():
    options = {"seed": 2**40 + 3, "steps": 5, "step": 0.1, "batch": 3}
    one = quick(NET, X, Y, draws=5, threads=1, **options)
    two = quick(NET, X, Y, draws=3, threads=2, **options)
    for name in one:
        np.testing.assert_array_equal(one.samples[name][:3], two.samples[name])
    other = quick(NET, X, Y, draws=3, **options | {"seed": 3})
    assert not np.any(other.samples["outputs"] == two.samples["outputs"])


def test_a_longer_run_continues_a_shorter_one():
    options = {"draws": 2, "step": 0.1, "batch": 2, "optimizer": "adam"}
    long = quick(NET, X, Y, steps=7, record=1, **options)
    short = quick(NET, X, Y, steps=4, record=[3], **options)
    np.testing.assert_array_equal(long.samples["outputs"][:, [0, 3, 4]], short.samples["outputs"])


def test_networks_side_by_side_are_the_same_networks(monkeypatch):
    names = ["outputs", "weight_movement", "ntk_change"]
    options = {"draws": 5, "steps": 4, "step": 0.1, "batch": 3, "dtype": "float64"}
    alone = quick(NET, X, Y, observables=names, costly_draws=3, **options)
    monkeypatch.setattr("whydeep.ensemble.training._train.side_by_side", lambda *_: 2)
    beside = quick(NET, X, Y, observables=names, costly_draws=3, **options)
    for name in alone:
        assert alone.samples[name].shape == beside.samples[name].shape
        close(beside.samples[name], alone.samples[name], 1e-10)


def test_a_custom_transformation_sees_the_parameters_of_rate_one():
    class Shrink:
        """u <- u - 0.1 u, whatever the gradient; counts in a Python number, and has no hash."""

        __hash__ = None

        @staticmethod
        def init(u):
            return len(u)

        @staticmethod
        def update(gradients, state, u):
            del gradients
            return [-0.1 * p for p in u], state

    trained = quick(NET, X, Y, draws=2, steps=3, optimizer=Shrink(), record=3, dtype="float64")
    with jax.enable_x64(True):
        w = parameters_at_start(NET, X, 0, 1)
        w = jax.tree.map(lambda w: 0.9**3 * w, w)
        close(trained.draws_of("outputs")[1, -1], np.asarray(outputs_of(NET, w, X)))
    assert trained.step is None
    assert "time" not in trained["loss"].coords


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
def test_optax_takes_the_same_steps(name):
    ours = {"sgd": "sgd", "momentum": ("momentum", 0.9), "adam": "adam"}[name]
    theirs = {
        "sgd": optax.sgd(0.03),
        "momentum": optax.sgd(0.03, momentum=0.9),
        "adam": optax.adam(0.03),
    }[name]
    options = {"draws": 2, "steps": 6, "record": 6, "dtype": "float64"}
    one = quick(NET, X, Y, optimizer=ours, step=0.03, **options)
    two = quick(NET, X, Y, optimizer=theirs, **options)
    close(two.samples["outputs"], one.samples["outputs"], 1e-11)


def test_outputs_at_the_start_have_the_mean_and_covariance_of_their_law():
    """A linear layer at t = 0: mean 0, covariance C_b + C_W x x' / n_0; error rate 1e-5 in all."""
    net = nw.chain(nw.Dense(1, 1.3, 0.4))
    trained = train(net, X[:3], Y[:3, :1], draws=2000, steps=1, step=1e-6, observables="outputs")
    z = (trained["outputs"] / trained.stderr["outputs"])[0]
    bound = stats.norm.isf(1e-5 / (3 + 6) / 2)
    assert np.abs(z).max() < bound
    mean, error = trained.covariance()
    expected = 0.4 + 1.3 * X[:3] @ X[:3].T / 3
    assert mean.dims == ("step", "neuron", "input_1", "input_2")
    assert (np.abs(mean - expected) / error)[0].max() < bound
    np.testing.assert_allclose(mean[1, 0], np.cov(trained.samples["outputs"][:, 1, :, 0].T))
    # a planted error of three tenths is seen
    assert (np.abs(mean - 1.3 * expected) / error)[0].max() > bound


def test_dropout_is_drawn_in_training_and_left_out_of_what_is_recorded():
    net = nw.chain(nw.Dense(8, 2.0), nw.Activation("relu"), nw.Dropout(0.5), nw.Dense(2))
    still = nw.chain(nw.Dense(8, 2.0), nw.Activation("relu"), nw.Identity(), nw.Dense(2))
    options = {"draws": 2, "steps": 3, "step": 0.1}
    one, two = quick(net, X, Y, **options), quick(still, X, Y, **options)
    np.testing.assert_array_equal(one.samples["outputs"][:, 0], two.samples["outputs"][:, 0])
    assert not np.any(one.samples["outputs"][:, 1] == two.samples["outputs"][:, 1])
    again = quick(net, X, Y, **options, threads=1)
    np.testing.assert_array_equal(one.samples["outputs"], again.samples["outputs"])


def test_images_and_tokens_are_trained_too():
    image = nw.chain(
        nw.Conv(4, (3, 3), weight_var=2.0), nw.Activation("relu"), nw.GlobalAvgPool(), nw.Dense(3)
    )
    x = RANDOM.normal(size=(4, 5, 5, 2))
    names = ("loss", "weight_movement")
    trained = train(
        image, x, [0, 1, 2, 0], draws=2, steps=20, step=0.1, loss="cross_entropy",
        observables=names,
    )  # fmt: skip
    assert np.all(trained.samples["loss"][:, -1] < trained.samples["loss"][:, 0])
    assert trained["weight_movement"].sizes["layer"] == 2
    words = nw.chain(nw.Embedding(7, 4), nw.GlobalAvgPool(), nw.Dense(1))
    tokens = np.array([[0, 1, 2], [3, 4, 5], [6, 6, 0]])
    trained = train(words, tokens, [1.0, -1.0, 0.5], draws=2, steps=200, observables=names)
    assert np.all(trained.samples["loss"][:, -1] < 0.05 * trained.samples["loss"][:, 0])


def test_parameters_without_a_learning_rate_stay():
    net = nw.chain(nw.Dense(4, 1.0, weight_lr=0.0), nw.Activation("tanh"), nw.Dense(1))
    trained = quick(net, X, Y[:, 0], draws=2, steps=10, step=0.1, observables=("weight_movement",))
    moved = trained["weight_movement"][-1]
    assert moved[0] == 0
    assert moved[1] > 0
    assert learning_rates(net, (3,))[0]["weight"] == 0


def test_the_user_s_jax_is_left_as_it_was():
    before = bool(jax.config.jax_enable_x64)
    trained = quick(NET, X, Y, draws=2, steps=1, step=0.1, dtype="float64")
    assert bool(jax.config.jax_enable_x64) is before
    assert trained.samples["outputs"].dtype == np.float64
    assert quick(NET, X, Y, draws=2, steps=1, step=0.1).samples["outputs"].dtype == np.float32


def test_default_records_of_a_longer_run_contain_those_of_a_shorter_one():
    short, long = checks.read_record(None, 100), checks.read_record(None, 1000)
    assert short.tolist() == [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 100]
    assert set(short[:-1]) <= set(long)


def test_keys_are_those_of_measured_kernels():
    with jax.enable_x64(True):
        own = parameters_at_start(NET, X, 9, 4)
        trained = quick(NET, X, Y, draws=5, seed=9, steps=1, step=0.1, dtype="float64")
        close(trained.samples["outputs"][4, 0], np.asarray(outputs_of(NET, own, X)))
