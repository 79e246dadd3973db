"""What can't be held, or would never end, is refused in words before it begins."""

import time
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import whydeep as wd
from whydeep.arguments import _cost

X = np.random.default_rng(0).normal(size=(300, 3))
Y = X[:, 0]
NET = wd.mlp(2, 8, "relu")
HUGE = 2**62


def test_rows_whose_kernels_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """45,000 rows: two matrices of 15.1 GiB, on a machine with 23 GiB."""
    monkeypatch.setattr(_cost, "available", lambda: 23 << 30)
    x = np.random.default_rng(0).normal(size=(45_000, 2))
    with pytest.raises(wd.errors.InputError) as caught:
        wd.kernel(NET, x)
    said = str(caught.value)
    assert "do not fit in memory" in said
    assert "45,000 x 45,000 inputs: 30." in said
    assert "23.0 GiB that are free" in said
    assert "float32" in said


DOORS: dict[str, Callable[[], Any]] = {
    "dense": lambda: wd.kernel(NET, X),
    "dense against others": lambda: wd.kernel(NET, X, X[:200]),
    "general": lambda: wd.kernel(wd.chain(wd.Dense(4), wd.LayerNorm(), wd.Dense(1)), X),
    "every layer": lambda: wd.kernel(NET, X, layers="all"),
    "predict": lambda: wd.predict(NET, X, order=0),
    "predict_training": lambda: wd.predict_training(NET, X, Y, times=[1.0]),
    "measure": lambda: wd.measure(wd.mlp(2, 2048, "relu"), X[:4], observables=("kernel",)),
    "measure_kernels": lambda: wd.measure_kernels(wd.mlp(2, 512, "relu"), X, draws=4),
    "train": lambda: wd.train(wd.mlp(2, 512, "relu"), X[:4], Y[:4], draws=2, steps=1),
    "tangent_kernel": lambda: wd.tangent_kernel(lambda p, x: jnp.tanh(x @ p), np.ones((3, 2)), X),
    "posterior": lambda: wd.posterior(NET, X, Y, X, order=0, noise=0.1),
    "estimator": lambda: wd.NTKRegressor(NET).fit(X, Y),
}


@pytest.mark.parametrize("door", DOORS)
def test_every_door_asks_for_memory(door: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cost, "_NOT_ASKED_FOR", 0)  # these are small, and so is what is free
    monkeypatch.setattr(_cost, "available", lambda: 1 << 18)
    with pytest.raises(wd.errors.InputError, match="do not fit in memory"):
        DOORS[door]()


COUNTS: dict[str, Callable[[int], Any]] = {
    "mlp": wd.mlp,
    "cnn": wd.cnn,
    "resnet": lambda n: wd.resnet((n,)),
    "transformer": wd.transformer,
    "residual_mlp": lambda n: wd.residual_mlp(n, 8),
    "repeat": lambda n: wd.repeat(wd.Dense(8), n),
    "flow": lambda n: wd.flow("relu", n),
    "equivalent_rates": lambda n: wd.equivalent_rates("tanh", n),
    "measured draws": lambda n: wd.measure(NET, X[:2], draws=n * 10**6),
    "measured width": lambda n: wd.measure(wd.mlp(2, n * 1000), X[:2]),
    "rungs": lambda n: wd.measure(NET, X[:2], rungs=n),
    "kernels' draws": lambda n: wd.measure_kernels(NET, X[:2], draws=n * 10**6),
    "tangent draws": lambda n: wd.measure_kernels(NET, X[:2], draws=2, ntk_draws=n * 10**6),
    "kernels' width": lambda n: wd.measure_kernels(wd.mlp(2, n), X[:2], draws=2),
    "width factor": lambda n: wd.measure_kernels(NET, X[:2], draws=2, width_factor=n),
    "trained width": lambda n: wd.train(wd.mlp(2, n), X[:2], Y[:2], draws=2, steps=1),
    "trained draws": lambda n: wd.train(NET, X[:2], Y[:2], draws=n * 10**6),
    "trained steps": lambda n: wd.train(NET, X[:2], Y[:2], draws=2, steps=n * 1000),
    "filter": lambda n: wd.kernel(
        wd.chain(wd.Conv(4, (n,)), wd.Flatten(), wd.Dense(1)), np.ones((2, 3, 1))
    ),
    "transposed filter": lambda n: wd.kernel(
        wd.chain(wd.ConvTranspose(4, (n,), padding="SAME"), wd.Flatten(), wd.Dense(1)),
        np.ones((2, 3, 1)),
    ),
    "resized": lambda n: wd.resize((n,), (n,)),
    "infinite draws": lambda n: wd.kernel(wd.transformer(1), np.ones((2, 3, 4)), draws=n * 10**9),
}


@pytest.mark.parametrize("where", COUNTS)
@pytest.mark.parametrize("count", [10**7, HUGE])
def test_counts_that_nobody_can_pay(where: str, count: int) -> None:
    begin = time.perf_counter()
    with pytest.raises(wd.errors.InputError) as caught:
        COUNTS[where](count)
    assert time.perf_counter() - begin < 60.0  # of a machine that may be busy
    assert len(str(caught.value)) < 1000


def test_long_runs_are_the_same_draws_in_several_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    from whydeep.ensemble import _kernel_batches

    for sampler in ("conditional", "plain"):

        def drawn(sampler: str = sampler) -> wd.Measurement:
            return wd.measure(
                NET, X[:2], draws=64_000, observables=("kernel",), rungs=1, sampler=sampler
            )

        whole = drawn()
        with monkeypatch.context() as patched:
            patched.setattr(_kernel_batches, "_VALUES_OF_A_CALL", 1)
            parts = drawn()
        error = whole.stderr["kernel"]
        assert parts.batches["kernel"].shape == whole.batches["kernel"].shape
        assert abs(parts["kernel"] - whole["kernel"]).max() <= 6.0 * error.max()
        if sampler == "conditional":
            np.testing.assert_allclose(parts["kernel"], whole["kernel"], rtol=1e-4)
