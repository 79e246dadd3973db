import dataclasses

import numpy as np
import pytest

from whydeep.comparison import compare
from whydeep.ensemble import Density, Measurement
from whydeep.network import mlp
from whydeep.observables import reduce
from whydeep.theory.finite import preactivation_density, predict

BATCHES = 60


def fake_measurement(predicted, noise=1e-3, factor=1.0, seed=0):
    """What networks would show if theory held, with noise of a known size: no network is drawn."""
    rng = np.random.default_rng(seed)
    network = predicted.network
    depth = network.depth + 1
    batches = {}
    for name in predicted:
        exact = reduce(name, predicted[name].values)
        rungs = 2 if name == "kernel_correction" else 3
        scale = np.abs(exact).max(axis=1, keepdims=True)
        # Widths of the ladder share their random numbers, so that most noise is common to them.
        common = rng.standard_normal((1, BATCHES, *exact.shape))
        own = rng.standard_normal((rungs, BATCHES, *exact.shape))
        scatter = (common + 0.02 * own) * noise * scale
        scatter[:, :, 0] = 0.0  # the first layer is exact
        batches[name] = exact + scatter
        if name == "kernel" and "kernel_correction" in predicted:
            slope = reduce(name, predicted["kernel_correction"].values)
            width = np.array([1, *network.widths])[:, None]
            for rung in range(rungs):
                batches[name][rung] += slope / (width * 2**rung)
        if name == "four_point":
            batches[name] *= factor
    points = np.linspace(-5, 5, 101)
    unit = float(np.sqrt(predicted["kernel"].values[-1, 0, 0]))
    mean = unit * preactivation_density(predicted, points * unit, order=0)
    return Measurement(
        network=network,
        inputs=predicted.inputs,
        batches=batches,
        layers={name: tuple(range(1, depth + 1)) for name in batches},
        draws=6000,
        seed=seed,
        sampler="conditional",
        dtype="float32",
        seconds=1.0,
        density=Density(points, unit, mean, 0.01 * mean),
    )


def pretend(network, inputs, order=1, resolution=0.25, **how):
    predicted = predict(network, inputs, order=order)
    measured = fake_measurement(predicted, **how)
    return predicted, measured, compare(predicted, measured, resolution=resolution)


@pytest.fixture(scope="session")
def pretended():
    """A function: predicted, measured (made up around the prediction) and their comparison."""
    return pretend


@pytest.fixture(scope="session")
def relu():
    """Two inputs, two hidden layers."""
    return pretend(mlp(2, 64, "relu"), np.array([[1.0, 1.0], [1.0, -0.5]]))


@pytest.fixture(scope="session")
def without_density():
    def drop(measured):
        return dataclasses.replace(measured, density=None)

    return drop
