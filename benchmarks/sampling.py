"""Draws per second of the kernels of a finite network: whydeep against PyTorch, two ways.

The task: tanh networks of depth 8 and width 64 at their critical initialisation (C_W = 1, C_b = 0),
four handwritten digits as inputs; of every network all preactivations and the 4 x 4 tangent kernel
of its output. The sides:

- ``torch-loop``: one module, initialised anew in place; a forward pass, one backward pass an input;
  the best number of threads (small operations can be slower on two than on one).
- ``torch-vmap``: torch.func, many networks at once: vmap over stacked parameters, jacrev for the
  tangent kernel; the best of several batch sizes and numbers of threads.
- ``whydeep``: ``whydeep.measure``, which samples the same law without weight matrices. Its time
  includes the means and standard errors of the kernels of all layers; the other two are timed on
  preactivations and tangent kernels alone, and reduce them in an untimed pass.

All sides have the same two processors, each in processes of its own, in turn. A last step holds
their means of kernels and tangent kernels against each other.

    python benchmarks/sampling.py            the table
    python benchmarks/sampling.py --write    and docs/benchmarks/sampling.md
    python benchmarks/sampling.py --quick    in seconds, to see that it works
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import NormalDist, median

import numpy as np
from _page import machine, markdown, show, versions_of, write_page

DEPTH, WIDTH, INPUTS, WEIGHT_VAR = 8, 64, 4, 1.0
THREADS = 2
BATCHES = (16, 64, 128, 256, 512)
FAMILY_ERROR = 1e-3  # of the agreement check, over all components of all pairs of sides
SIDES = ("torch-loop", "torch-vmap", "whydeep")
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "sampling.md"


@dataclass
class Estimate:
    """Means over draws with standard errors: kernels (9, 4, 4) and tangent kernels (4, 4)."""

    draws: int
    kernel: list
    kernel_error: list
    ntk: list
    ntk_error: list


@dataclass
class Result:
    """What one child process found."""

    side: str
    rates: list[float]
    estimate: Estimate
    peak: float
    before: float
    setting: str = ""
    versions: dict[str, str] = field(default_factory=dict)


# ------------------------------------------------------------------------------------- measuring


def peak_memory() -> float:
    """The most memory this process has held so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def timed(run: Callable[[int], object], draws: int) -> float:
    begin = time.perf_counter()
    run(draws)
    return time.perf_counter() - begin


def calibrated(run: Callable[[int], object], draws: int, seconds: float) -> int:
    """How many draws take at least `seconds`; warms up on the way."""
    timed(run, draws)
    while (took := timed(run, draws)) < seconds:
        draws = int(draws * min(8.0, 1.2 * seconds / took)) + 1
    return draws


def rates(run: Callable[[int], object], draws: int, repetitions: int) -> list[float]:
    return [draws / timed(run, draws) for _ in range(repetitions)]


def best_of(settings, apply, run, draws, seconds):
    """The fastest setting: each is calibrated and timed for a third of a repetition, twice."""
    speed = {}
    for setting in settings:
        apply(setting)
        speed[setting] = max(rates(run, calibrated(run, draws, seconds / 3), 2))
    best = max(speed, key=speed.__getitem__)
    apply(best)
    return best


class Sums:
    """Sums and sums of squares of the kernels of draws, in float64."""

    def __init__(self):
        self.draws, self.sums = 0, [0.0, 0.0, 0.0, 0.0]

    def add(self, kernel, ntk):
        """Kernels (draws, 9, 4, 4) and tangent kernels (draws, 4, 4)."""
        self.draws += len(ntk)
        kernel, ntk = (np.asarray(a, dtype=np.float64) for a in (kernel, ntk))
        for k, values in enumerate((kernel, kernel**2, ntk, ntk**2)):
            self.sums[k] = self.sums[k] + values.sum(axis=0)

    def estimate(self):
        means = [s / self.draws for s in self.sums]
        errors = [
            np.sqrt(np.maximum(square - mean**2, 0) / (self.draws - 1))
            for mean, square in (means[:2], means[2:])
        ]
        return Estimate(
            self.draws, means[0].tolist(), errors[0].tolist(), means[2].tolist(), errors[1].tolist()
        )


# ----------------------------------------------------------------------------------------- sides


def digits():
    from whydeep import data

    return data.load("digits", n=INPUTS)[0]


def said(threads):
    return f"{threads} thread{'s' * (threads > 1)}"


def torch_parts():
    """The inputs, and a module whose output is the list of all preactivations."""
    import torch

    torch.manual_seed(0)
    x = torch.tensor(digits(), dtype=torch.float32)
    assert x.shape[1] == WIDTH, "one scale serves all layers: every fan-in is the width"

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            outputs = [WIDTH] * DEPTH + [1]
            self.layers = torch.nn.ModuleList(
                torch.nn.Linear(WIDTH, n, bias=False) for n in outputs
            )

        def forward(self, s):
            zs = []
            for layer in self.layers:
                zs.append(layer(s))
                s = torch.tanh(zs[-1])
            return zs

    return torch, x, Network()


def kernels_of(zs):
    """Second moments (..., layers, 4, 4) of a list of preactivations (..., 4, neurons)."""
    import torch

    return torch.stack([z @ z.transpose(-1, -2) / z.shape[-1] for z in zs], dim=-3)


def torch_loop(seconds, repetitions):
    torch, x, network = torch_parts()
    before = peak_memory()
    weights = [layer.weight for layer in network.layers]
    deviation = (WEIGHT_VAR / WIDTH) ** 0.5
    rate = WEIGHT_VAR / WIDTH  # the tangent kernel's learning rate of a weight, lambda_W / fan_in

    def draw():
        for weight in weights:
            torch.nn.init.normal_(weight, std=deviation)
        zs = network(x)
        rows = []
        for a in range(INPUTS):
            gradients = torch.autograd.grad(zs[-1][a, 0], weights, retain_graph=a < INPUTS - 1)
            rows.append(torch.cat([g.flatten() for g in gradients]))
        jacobian = torch.stack(rows)
        return zs, rate * (jacobian @ jacobian.T)

    def run(draws):
        for _ in range(draws):
            draw()

    threads = best_of(range(1, THREADS + 1), torch.set_num_threads, run, 20, seconds)
    draws = calibrated(run, 50, seconds)
    measured = rates(run, draws, repetitions)
    peak = peak_memory()
    sums = Sums()
    for _ in range(3 * draws):
        zs, ntk = draw()
        with torch.no_grad():
            sums.add(kernels_of(zs)[None].numpy(), ntk[None].numpy())
    return Result("torch-loop", measured, sums.estimate(), peak, before, said(threads))


def torch_vmap(seconds, repetitions):
    torch, x, network = torch_parts()
    before = peak_memory()
    shapes = {name: p.shape for name, p in network.named_parameters()}
    deviation = (WEIGHT_VAR / WIDTH) ** 0.5
    rate = WEIGHT_VAR / WIDTH

    def outputs(parameters):
        zs = torch.func.functional_call(network, parameters, (x,))
        return zs[-1][:, 0], zs

    def one(parameters):
        jacobians, zs = torch.func.jacrev(outputs, has_aux=True)(parameters)
        flat = [j.flatten(1) for j in jacobians.values()]
        return zs, rate * sum(j @ j.T for j in flat)

    batched = torch.func.vmap(one)

    def draw(batch):
        return batched({k: deviation * torch.randn(batch, *s) for k, s in shapes.items()})

    setting = [1, 1]  # networks at once, threads

    def apply(batch_and_threads):
        setting[:] = batch_and_threads
        torch.set_num_threads(setting[1])

    def run(draws):
        with torch.no_grad():
            for _ in range(max(1, round(draws / setting[0]))):
                draw(setting[0])

    choices = itertools.product(BATCHES, range(1, THREADS + 1))
    batch, threads = best_of(choices, apply, run, max(BATCHES), seconds)
    draws = batch * math.ceil(calibrated(run, batch, seconds) / batch)
    measured = rates(run, draws, repetitions)
    peak = peak_memory()
    sums = Sums()
    with torch.no_grad():
        for _ in range(3 * draws // batch):
            zs, ntk = draw(batch)
            sums.add(kernels_of(zs).numpy(), ntk.numpy())
    how = f"{batch} at once, {said(threads)}"
    return Result("torch-vmap", measured, sums.estimate(), peak, before, how)


def whydeep_side(seconds, repetitions):
    import whydeep as wd

    x = digits()
    network = wd.mlp(DEPTH, WIDTH, "tanh", weight_var=WEIGHT_VAR, bias_var=0.0)
    wd.measure  # noqa: B018 (imports what it needs)
    before = peak_memory()
    seeds = itertools.count()
    kept = []

    def run(draws):
        kept.append(
            wd.measure(
                network,
                x,
                draws=draws,
                seed=next(seeds),
                observables=("kernel", "ntk"),
                rungs=1,
                layers="output",
            )
        )
        return kept[-1]

    draws = calibrated(run, 20_000, seconds)
    run(draws)  # compiled for this number of draws
    draws = kept[-1].draws
    kept.clear()
    measured = rates(run, draws, repetitions)
    peak = peak_memory()
    means = {name: np.mean([m[name] for m in kept], axis=0) for name in ("kernel", "ntk")}
    errors = {
        name: np.sqrt(np.sum([np.square(m.stderr[name]) for m in kept], axis=0)) / len(kept)
        for name in means
    }
    estimate = Estimate(
        draws * len(kept),
        means["kernel"].tolist(),
        errors["kernel"].tolist(),
        means["ntk"][-1].tolist(),
        errors["ntk"][-1].tolist(),
    )
    return Result("whydeep", measured, estimate, peak, before)


def child(side, seconds, repetitions):
    """Run one side in this process and print what it found."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    run = {"torch-loop": torch_loop, "torch-vmap": torch_vmap, "whydeep": whydeep_side}[side]
    result = run(seconds, repetitions)
    loaded = ("torch",) if side.startswith("torch") else ("jax", "whydeep")
    result.versions = {"numpy": np.__version__} | {m: sys.modules[m].__version__ for m in loaded}
    print(json.dumps(asdict(result)))


# ----------------------------------------------------------------------------- running and telling


def run_child(side, seconds, repetitions):
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = os.environ | {"JAX_PLATFORMS": "cpu"} | dict.fromkeys(threads, str(THREADS))
    options = ["--side", side, "--seconds", str(seconds), "--repetitions", str(repetitions)]
    done = subprocess.run(
        [sys.executable, __file__, *options],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{side} failed:\n{done.stderr}")
    found = json.loads(done.stdout.splitlines()[-1])
    return Result(**found | {"estimate": Estimate(**found["estimate"])})


def merged(results):
    """The rounds of one side as one result; the estimate of the first round stands for all."""
    first = results[0]
    first.rates = [rate for r in results for rate in r.rates]
    first.peak = max(r.peak for r in results)
    first.setting = " or ".join(dict.fromkeys(r.setting for r in results))
    return first


def disagreements(results):
    """The largest |z| of every pair of sides, and the bound that holds with `FAMILY_ERROR`."""
    rows, cols = np.triu_indices(INPUTS)
    found = {}
    count = 0
    for left, right in itertools.combinations(results, 2):
        scores = []
        for name in ("kernel", "ntk"):
            a, b = (np.array(getattr(r.estimate, name)) for r in (left, right))
            ea, eb = (np.array(getattr(r.estimate, f"{name}_error")) for r in (left, right))
            scores.append(((a - b) / np.hypot(ea, eb))[..., rows, cols].ravel())
        scores = np.concatenate(scores)
        count += scores.size
        found[left.side, right.side] = float(np.abs(scores).max())
    return found, NormalDist().inv_cdf(1 - FAMILY_ERROR / count / 2)


def worth(result, reference, name):
    """How many draws of `reference` give the error of one draw of `result`."""

    def variance(r):
        errors = np.array(getattr(r.estimate, f"{name}_error"))
        last = errors if name == "ntk" else errors[-1]
        return r.estimate.draws * float(np.square(last).mean())

    return variance(reference) / variance(result)


def table(results):
    loop = results[0]
    head = ("side", "draws/s", "least to most", "times the loop", "memory, MiB", "above imports",
            "a draw is worth, kernel", "tangent kernel")  # fmt: skip
    rows = []
    for r in results:
        name = f"{r.side}, {r.setting}" if r.setting else r.side
        rows.append(
            (
                name,
                f"{median(r.rates):,.0f}",
                f"{min(r.rates):,.0f} to {max(r.rates):,.0f}",
                f"{median(r.rates) / median(loop.rates):.3g}",
                f"{r.peak:.0f}",
                f"{r.peak - r.before:.0f}",
                f"{worth(r, loop, 'kernel'):.2g}",
                f"{worth(r, loop, 'ntk'):.2g}",
            )
        )
    return head, rows


def page(head, rows, verdict, results, seconds):
    lines = [
        "# Sampling: draws per second",
        "",
        f"Tanh networks of depth {DEPTH} and width {WIDTH} at C_W = 1, C_b = 0; {INPUTS} digits as",
        "inputs. Of every network all preactivations and the tangent kernel of the output.",
        "",
        *markdown(head, rows),
        "",
        f"Medians over {len(results[0].rates)} repetitions of at least {seconds:g} s, float32,",
        f"on {THREADS} processors, the sides in turn. Memory is the peak of the whole process.",
        '"A draw is worth": how many draws of the loop have the standard error of one draw, for',
        "the kernel and the tangent kernel of the output layer. Each layer is averaged exactly",
        "over its own weights in whydeep, so its kernels are sharper.",
        "",
        "- **torch-loop**: one module initialised anew in place, a backward pass an input, the",
        "  best number of threads.",
        "- **torch-vmap**: `torch.func` over stacked parameters, `jacrev` for the tangent kernel,",
        f"  best of {', '.join(map(str, BATCHES))} networks at once and 1 to {THREADS} threads.",
        "- **whydeep**: `whydeep.measure`; its time includes the means and standard errors of the",
        "  kernels of all layers, which the other two leave to an untimed pass.",
        "",
        *verdict,
        "",
        f"{machine()}, {versions_of([r.versions for r in results])}.",
        "",
        "Again: `python benchmarks/sampling.py --write`.",
        "",
    ]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", choices=SIDES, help="run one side in this process (for children)")
    parser.add_argument("--seconds", type=float, default=1.5, help="of a repetition, at least")
    parser.add_argument("--repetitions", type=int, default=4, help="a round")
    parser.add_argument("--rounds", type=int, default=2, help="all sides in turn, so many times")
    parser.add_argument("--quick", action="store_true", help="a fraction of a second each")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args()
    if options.side:
        child(options.side, options.seconds, options.repetitions)
        return 0
    if options.quick:
        options.seconds, options.repetitions, options.rounds = 0.2, 2, 1
    found = {side: [] for side in SIDES}
    for _ in range(options.rounds):
        for side in SIDES:
            found[side].append(run_child(side, options.seconds, options.repetitions))
    results = [merged(found[side]) for side in SIDES]
    head, rows = table(results)
    show(head, rows, f"tanh, depth {DEPTH}, width {WIDTH}, {INPUTS} inputs")
    scores, bound = disagreements(results)
    agree = max(scores.values()) < bound
    pairs = "; ".join(f"{a} and {b} {z:.2f}" for (a, b), z in scores.items())
    counts = ", ".join(f"{r.estimate.draws:,}" for r in results)
    verdict = [
        f"Largest |z| between two sides, over all kernels and tangent kernels: {pairs}.",
        f"{'They agree' if agree else 'THEY DISAGREE'} (bound {bound:.2f}; {counts} draws).",
    ]
    print("\n".join(verdict))
    if options.write:
        write_page(PAGE, page(head, rows, verdict, results, options.seconds))
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
