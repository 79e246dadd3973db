"""What `train` is given, checked: inputs, names, steps, memory; what a checkpoint depends on."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whydeep import arguments
from whydeep.data import contradicting_labels
from whydeep.ensemble._draw import parameters_of
from whydeep.ensemble._kernels import _checked
from whydeep.ensemble.training._observe import Data, layers_of
from whydeep.ensemble.training._problem import Targets, read_targets
from whydeep.ensemble.training._run import Plan
from whydeep.ensemble.training._steps import compiled_steps
from whydeep.ensemble.training._training import OBSERVABLES
from whydeep.errors import InputError, UnsupportedError
from whydeep.memory import available
from whydeep.network import Aggregate, Network

__all__ = [
    "MOST_STEPS",
    "check_memory",
    "check_network",
    "points_of",
    "read_batch",
    "read_data",
    "read_names",
    "read_record",
    "settings_of",
    "side_by_side",
    "warn_of_contradictions",
]

_MOST_BYTES = 4 << 30
_MOST_GRADIENTS = 1 << 30
_DEVICE_BYTES = 1 << 30
_MOST_LANES = 128
MOST_STEPS = 2**31 - 1


def check_network(network: Any) -> None:
    """Refuse networks that are not drawn as they would be trained."""
    for number, node in enumerate(network.nodes):
        where = f"node {number} ({type(node.layer).__name__}) {node.label}".rstrip()
        if isinstance(node.layer, Aggregate):
            raise UnsupportedError(
                "Networks that sum over a graph of each input are not trained here.",
                received=where,
                suggestion="measure_kernels(network, x, graph=...) at initialisation",
            )
        if getattr(node.layer, "parameterization", "ntk") == "mup":
            raise UnsupportedError(
                'Networks in "mup" are not trained here.',
                received=where,
                needed='"ntk" or "standard"',
                cause="its output weights are of order 1/width, and draws have them of order "
                "1/sqrt(width): training would begin elsewhere",
            )


def points_of(network: Network, x: Any, name: str, dtype: str) -> np.ndarray:
    """Inputs, checked."""
    points = _checked(network, x, name)
    network.shapes(points.shape[1:])
    return points.astype(np.int32 if network.takes_tokens else dtype)


def warn_of_contradictions(x: np.ndarray, y: np.ndarray) -> None:
    """Say which training inputs are equal with different targets."""
    which = np.unique(x.reshape(len(x), -1), axis=0, return_inverse=True)[1]
    said = contradicting_labels(which.reshape(-1), y)
    if said:
        warnings.warn(f"{said}.", UserWarning, stacklevel=3)


def read_data(
    network: Network, x: np.ndarray, targets: Targets, x_test: Any, y_test: Any, loss: str,
    dtype: str,
) -> Data:  # fmt: skip
    """All examples, checked."""
    if x_test is None:
        if y_test is not None:
            raise InputError("There are targets of test inputs, and no test inputs.",
                             received="y_test", needed="x_test")  # fmt: skip
        return Data(x, targets.values, targets.labels)
    points = points_of(network, x_test, "x_test", dtype)
    if points.shape[1:] != x.shape[1:]:
        raise InputError(
            "x and x_test have different shapes.", received=f"{x.shape} and {points.shape}"
        )
    if y_test is None:
        return Data(x, targets.values, targets.labels, points)
    shape = network.shapes(x.shape[1:])[-1]
    tested = read_targets(y_test, len(points), shape, loss, dtype, "y_test", like=targets)
    return Data(x, targets.values, targets.labels, points, tested.values, tested.labels)


def read_names(
    observables: Iterable[str] | str | None, data: Data, costly_possible: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of what is recorded of all networks, and of the first ones only.

    Args:
        observables: what was asked for.
        data: examples.
        costly_possible: why tangent kernels can't be measured, or "".
    """
    missing = _missing(data, costly_possible)
    if observables is None:
        wanted = {n for n, o in OBSERVABLES.items() if not o.costly and n not in missing}
    else:
        wanted = set(observables)
        for name in sorted(wanted & missing.keys()):
            raise InputError(
                f"{name} can't be measured.", received=repr(name), needed=missing[name]
            )
    if "hessian_norm" in wanted:  # never without how well it is known
        wanted.add("hessian_residual")
    wanted.add("loss")
    names = [name for name in OBSERVABLES if name in wanted]
    costly = tuple(name for name in names if OBSERVABLES[name].costly)
    return tuple(name for name in names if name not in costly), costly


def _missing(data: Data, costly_possible: str) -> dict[str, str]:
    """What can't be recorded of these examples, and what would be needed."""
    missing = {}
    if data.x_test is None:
        missing |= dict.fromkeys(("test_outputs", "test_loss", "test_accuracy"), "x_test")
    elif data.y_test is None:
        missing |= dict.fromkeys(("test_loss", "test_accuracy"), "y_test")
    if data.labels is None:
        classes = "classes as targets: whole numbers, rows of 0 and 1, or two values"
        missing |= dict.fromkeys(("accuracy", "test_accuracy"), classes)
    elif len(np.unique(data.labels)) < 2:
        missing |= dict.fromkeys(("accuracy", "test_accuracy"), "more classes than one")
    elif data.y_test is not None and data.labels_test is None:
        missing["test_accuracy"] = "y_test with the classes of y"
    if costly_possible:
        missing |= dict.fromkeys(("ntk", "ntk_change"), costly_possible)
    return missing


def read_record(record: Any, steps: int) -> np.ndarray:
    """The steps at which is recorded, in order."""
    if record is None:
        powers = [2**k for k in range(31)]
        ladder = np.array(sorted({0, 1, *powers, *(3 * p for p in powers)}), dtype=np.int64)
        return np.unique([*ladder[ladder < steps], steps])
    if isinstance(record, int):
        return np.unique([*range(0, steps, record), steps])
    wanted = np.unique(record).astype(np.int64)
    if wanted[0] < 0 or wanted[-1] > steps:
        raise InputError(
            "These steps are not within training.",
            received=f"record from {wanted[0]} to {wanted[-1]}",
            needed=f"steps from 0 to {steps}",
        )
    return np.unique([0, *wanted, steps])


def read_batch(batch: int | None, rows: int) -> int | None:
    """Examples a step, or None for all."""
    if batch is None:
        return None
    size = batch
    if size > rows:
        raise InputError(
            "The batch is larger than the training set.",
            received=f"batch={size}",
            needed=f"at most {rows}",
        )
    return size


def check_memory(
    names: tuple[str, ...], costly: tuple[str, ...], data: Data, shape: tuple[int, int, int],
    draws: int, costly_draws: int, parameters: int, total_steps: int,
) -> None:  # fmt: skip
    """Refuse what could not be kept.

    Args:
        names: of what is recorded of all networks.
        costly: of what is recorded of some.
        data: examples.
        shape: recorded steps, layers, numbers in one output.
        draws: how many networks.
        costly_draws: how many of the costly.
        parameters: of one network.
        total_steps: of one training.
    """
    steps, layers, outputs = shape
    rows = len(data.x)
    each = outputs * rows * ("outputs" in names)
    if data.x_test is not None:
        each += outputs * len(data.x_test) * ("test_outputs" in names)
    pairs = rows * rows * (layers * ("kernel" in costly) + ("ntk" in costly))
    held = 8.0 * steps * (draws * each + costly_draws * pairs)
    if held > min(_MOST_BYTES, available()):
        raise UnsupportedError(
            "What is recorded does not fit in memory.",
            received=f"{held / 2**30:.1f} GiB: networks x steps x inputs x outputs",
            needed=f"at most {min(_MOST_BYTES, available()) / 2**30:.1f} GiB",
            suggestion='fewer steps in record=[...], fewer draws, or observables=("loss",)',
        )
    arguments.check_memory(
        32.0 * parameters, "The parameters of one network, their gradient and its two moments",
        received=f"{parameters:,} parameters", suggestion="a smaller width",
    )  # fmt: skip
    # Every parameter is read and written at every step, at 1e11 numbers a second.
    arguments.check_time(
        1e-11 * parameters * total_steps * draws, "This training",
        received=f"{draws:,} networks, {total_steps:,} steps",
        suggestion="fewer draws or steps",
    )  # fmt: skip
    gradients = 8.0 * rows * parameters * bool({"ntk", "ntk_change"} & set(costly))
    if gradients > _MOST_GRADIENTS:
        raise UnsupportedError(
            "The gradients of this network do not fit in memory.",
            received=f"{gradients / 2**30:.1f} GiB: inputs x parameters",
            needed=f"at most {_MOST_GRADIENTS / 2**30:.0f} GiB",
            suggestion="fewer training inputs, a smaller width, or no tangent kernel",
        )


def side_by_side(network: Network, shape: tuple[int, ...], dtype: str) -> int:
    """How many networks one call trains: it depends on their size alone.

    On a CPU one at a time, which stays in a core's cache; on an accelerator as many as fit in a
    share of its memory.
    """
    if jax.default_backend() == "cpu":
        return 1
    shapes = network.shapes(shape[1:])
    values = shape[0] * sum(s.count * s.channels for s in shapes)
    numbers = sum(p.size for own in parameters_of(network, shape[1:]) for p in own.values())
    one = np.dtype(dtype).itemsize * (4 * values + 8 * numbers)
    return int(max(1, min(_MOST_LANES, _DEVICE_BYTES // max(one, 1))))


def settings_of(plan: Plan) -> dict[str, Any]:
    """Everything that the numbers of a draw depend on, in words and digests.

    The compiled program stands for what has no words: a function as loss, an optax
    transformation, the network's own functions.
    """
    task, data = plan.task, plan.data
    with jax.enable_x64(task.dtype == "float64"):
        steps = compiled_steps(task)
        words, indices = jnp.asarray(plan.words), jnp.arange(task.lanes, dtype=jnp.uint32)
        state = jax.eval_shape(steps.start, jax.eval_shape(steps.draw, words, indices))
        program = steps.advance.lower(  # pyright: ignore[reportFunctionMemberAccess]
            state, words, indices, np.int32(0), np.int32(1), jnp.asarray(plan.step, task.dtype),
            jnp.asarray(data.x), jnp.asarray(data.y),
        ).as_text()  # fmt: skip
    return {
        "network": repr(task.network),
        "seed": f"{int(plan.words[0]) << 32 | int(plan.words[1])}",
        "step": repr(float(plan.step)),
        "optimizer": task.optimiser.name,
        "loss": task.loss.name,
        "batch": task.batch,
        "dtype": task.dtype,
        "observables": " ".join((*plan.names, *plan.costly)),
        "costly_draws": plan.costly_draws if plan.costly else None,
        "hessian_inputs": plan.hessian_inputs if plan.costly else None,
        "x": _digest(data.x),
        "y": _digest(data.y),
        "x_test": _digest(data.x_test),
        "y_test": _digest(data.y_test),
        "device": jax.default_backend(),
        "networks side by side": task.lanes,
        "jax": jax.__version__,
        "compiled program": _digest(np.frombuffer(program.encode(), dtype=np.uint8)),
    }


def _digest(array: Any) -> str:
    if array is None:
        return "none"
    whole = np.ascontiguousarray(array)
    content = hashlib.sha256(whole.tobytes()).hexdigest()[:16]
    return f"{whole.dtype} {'x'.join(map(str, whole.shape))} {content}"


def parameter_count(network: Network, input_shape: tuple[int, ...]) -> int:
    """How many numbers a network has."""
    nodes = parameters_of(network, input_shape)
    return sum(math.prod(p.shape) for own in nodes for p in own.values())


def layer_count(network: Network, input_shape: tuple[int, ...]) -> int:
    """How many layers have weights.

    Raises:
        InputError: none has.
    """
    count = len(layers_of(network, input_shape))
    if not count:
        raise InputError("There is nothing to train.", received=repr(network),
                         needed="a layer with weights")  # fmt: skip
    return count
