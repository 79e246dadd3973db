"""The front door of trained ensembles."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from whydeep.arguments import (
    COUNT,
    DTYPE,
    POSITIVE,
    SEED,
    anything,
    choices,
    count,
    each,
    either,
    file_path,
    is_single,
    takes,
)
from whydeep.data import BATCH
from whydeep.ensemble.training._checkpoint import Checkpoint
from whydeep.ensemble.training._checks import (
    MOST_STEPS,
    check_memory,
    check_network,
    layer_count,
    parameter_count,
    points_of,
    read_batch,
    read_data,
    read_names,
    read_record,
    settings_of,
    side_by_side,
    warn_of_contradictions,
)
from whydeep.ensemble.training._observe import Data
from whydeep.ensemble.training._optimiser import Optimiser, read_optimiser
from whydeep.ensemble.training._problem import LOSS, check_loss, read_loss, read_targets
from whydeep.ensemble.training._run import Plan, run_blocks
from whydeep.ensemble.training._stability import (
    MOST_GROWTH,
    curvature_at_start,
    stable_step,
    warn_of_divergence,
)
from whydeep.ensemble.training._steps import Task
from whydeep.ensemble.training._training import OBSERVABLES, Training
from whydeep.errors import InputError
from whydeep.network import NETWORK, Network
from whydeep.threads import processors

__all__ = ["train"]


@takes(
    network=NETWORK, x=BATCH, y=anything, x_test=BATCH, y_test=anything,
    draws=count(2, MOST_STEPS), seed=SEED,
    steps=count(1, MOST_STEPS), step=POSITIVE, loss=LOSS, optimizer=anything, batch=COUNT,
    record=either(COUNT, each(count(0), least=1), when=is_single), observables=choices(OBSERVABLES),
    costly_draws=count(2), hessian_inputs=COUNT, checkpoint=file_path, dtype=DTYPE, threads=COUNT,
)  # fmt: skip
def train(
    network: Network,
    x: Any,
    y: Any,
    x_test: Any = None,
    *,
    y_test: Any = None,
    draws: int = 256,
    seed: int = 0,
    steps: int = 1000,
    step: float | None = None,
    loss: Any = "squared",
    optimizer: Any = "sgd",
    batch: int | None = None,
    record: int | Sequence[int] | np.ndarray | None = None,
    observables: Iterable[str] | None = None,
    costly_draws: int = 16,
    hessian_inputs: int = 1,
    checkpoint: str | os.PathLike[str] | None = None,
    dtype: str = "float32",
    threads: int | None = None,
) -> Training:
    """Draw networks, train every one of them, and measure what changes.

    Gradient descent changes a parameter by ``-step rate dL/dw``, with the rates of the network's
    description (a weight's is ``lambda_W / fan_in``, a bias's ``lambda_b``). With the loss ``L =
    sum_a |f(a) - y(a)|^2 / 2`` the outputs of an infinitely wide network then obey ``df/dt =
    -Theta (f - y)`` at time ``t = step x number of steps``. All losses are sums over examples,
    never means. Parameters of rate 0 (biases, where C_b = 0 in "ntk") are not trained.

    Args:
        network: any, in the "ntk" or "standard" parameterization.
        x: (N, *positions, channels) training inputs, or whole numbers (N, T) for tokens.
        y: their targets: numbers (N, *positions, channels), (N,) for one output, or (N,) classes
            0, 1, ... where the network has an output for each: then the squared loss takes them
            as rows of 0 and 1. Cross-entropy takes classes, or probabilities (N, channels).
        x_test: inputs to watch, not trained on.
        y_test: their targets.
        draws: how many networks.
        seed: makes everything reproducible, on the same kind of device. Draw d of a seed is the
            same network whatever `draws` and `threads` are, and that of `measure_kernels`.
        steps: how many.
        step: the learning rate. By default 1 / lambda_max, half the largest stable one, measured
            at initialisation on a few networks; with batches, times their share of the examples.
        loss: "squared", "cross_entropy", or a function ``(outputs, targets) -> (N,)`` in JAX, one
            number an example.
        optimizer: "sgd", ("momentum", 0.9) (heavy ball: v <- 0.9 v + g), "adam" (b1 = 0.9, b2 =
            0.999, eps = 1e-8), or an optax transformation, which has its own step. It sees
            parameters ``w / sqrt(rate)``, in which the tangent kernel has rate 1.
        batch: examples a step, None for all. Every network has its own random order, a new one an
            epoch; what is left at the end of an epoch is left out. The loss of a batch is
            multiplied by N / batch: the same in the mean.
        record: every so many steps, or a list of steps; by default 0, 1, 2, 3, 4, 6, 8, 12, 16,
            24 ... and the last.
        observables: names; by default all that cost little: "outputs", "loss", "accuracy" (where
            there are classes), their like on test inputs, "weight_movement",
            "preactivation_movement" and their relatives. When named: "kernel", "kernel_change",
            "ntk", "ntk_change", "hessian_norm", "hessian_residual", "hessian_along_update".
        costly_draws: how many networks these latter are measured on: the first.
        hessian_inputs: how many training inputs, the first, an output's Hessian is measured at.
        checkpoint: a folder. What was trained before is taken up there: an interrupted run goes
            on, more steps or more networks continue a shorter run, with the same numbers.
        dtype: "float32" or "float64". Means over networks are float64.
        threads: networks trained at once on a CPU; by default one a core.

    Returns:
        A `Training`: a mapping from observable to mean over networks, with ``stderr``.

    Raises:
        InputError: bad inputs, targets or numbers; one class only; an unknown name; a checkpoint
            of another training.
        UnsupportedError: "mup"; a network that sums over graphs; what does not fit in memory.

    Warns:
        UserWarning: training inputs are equal with different targets, in the words of
            `predict_training`.
        RuntimeWarning: networks diverged, or ended with a larger loss than they began with: how
            many, and the stable step that was measured.

    Accuracy: standard errors are over networks, which are independent. Cost: on a CPU each network
    is trained on its own, in the cache of one core: about three forward passes a step. Memory:
    the outputs of every network at every recorded step.

    Source: Jacot, Gabriel and Hongler 2018; Lee et al. 2019, Eqs. 2 and 8.

    Example:
        >>> import numpy as np
        >>> from whydeep.network import mlp
        >>> net = mlp(1, 64, "tanh")
        >>> trained = train(net, np.eye(2), [1.0, -1.0], draws=8, steps=100, step=1.0)
        >>> trained["outputs"].dims, trained["loss"].sizes["step"]
        (('step', 'input_1', 'neuron'), 15)
        >>> float(trained["loss"][-1]) < float(trained["loss"][0])
        True
    """
    begin = time.perf_counter()
    check_network(network)
    points = points_of(network, x, "x", dtype)
    layers = layer_count(network, points.shape[1:])
    shape = network.shapes(points.shape[1:])[-1]
    of_example, rule = read_loss(loss), read_optimiser(optimizer)
    targets = read_targets(y, len(points), shape, of_example.name, dtype, "y")
    check_loss(of_example, (len(points), *shape.positions, shape.channels), targets.values, dtype)
    warn_of_contradictions(points, targets.values)
    data = read_data(network, points, targets, x_test, y_test, of_example.name, dtype)
    names, costly = read_names(
        observables, data, "outputs without positions" if shape.positions else ""
    )
    recorded = read_record(record, steps)
    batch = read_batch(batch, len(points))
    hessian_inputs = min(hessian_inputs, len(points))
    numbers = (len(recorded), layers, shape.count * shape.channels)
    count = parameter_count(network, points.shape[1:])
    check_memory(names, costly, data, numbers, draws, min(costly_draws, draws), count, steps)
    lanes = side_by_side(network, points.shape, dtype)
    task = Task(network, points.shape[1:], of_example, rule, batch, dtype, lanes)
    words = np.array([seed >> 32, seed & 0xFFFFFFFF], dtype=np.uint32)
    size, curvature = _step_size(step, rule, task, data, words, draws)
    plan = Plan(
        task, data, targets.middle, words, size or 0.0, recorded, names, costly, costly_draws,
        hessian_inputs, draws,
    )  # fmt: skip
    kept = None if checkpoint is None else Checkpoint(checkpoint, settings_of(plan))
    cores = processors() if threads is None else threads
    values = run_blocks(plan, kept, cores if jax.default_backend() == "cpu" else 1)
    stable = None
    if not np.all(values["loss"][:, -1] <= MOST_GROWTH * values["loss"][:, 0]):
        if rule.margin is not None:
            curvature = curvature or curvature_at_start(task, data, words, draws)
            stable = stable_step(task, curvature)
        warn_of_divergence(values["loss"], recorded, size, stable)
    return Training(
        network=network,
        inputs=points,
        steps=recorded,
        samples={name: values[name] for name in OBSERVABLES if name in values},
        numbers=np.arange(draws),
        drawn=draws,
        seed=int(seed),
        step=size,
        optimizer=rule.name,
        loss=of_example.name,
        batch=batch,
        dtype=dtype,
        seconds=time.perf_counter() - begin,
        stable_step=stable,
    )


def _step_size(
    step: Any, rule: Optimiser, task: Task, data: Data, words: np.ndarray, draws: int
) -> tuple[float | None, float | None]:
    """The step, and the curvature at initialisation where it was measured for it."""
    if not rule.takes_step:
        if step is not None:
            raise InputError(
                "This optimiser has its own step.",
                received=f"step={step!r} beside {rule.name}",
                needed="step=None",
            )
        return None, None
    if step is not None:
        return step, None
    if rule.margin is None:
        raise InputError(
            f"{rule.name} has no stable step that could be measured before training.",
            received="step=None",
            needed="a number",
            suggestion="step=0.01",
        )
    curvature = curvature_at_start(task, data, words, draws)
    if not curvature > 0 or not np.isfinite(curvature):
        raise InputError(
            "No step can be told from the curvature at initialisation.",
            received=f"lambda_max = {curvature:g}",
            needed="a positive number",
            suggestion="step=...",
        )
    share = 1.0 if task.batch is None else task.batch / len(data.x)
    return share / curvature, curvature
