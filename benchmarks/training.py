"""Steps of training a second: whydeep against PyTorch, two ways.

The task: 256 tanh networks 32-128-128-1 in the ntk parameterization, each trained by full-batch
gradient descent on the squared loss of the same 64 examples. The sides:

- ``torch-loop``: one network after the other, a module with its optimiser; the best number of
  threads.
- ``torch-bmm``: stacked weights, batched products written by hand, one backward pass for many
  networks; the best of several numbers of networks at once and of threads.
- ``whydeep``: ``whydeep.train``, one network after the other in the cache of each core. Its time
  includes drawing the networks and what is recorded at the start and at the end.

All sides have the same two processors and float32, each in processes of its own, in turn. They
begin with the same weights, and their losses after training are held against each other and against
float64.

    python benchmarks/training.py            the table
    python benchmarks/training.py --write    and docs/benchmarks/training.md
    python benchmarks/training.py --quick    in seconds, to see that it works
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from _page import machine, markdown, show, versions_of, write_page

NETWORKS, WIDTHS, EXAMPLES, STEP = 256, (32, 128, 128, 1), 64, 0.2
THREADS = 2
GROUPS = (8, 16, 32, 64, 128, 256)
SIDES = ("torch-loop", "torch-bmm", "whydeep")
ASKED = {"torch-loop": 3.0, "torch-bmm": 1.8}
AGREEMENT = 1e-4  # of losses after training, relative: rounding of float32 along the steps
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "training.md"


def examples():
    random = np.random.default_rng(0)
    x = random.normal(size=(EXAMPLES, WIDTHS[0]))
    return x, np.sign(x[:, :1])


def rates_of_layers():
    """lambda_W / fan_in with lambda_W = C_W = 1; biases are 0 and stay."""
    return [1.0 / n for n in WIDTHS[:-1]]


def timed(run, steps):
    wall, cpu = time.perf_counter(), time.process_time()
    out = run(steps)
    return time.perf_counter() - wall, time.process_time() - cpu, out


# ----------------------------------------------------------------------------------------- sides


def torch_parts(weights):
    import torch

    torch.set_num_interop_threads(1)
    x, y = (torch.tensor(a, dtype=torch.float32) for a in examples())
    return torch, x, y, [torch.tensor(w) for w in weights]


def best_setting(settings, run):
    """The setting that takes least time for a network's step, and the numbers of all."""
    found = {}
    for setting in settings:
        run(setting, 2)
        found[setting] = min(run(setting, 4) for _ in range(2))
    return min(found, key=found.__getitem__)


def torch_loop(weights, steps, repetitions):
    torch, x, y, stacked = torch_parts(weights)

    def train(networks, steps):
        losses = []
        for index in networks:
            layers = []
            for w in stacked:
                layer = torch.nn.Linear(w.shape[1], w.shape[2], bias=False)
                with torch.no_grad():
                    layer.weight.copy_(w[index].T)
                layers += [layer, torch.nn.Tanh()]
            module = torch.nn.Sequential(*layers[:-1])
            groups = [
                {"params": layer.parameters(), "lr": STEP * rate}
                for layer, rate in zip(layers[::2], rates_of_layers(), strict=True)
            ]
            optimiser = torch.optim.SGD(groups)
            for _ in range(steps):
                optimiser.zero_grad()
                loss = 0.5 * ((module(x) - y) ** 2).sum()
                loss.backward()
                optimiser.step()
            with torch.no_grad():
                losses.append(0.5 * ((module(x) - y) ** 2).sum())
        return torch.stack(losses).numpy()

    def probe(threads, steps):
        torch.set_num_threads(threads)
        return timed(lambda s: train(range(8), s), steps)[0]

    threads = best_setting(range(1, THREADS + 1), probe)
    torch.set_num_threads(threads)
    found = [timed(lambda s: train(range(NETWORKS), s), steps) for _ in range(repetitions)]
    return found, f"{threads} thread{'s' * (threads > 1)}"


def torch_bmm(weights, steps, repetitions):
    torch, x, y, stacked = torch_parts(weights)

    def outputs(parts, x):
        value = x
        for number, w in enumerate(parts):
            value = torch.bmm(torch.tanh(value) if number else value, w)
        return value

    def train(group, steps, networks=NETWORKS):
        losses = []
        for start in range(0, networks, group):
            parts = [w[start : start + group].clone().requires_grad_() for w in stacked]
            some_x = x.expand(len(parts[0]), -1, -1)
            for _ in range(steps):
                loss = 0.5 * ((outputs(parts, some_x) - y) ** 2).sum()
                gradients = torch.autograd.grad(loss, parts)
                with torch.no_grad():
                    for w, g, rate in zip(parts, gradients, rates_of_layers(), strict=True):
                        w.sub_(g, alpha=STEP * rate)
            with torch.no_grad():
                losses.append(0.5 * ((outputs(parts, some_x) - y) ** 2).sum(dim=(1, 2)))
        return torch.cat(losses).numpy()

    def probe(setting, steps):
        torch.set_num_threads(setting[1])
        return timed(lambda s: train(setting[0], s), steps)[0]

    group, threads = best_setting(itertools.product(GROUPS, range(1, THREADS + 1)), probe)
    torch.set_num_threads(threads)
    found = [timed(lambda s: train(group, s), steps) for _ in range(repetitions)]
    return found, f"{group} at once, {threads} thread{'s' * (threads > 1)}"


def network():
    import whydeep as wd

    return wd.mlp(len(WIDTHS) - 2, WIDTHS[1], "tanh", weight_var=1.0, bias_var=0.0)


def whydeep_side(weights, steps, repetitions, dtype="float32"):
    from whydeep.ensemble.training import train

    del weights
    x, y = examples()

    def run(steps):
        trained = train(
            network(), x, y, draws=NETWORKS, steps=steps, step=STEP, record=[steps],
            observables=("loss",), dtype=dtype,
        )  # fmt: skip
        return trained.samples["loss"][:, -1]

    run(3)  # compiled, for any number of steps
    return [timed(run, steps) for _ in range(repetitions)], "a network at a time in each core"


def initial_weights(path):
    """The weights of the first draws of seed 0, as whydeep draws them."""
    import jax

    from whydeep.ensemble import draw_parameters
    from whydeep.ensemble.training._steps import draw_key

    words = np.zeros(2, np.uint32)
    drawn = jax.vmap(lambda i: draw_parameters(network(), WIDTHS[:1], draw_key(words, i)))(
        np.arange(NETWORKS, dtype=np.uint32)
    )
    arrays = [np.asarray(own["weight"]) for own in drawn if own]
    np.savez(path, *arrays)


def child(options):
    """Run one side in this process and print what it found."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    if options.side == "weights":
        initial_weights(options.weights)
        return
    with np.load(options.weights) as file:
        weights = [file[name] for name in file.files]
    run = {
        "torch-loop": torch_loop,
        "torch-bmm": torch_bmm,
        "whydeep": whydeep_side,
        "float64": lambda w, s, r: whydeep_side(w, s, r, "float64"),
    }[options.side]
    found, setting = run(weights, options.steps, options.repetitions)
    loaded = ("torch",) if options.side.startswith("torch") else ("jax", "whydeep")
    answer = {
        "rates": [NETWORKS * options.steps / wall for wall, _, _ in found],
        "per_cpu": [NETWORKS * options.steps / cpu for _, cpu, _ in found],
        "losses": np.asarray(found[0][2], dtype=float).tolist(),
        "setting": setting,
        "versions": {"numpy": np.__version__} | {m: sys.modules[m].__version__ for m in loaded},
    }
    print(json.dumps(answer))


# ----------------------------------------------------------------------------- running and telling


def run_child(side, weights, steps, repetitions):
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = os.environ | {"JAX_PLATFORMS": "cpu"} | dict.fromkeys(threads, str(THREADS))
    options = ["--side", side, "--weights", weights, "--steps", str(steps)]
    done = subprocess.run(
        [sys.executable, __file__, *options, "--repetitions", str(repetitions)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{side} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else {}


def measure(options):
    """The rounds of every side, and the losses of float64."""
    with tempfile.TemporaryDirectory() as folder:
        weights = str(Path(folder) / "weights.npz")
        run_child("weights", weights, 0, 0)
        exact = run_child("float64", weights, options.steps, 1)["losses"]
        rounds = [
            {side: run_child(side, weights, options.steps, options.repetitions) for side in SIDES}
            for _ in range(options.rounds)
        ]
    return rounds, exact


def table(rounds):
    head = ("side", "network-steps/s", "least to most", "whydeep is", "asked",
            "per processor-second", "whydeep is")  # fmt: skip
    rows = []
    for side in SIDES:
        rates, cpu = ([v for r in rounds for v in r[side][k]] for k in ("rates", "per_cpu"))
        settings = " or ".join(dict.fromkeys(r[side]["setting"] for r in rounds))
        row = [f"{side}, {settings}", f"{median(rates):,.0f}"]
        row += [f"{min(rates):,.0f} to {max(rates):,.0f}"]
        wall, spread = times_of(rounds, side, "rates")
        row += [f"{wall:.2f} times ({spread})", f"{ASKED[side]:g}"] if side in ASKED else ["", ""]
        row.append(f"{median(cpu):,.0f}")
        row.append(f"{times_of(rounds, side, 'per_cpu')[0]:.2f} times" if side in ASKED else "")
        rows.append(row)
    return head, rows


def times_of(rounds, side, kind):
    """Over rounds, how many times whydeep's rate is a side's: the median, and the spread."""
    times = [median(r["whydeep"][kind]) / median(r[side][kind]) for r in rounds]
    return median(times), f"{min(times):.2f} to {max(times):.2f}"


def agreement(rounds, exact):
    """The largest relative difference of a network's loss from float64, by side."""
    exact = np.array(exact)
    return {
        side: float(np.max(np.abs(np.array(rounds[0][side]["losses"]) / exact - 1)))
        for side in SIDES
    }


def page(head, rows, said, rounds, options):
    ran = versions_of([rounds[0][side]["versions"] for side in SIDES])
    lines = [
        "# Training: network-steps per second",
        "",
        f"{NETWORKS} tanh networks {'-'.join(map(str, WIDTHS))}, {EXAMPLES} examples, full-batch",
        "gradient descent on the squared loss, float32.",
        "",
        *markdown(head, rows),
        "",
        f"Medians of {options.rounds} rounds, {options.repetitions} times {options.steps} steps,",
        f"on {THREADS} processors, the sides in turn; ratios are medians over rounds. Processor",
        "time is what the process used: a busy machine stretches the other, not this one.",
        "",
        "- **torch-loop**: a module and an optimiser a network, the best number of threads.",
        "- **torch-bmm**: stacked weights, batched products by hand, the best of",
        f"  {', '.join(map(str, GROUPS))} networks at once and 1 to {THREADS} threads.",
        "- **whydeep**: `whydeep.train`; its time includes drawing the networks and their losses",
        "  at the start and the end; compilation, once and about a second, is not counted.",
        "",
        *said,
        "",
        f"{machine()}, {ran}.",
        "",
        "Again: `python benchmarks/training.py --write`.",
        "",
    ]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", choices=(*SIDES, "float64", "weights"), help="for children")
    parser.add_argument("--weights", help="file of initial weights (for children)")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repetitions", type=int, default=1, help="a round")
    parser.add_argument("--rounds", type=int, default=5, help="all sides in turn, so many times")
    parser.add_argument("--quick", action="store_true", help="few steps, one round")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args()
    if options.side:
        child(options)
        return 0
    if options.quick:
        options.steps, options.repetitions, options.rounds = 10, 1, 1
    rounds, exact = measure(options)
    head, rows = table(rounds)
    show(head, rows, f"{NETWORKS} networks {'-'.join(map(str, WIDTHS))}")
    found = agreement(rounds, exact)
    agree = max(found.values()) < AGREEMENT
    each = ", ".join(f"{side} {value:.0e}" for side, value in found.items())
    said = [
        f"Losses after {options.steps} steps from the same weights, largest relative difference",
        f"from float64 over {NETWORKS} networks: {each}.",
        f"{'They agree' if agree else 'THEY DISAGREE'} (bound {AGREEMENT:g}).",
    ]
    print("\n".join(said))
    if options.write:
        write_page(PAGE, page(head, rows, said, rounds, options))
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
