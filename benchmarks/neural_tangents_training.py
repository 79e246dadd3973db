"""Training as neural-tangents 0.6.5 predicts it from given kernels, in float64, for tests.

    python benchmarks/neural_tangents_training.py

makes the peer's environment if need be, runs there, and writes
tests/theory/training/neural_tangents.json. The file holds:

``versions``   of neural-tangents, jax, jaxlib, numpy.
``train``      N, how many of the inputs are training inputs; they come first.
``nngp``       K (N + M, N + M); ``ntk`` Theta, likewise; ``y`` labels (N, 2); ``classes`` (N, 3)
               probabilities; ``start`` outputs f_0 (N + M, 2); ``logits`` f_0 (N + M, 3).
``times``      finite times. Their losses are means over N C (and their squared loss is half the
               square), so rates are eigenvalues / (N C).
``ensemble``   by kernel that trains ("ntk", "nngp"): mean and covariance on the training inputs
               and on the test inputs at ``times``, then at t = infinity (t=None) on test inputs:
               gradient_descent_mse_ensemble.
``outputs``    (T, N + M, 2): gradient_descent_mse from f_0.
``cross_entropy``  (T, N + M, 3): gradient_descent of -mean(y log_softmax(f)) from the logits, an
               ODE to 1.4e-8 in each step; ``heavy_ball`` the same with ``learning_rate`` and
               ``momentum``, whose t counts steps.
``max_learning_rate``  of max_learning_rate for momentum 0 and 0.9.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import warnings
from collections import namedtuple
from pathlib import Path

import numpy as np

FILE = Path(__file__).parents[1] / "tests" / "theory" / "training" / "neural_tangents.json"
TRAIN, TEST = 6, 4
TIMES = [0.0, 1e-3, 0.5, 3.0, 40.0, 2000.0]
ODE_TIMES = [0.5, 3.0, 40.0]
LEARNING_RATE, MOMENTUM = 0.3, 0.9
Pair = namedtuple("Pair", ["nngp", "ntk"])  # noqa: PYI024 -- their code calls _asdict


def problem():
    """Two positive definite kernels, labels and outputs at the start, from one seed."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, TRAIN + TEST, 2 * (TRAIN + TEST)))
    nngp = first @ first.T / 10
    ntk = nngp + second @ second.T / 10
    classes = np.eye(3)[[0, 1, 2, 0, 1, 2]]
    return {
        "nngp": nngp,
        "ntk": ntk,
        "y": rng.normal(size=(TRAIN, 2)),
        "classes": 0.9 * classes + 0.1 / 3,
        "start": rng.normal(size=(TRAIN + TEST, 2)),
        "logits": rng.normal(size=(TRAIN + TEST, 3)),
    }


def ensemble(p, times):
    """Mean and covariance of the ensemble in both regimes; inputs are row numbers."""
    import jax.numpy as jnp
    from neural_tangents import predict

    kernels = {name: jnp.array(p[name]) for name in ("nngp", "ntk")}

    def kernel_fn(x1, x2, get):
        rows = x1[:, 0]
        columns = rows if x2 is None else x2[:, 0]
        blocks = {name: k[jnp.ix_(rows, columns)] for name, k in kernels.items()}
        return (
            blocks[get]
            if isinstance(get, str)
            else Pair(**{n: v if n in get else None for n, v in blocks.items()})
        )

    rows = jnp.arange(TRAIN + TEST)[:, None]
    predict_fn = predict.gradient_descent_mse_ensemble(
        kernel_fn, rows[:TRAIN], jnp.array(p["y"]), diag_reg=0.0
    )
    out = {}
    for get in ("ntk", "nngp"):
        sides = {}
        for side, x in (("train", None), ("test", rows[TRAIN:])):
            found = predict_fn(jnp.array(times), x, get, compute_cov=True)
            sides[side] = {"mean": found.mean, "covariance": found.covariance}
        end = predict_fn(None, rows[TRAIN:], get, compute_cov=True)
        sides["end"] = {"mean": end.mean, "covariance": end.covariance}
        out[get] = sides
    return out


def write():
    import jax
    import jax.numpy as jnp
    import jaxlib
    import neural_tangents
    from neural_tangents import predict

    warnings.simplefilter("ignore")
    p = problem()
    theta = p["ntk"]
    train, cross = jnp.array(theta[:TRAIN, :TRAIN]), jnp.array(theta[TRAIN:, :TRAIN])

    def followed(predict_fn, start, times):
        both = predict_fn(jnp.array(times), start[:TRAIN], start[TRAIN:], cross)
        return jnp.concatenate(both, axis=1)

    def cross_entropy(f, y):
        return -jnp.mean(jax.nn.log_softmax(f) * y)

    flow = predict.gradient_descent_mse(train, jnp.array(p["y"]))
    entropy = predict.gradient_descent(cross_entropy, train, jnp.array(p["classes"]))
    ball = predict.gradient_descent(
        cross_entropy, train, jnp.array(p["classes"]), LEARNING_RATE, MOMENTUM
    )
    found = {
        "ensemble": ensemble(p, TIMES),
        "outputs": followed(flow, p["start"], TIMES),
        "cross_entropy": followed(entropy, p["logits"], ODE_TIMES),
        "heavy_ball": followed(ball, p["logits"], ODE_TIMES),
        "max_learning_rate": [
            float(predict.max_learning_rate(train, p["y"].size, momentum))
            for momentum in (0.0, 0.9)
        ],
    }
    modules = {"neural-tangents": neural_tangents, "jax": jax, "jaxlib": jaxlib, "numpy": np}
    document = {
        "about": "made by benchmarks/neural_tangents_training.py, which explains every field",
        "versions": {name: module.__version__ for name, module in modules.items()},
        "train": TRAIN,
        "times": TIMES,
        "ode_times": ODE_TIMES,
        "learning_rate": LEARNING_RATE,
        "momentum": MOMENTUM,
        **p,
        **found,
    }

    def plain(value):
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        if isinstance(value, (np.ndarray, jax.Array)):
            assert value.dtype == np.float64
            return np.asarray(value).tolist()
        return value

    lines = ",\n".join(
        f'"{k}": {json.dumps(plain(v), allow_nan=False, separators=(",", ":"))}'
        for k, v in document.items()
    )
    FILE.write_text("{\n" + lines + "\n}\n", encoding="utf-8")
    print(f"written: {FILE.relative_to(FILE.parents[3])}, {FILE.stat().st_size} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-env", type=Path, help="where the peer's environment is, or is made")
    parser.add_argument(
        "--inside", action="store_true", help="in the peer's process (for children)"
    )
    options = parser.parse_args()
    if options.inside:
        write()
        return 0
    from _peer import QUIET, peer_python

    command = [peer_python(options.peer_env), __file__, "--inside"]
    wide = os.environ | QUIET | {"JAX_ENABLE_X64": "1"}
    return subprocess.run(command, env=wide, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
