"""Inputs that are multiples of each other without biases: exact, where kinks see no difference."""

import numpy as np
import pytest

from whydeep.network import mlp
from whydeep.observables import OBSERVABLES
from whydeep.theory.finite import predict

ONE, OTHER = np.array([1.0, 0.5]), np.array([0.3, -1.0])
TENSORS = ("kernel", "ntk", "four_point", "kernel_correction", "ntk_correction", "ntk_A", "ntk_B",
           "ntk_D", "ntk_F")  # fmt: skip
HOMOGENEOUS = ("relu", "leaky_relu(0.1)", "abs")


def net(activation, **rates):
    return mlp(2, (16, 20), activation, weight_var=1.5, bias_var=0.0, **rates)


@pytest.mark.parametrize("activation", HOMOGENEOUS)
def test_a_row_of_zeros_adds_zeros_and_changes_nothing_else(activation):
    # z(0) = 0 at every width and for every draw, so all of its tensors are 0; warnings are errors.
    x = np.stack([ONE, np.zeros(2), OTHER])
    found = predict(net(activation), x, observables=TENSORS)
    alone = predict(net(activation), x[[0, 2]], observables=TENSORS)
    for name in TENSORS:
        value, bound = found[name].values, found.tolerance[name].values
        rest = np.ix_(range(3), *[[0, 2]] * OBSERVABLES[name].samples)
        np.testing.assert_array_equal(value[rest], alone[name].values)
        kept = np.zeros(value.shape, dtype=bool)
        kept[rest] = True
        assert np.all(value[~kept] == 0), name
        assert np.all(bound[~kept] == 0), name


@pytest.mark.parametrize("activation", ["hard_tanh", "elu", "selu"])
def test_a_row_of_zeros_of_other_activations_that_are_zero_at_zero(activation):
    # Their kernel was said to overflow.
    names = ("kernel", "ntk", "four_point", "kernel_correction")
    found = predict(net(activation), np.stack([np.zeros(2), ONE]), observables=names)
    alone = predict(net(activation), ONE[None], observables=names)
    for name in names:
        assert np.all(found[name].values[:, 0] == 0)
        last = (slice(None), *[1] * OBSERVABLES[name].samples)
        np.testing.assert_array_equal(found[name].values[last].ravel(), alone[name].values.ravel())


@pytest.mark.parametrize(
    ("activation", "times"),
    [(a, t) for a in HOMOGENEOUS for t in (2.0, 1 / 3)] + [("abs", -2.0)],
)
def test_multiples_have_multiples_of_every_tensor(activation, times):
    # z(c x) = |c| z(x) from the second layer on, exactly, for every draw: as many factors of |c|
    # as the tensor has that input.
    x = np.stack([ONE, times * ONE, OTHER])
    found = predict(net(activation), x, observables=TENSORS)
    for name in TENSORS:
        value = found[name].values
        assert np.all(np.isfinite(value)), name
        samples = OBSERVABLES[name].samples
        for indices in np.ndindex(*[3] * samples):
            base = tuple(0 if i == 1 else i for i in indices)
            count = sum(i == 1 for i in indices)
            expected = abs(times) ** count * value[(slice(1, None), *base)]
            np.testing.assert_allclose(value[(slice(1, None), *indices)], expected, rtol=1e-12)
    # The first layer is linear in its input, with the sign.
    np.testing.assert_allclose(found["kernel"].values[0, 0, 1], times * 1.5 * 1.25 / 2)


def test_opposites_of_an_odd_activation_with_kinks():
    found = predict(net("hard_tanh"), np.stack([ONE, -ONE]), observables=("kernel_correction",))
    value = found["kernel_correction"].values
    np.testing.assert_allclose(value[:, 0, 1], -value[:, 0, 0], rtol=1e-12)
    np.testing.assert_allclose(value[:, 1, 1], value[:, 0, 0], rtol=1e-12)


def test_multiples_seen_by_a_step_are_the_same():
    rows = np.stack([ONE, 3 * ONE, -ONE, OTHER])
    found = predict(net("sign"), rows, observables=("four_point",))
    value = found["four_point"].values[1:]
    assert np.all(value[:, 0, 3, 0, 3] > 0.1)
    np.testing.assert_allclose(value[:, 0, 3, 1, 3], value[:, 0, 3, 0, 3], rtol=1e-12)
    np.testing.assert_allclose(value[:, 0, 3, 2, 3], -value[:, 0, 3, 0, 3], rtol=1e-12)
    names = ("four_point", "kernel_correction")
    step = predict(net("step"), rows[[0, 1, 3]], observables=names)
    assert all(np.all(np.isfinite(step[name].values)) for name in names)


def test_biases_and_trained_biases_break_the_relation():
    x = np.stack([ONE, 2 * ONE, OTHER])
    with_bias = predict(mlp(2, 16, "relu", weight_var=1.5, bias_var=0.1), x, order=0)
    kernel = with_bias["kernel"].values[-1]
    assert abs(kernel[0, 1] - 2 * kernel[0, 0]) > 1e-2
    # The kernel's part still has it where only the tangent kernel sees the bias.
    trained = predict(net("relu", bias_lr=1.0), x)
    value = trained["kernel_correction"].values
    np.testing.assert_allclose(value[-1, 0, 1], 2 * value[-1, 0, 0], rtol=1e-12, atol=1e-15)
    assert abs(trained["ntk"].values[-1, 0, 1] - 2 * trained["ntk"].values[-1, 0, 0]) > 0.1


def test_rows_that_are_multiples_only_nearly_stay_apart():
    x = np.stack([ONE, 2 * ONE + np.array([0.0, 1e-6])])
    value = predict(net("relu"), x, order=0)["kernel"].values[-1]
    assert value[0, 1] != 2 * value[0, 0]
