"""Infinite-width kernels: whydeep against neural-tangents 0.6.5, the archived predecessor.

The peer gets an environment of its own (`_peer.py`: it can't be imported with today's JAX), and
both sides are run in turn, each call in a fresh process on the same processors. Every case asks
for the NNGP and the tangent kernel of N inputs among themselves:

- ReLU networks of depth 5, 20, 50 without bias, N = 4000, 784 inputs, in both precisions;
- tanh and SiLU with bias, N = 2000, norms spread 4 times, float64: the peer by its quadrature of
  degree 25, in blocks (it would need 20 GB at once); GELU, which the peer has in closed form;
- Myrtle-5 (Shankar et al. 2020) and five convolutions without pooling, 32 x 32 x 3, float32;
- the first call in a new process; the very first, with nothing compiled yet; import; disk space.

Errors are against references of `_kernel_reference.py` on some pairs, relative to
sqrt(K(a, a) K(b, b)); the two sides are also compared with each other on whole rows.

    python benchmarks/vs_neural_tangents.py            the table, in about half an hour
    python benchmarks/vs_neural_tangents.py --write    and docs/benchmarks/vs_neural_tangents.md
    python benchmarks/vs_neural_tangents.py --quick    small N, in minutes, to see that it works
    python benchmarks/vs_neural_tangents.py --only relu --side theirs
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
from _kernel_reference import conv_pairs, mlp_pairs
from _nt_cases import CASES, make_inputs, sampled_pairs, sampled_rows
from _page import load_average, machine, markdown, show_columns, write_page
from _peer import QUIET, environment_facts, peer_python, size_on_disk

THREADS = 2
HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks" / "vs_neural_tangents.md"
SIDES = ("theirs", "ours")
SCRIPTS = {"theirs": HERE / "_nt_side.py", "ours": HERE / "_our_side.py"}
MODULES = {
    "theirs": ["neural_tangents", "jax", "numpy"],
    "ours": ["whydeep", "jax", "numba", "numpy"],
}
LONG = {"theirs": 8.0, "ours": 60.0}  # a first call of more seconds is not repeated


@dataclass
class Found:
    """What the processes of one side reported for one case."""

    walls: list[float] = field(default_factory=list)
    cpus: list[float] = field(default_factory=list)
    firsts: list[float] = field(default_factory=list)  # with compilation, without imports
    wholes: list[float] = field(default_factory=list)  # and with the imports that were put off
    starts: list[float] = field(default_factory=list)  # from starting Python to the first result
    compiling: list[float] = field(default_factory=list)
    peak: float = 0.0
    before: float = 0.0
    error: float = float("nan")
    dtype: str = ""
    samples: dict = field(default_factory=dict)
    versions: dict = field(default_factory=dict)

    @property
    def seconds(self):
        return median(self.walls)


# ----------------------------------------------------------------------------------------- running


def environment(side, case=None, caches=None):
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    more = dict.fromkeys(threads, str(THREADS))
    if side == "theirs" and case and case["dtype"] == "float64":
        more["JAX_ENABLE_X64"] = "1"
    if caches:  # empty folders: nothing is compiled yet
        more |= {"NUMBA_CACHE_DIR": f"{caches}/numba", "JAX_COMPILATION_CACHE_DIR": f"{caches}/jax",
                 "XDG_CACHE_HOME": f"{caches}/user"}  # fmt: skip
    # A processor named by hand would keep BLAS from the instructions that this one has.
    chosen = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}
    return chosen | QUIET | more


def run_child(side, case, n, options, folder, caches=None):
    """One process of one side: its answer and its samples."""
    inputs, out, job = (folder / name for name in ("x.npy", "out.npz", "job.json"))
    np.save(inputs, make_inputs(case, n))
    batch = case.get("quick_batch", case.get("batch")) if options.quick else case.get("batch")
    job.write_text(
        json.dumps(
            {
                "case": {**case, "batch": batch}, "inputs": str(inputs), "out": str(out),
                "rows": sampled_rows(n).tolist(), "seconds": options.seconds,
                "long": LONG[side], "threads": THREADS, "modules": MODULES[side],
                "started": time.time(),
            }
        ),
        encoding="utf-8",
    )  # fmt: skip
    python = peer_python(options.peer_env) if side == "theirs" else sys.executable
    done = subprocess.run(
        [python, SCRIPTS[side], job], env=environment(side, case, caches), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{side}, {case['name']}, failed:\n{done.stderr[-3000:]}")
    with np.load(out) as samples:
        return json.loads(done.stdout.splitlines()[-1]), dict(samples)


def measured(case, options, folder):
    """Both sides of one case, in turn: {side: Found}."""
    n = options.n or (case["quick"] if options.quick else case["n"])
    sides = [s for s in options.sides if s in case.get("sides", SIDES)]
    if case.get("scan") and "theirs" in sides:
        sides.insert(1, "scan")  # theirs with the layers in a compiled loop, stax.repeat
    found = {side: Found() for side in sides}
    if "ours" in sides:  # so that compiled code is on disk, as from the second process on
        run_child("ours", case, case["quick"], options, folder)
    for turn in range(options.rounds):
        for side in sides:
            result = found[side]
            if turn and sum(result.walls) > options.seconds * options.rounds:
                continue  # minutes already
            peer = side == "scan"
            used = {**case, "scan": peer}
            answer, result.samples = run_child("theirs" if peer else side, used, n, options, folder)
            result.walls += answer["walls"]
            result.cpus += answer["cpus"]
            apart_from_call = 0.0 if side == "ours" else answer["compiling"]
            result.firsts.append(answer["first"] + apart_from_call)
            result.wholes.append(result.firsts[-1] + answer["starting"])
            result.starts.append(answer["since_start"])
            result.compiling.append(answer["compiling"])
            result.peak, result.before = max(result.peak, answer["peak"]), answer["before"]
            result.dtype, result.versions = answer["dtype"], answer["versions"]
    if not case.get("first"):
        judge(case, n, found)
    return found


def judge(case, n, found):
    """Errors against the reference; None is returned, `found` is filled."""
    x = make_inputs(case, n)
    pairs, rows = sampled_pairs(case, n), sampled_rows(n).tolist()
    if case["kind"] == "mlp":
        nngp, ntk, uncertain = mlp_pairs(case, x, pairs)
        assert uncertain < 1e-11, f"the reference itself is only known to {uncertain:.1e}"
    else:
        nngp, ntk = conv_pairs(case, x, pairs)
    for result in found.values():
        errors = []
        for name, values in (("nngp", nngp), ("ntk", ntk)):
            own, diagonal = result.samples[name], result.samples[f"{name}_diagonal"]
            for (i, j), value in zip(pairs, values, strict=True):
                scale = np.sqrt(float(diagonal[i]) * float(diagonal[j]))
                errors.append(abs(float(own[rows.index(i), j]) - value) / scale)
        result.error = max(errors)


def apart(found):
    """The largest difference between both sides on whole rows, relative like the errors.

    Without inputs and themselves, or their near-duplicate: there the errors tell who is right.
    """
    if not set(SIDES) <= set(found):
        return float("nan")
    a, b = (found[side].samples for side in SIDES)
    worst = 0.0
    for name in ("nngp", "ntk"):
        d = np.sqrt(np.maximum(a[f"{name}_diagonal"].astype(np.float64), 1e-300))
        rows = sampled_rows(len(d))
        gap = np.abs(a[name].astype(np.float64) - b[name]) / np.multiply.outer(d[rows], d)
        gap[np.arange(len(rows)), rows] = 0.0
        gap[rows < 2, :2] = 0.0
        worst = max(worst, float(gap.max()))
    return worst


def import_seconds(side, options):
    """Median seconds of the import in fresh processes."""
    module = "whydeep" if side == "ours" else "neural_tangents"
    python = peer_python(options.peer_env) if side == "theirs" else sys.executable
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    env = environment(side)
    return median(
        float(subprocess.check_output([python, "-c", code], env=env, stderr=subprocess.DEVNULL))
        for _ in range(3 if options.quick else 7)
    )


def environment_bytes(options):
    """Disk space of fresh environments: ours is made now, without the optional parts."""
    found = {}
    if "theirs" in options.sides:
        found["theirs"] = environment_facts(peer_python(options.peer_env))["bytes"]
    if "ours" in options.sides:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            command = [
                f"{folder}/bin/python",
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
            ]
            subprocess.run([*command, HERE.parent], check=True)
            found["ours"] = size_on_disk(Path(folder))
    return found


# ----------------------------------------------------------------------------------------- telling


def spell(value, digits=3):
    return "" if value is None or np.isnan(value) else f"{value:.{digits}g}"


def verdict(asked, ratio):
    if not asked or ratio is None:
        return ""
    return "yes" if ratio >= asked else "NO"


HEAD = ("case", "theirs, s", "ours, s", "times faster", "asked", "holds", "compile, s",
        "memory, MiB", "processor, s", "error", "apart")  # fmt: skip


def rows_of(case, found):
    """The lines of a case: one, or two where they have two ways to say the same."""
    lines = [row(case, found)]
    if case.get("first"):
        for name, times in (
            ("numba's start counted", "wholes"),
            ("from starting Python", "starts"),
        ):
            lines.append(row({**case, "name": f"- {name}", "asked": None}, found, times))
    if "scan" in found:
        other = {"theirs": found["scan"]} | {k: v for k, v in found.items() if k == "ours"}
        lines.append(row({**case, "name": "- by stax.repeat", "asked": None}, other))
    return lines


def row(case, found, first_times="firsts"):
    """A line of the table; where two numbers stand, theirs and ours."""
    sides = [found.get(side) for side in SIDES]

    def both(what, digits=2):
        return " / ".join(spell(what(s), digits) if s else "-" for s in sides)

    first = case.get("first")
    seconds = [
        None if s is None else median(getattr(s, first_times)) if first else s.seconds
        for s in sides
    ]
    ratio = seconds[0] / seconds[1] if None not in seconds else None
    return (
        case["name"],
        *(spell(s) if s is not None else "-" for s in seconds),
        spell(ratio) if ratio else "",
        str(case["asked"] or ""),
        verdict(case["asked"], ratio),
        both(lambda s: median(s.compiling)),
        both(lambda s: s.peak, 4),
        "" if first else both(lambda s: median(s.cpus), 3),
        "" if first else both(lambda s: s.error),
        "" if first else spell(apart(found), 2),
    )


def page(rows, facts, versions, load):
    ran = {s: ", ".join(f"{k} {v}" for k, v in versions.get(s, {}).items()) for s in SIDES}
    lines = [
        "# Infinite-width kernels: whydeep and neural-tangents",
        "",
        "NNGP and tangent kernel of N inputs among themselves, both sides in turn, in processes of",
        f"their own on the same {THREADS} processors. Where two numbers stand: theirs / ours.",
        "",
        *markdown(HEAD, rows),
        "",
        "Seconds are medians of the calls of all processes, without compilation, which stands",
        "beside them (theirs: tracing and compiling; ours: what the first call takes longer than",
        "the others, with compiled code on disk). Every call of ours has variances one rounding",
        "apart, so that none is served by what another has tabulated. Memory is the peak of the",
        "whole process. Error: the largest difference from a reference on some pairs, relative to",
        "sqrt(K(a, a) K(b, b)); apart: the largest difference between both sides on whole rows,",
        "likewise, an input with itself or its near-duplicate left out: there the errors tell.",
        "",
        *facts,
        "",
        "- **relu**: weight variance 2, no bias, N = 4000, 784 inputs in ten clusters, one",
        "  near-duplicate. Theirs written as usual, `stax.serial(Dense, Relu, Dense, Relu, ...)`;",
        "  and with `stax.repeat`, a compiled loop over the layers, which their documentation",
        "  recommends for compile time only but which also runs faster. Reference: 50 digits.",
        "- **tanh, silu, gelu**: depth 5, N = 2000, float64, bias variance 0.1, norms from half to",
        "  twice; theirs by their quadrature of degree 25 for tanh and silu (in blocks of 100: at",
        "  once it takes 20 GB), by their closed form for gelu. Reference: the trapezoid rule.",
        "- **Myrtle-5** of Shankar et al. 2020 and five convolutions without pooling (N = 100),",
        "  both 32 x 32 x 3, float32. N = 20: theirs in blocks of 10. Reference: the covariance of",
        "  all pairs of positions.",
        "- **first call**: a new process, after the imports, theirs with compilation, ours with",
        "  compiled code on disk. N = 100 and 2. Numba puts a part of its own imports off to the",
        "  first compiled function; they are done before, like all others, and counted in the next",
        "  line.",
        "",
        f"{machine()};",
        f"theirs: {ran['theirs']}; ours: {ran['ours']}.",
        f"Other work on the machine: {load}.",
        "",
        "Again: `python benchmarks/vs_neural_tangents.py --write`.",
        "",
    ]
    return "\n".join(lines)


def extra_facts(options, folder):
    """Import, disk space, the very first compilation: sentences, and whether each holds."""
    facts, holds = [], []

    def fact(sentence, value, limit, unit):
        holds.append(value < limit)
        said = "yes" if holds[-1] else "NO"
        facts.append(f"- {sentence}: {value:.3g} {unit} (asked: under {limit:g}): {said}.")

    imports = {side: import_seconds(side, options) for side in options.sides}
    if "theirs" in imports:
        facts.append(f"- Their import: {imports['theirs']:.3g} s.")
    if "ours" in imports:
        fact("Our import", imports["ours"], 1.0, "s")
        for name in ("relu depth 5 float32", "relu depth 5 float64", "first call, Myrtle-5"):
            case = {**next(c for c in CASES if c["name"] == name), "n": 100}
            with tempfile.TemporaryDirectory() as caches:
                n = 2 if case["kind"] == "conv" else 100
                answer, _ = run_child("ours", case, n, options, folder, caches)
            fact(f"Our very first call, nothing compiled, {name}", answer["first"], 30.0, "s")
    if not options.no_disk:
        sizes = environment_bytes(options)
        if "theirs" in sizes:
            facts.append(f"- Their environment on disk: {sizes['theirs'] / 1e9:.3g} GB.")
        if "ours" in sizes:
            fact("Our environment on disk, without PyTorch", sizes["ours"] / 1e9, 1.15, "GB")
    return facts, all(holds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-env", type=Path, help="where the peer's environment is, or is made")
    parser.add_argument("--side", choices=(*SIDES, "both"), default="both")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--n", type=int, help="number of inputs, instead of each case's own")
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="of calls in a process, at least"
    )
    parser.add_argument("--rounds", type=int, default=3, help="both sides in turn, so many times")
    parser.add_argument(
        "--no-disk", action="store_true", help="don't make an environment to weigh it"
    )
    parser.add_argument("--quick", action="store_true", help="small N, one round")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args()
    options.sides = SIDES if options.side == "both" else (options.side,)
    if options.quick:
        options.seconds, options.rounds, options.no_disk = 0.5, 1, True
    if options.write and (options.only or options.quick or options.n or options.side != "both"):
        parser.error("--write needs the whole table: no --only, --quick, --n or --side")
    before = os.getloadavg()[0]
    rows, good, versions = [], True, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for case in CASES:
            sides = set(case.get("sides", SIDES)) & set(options.sides)
            if options.only not in case["name"] or not sides:
                continue
            begin = time.perf_counter()
            found = measured(case, options, folder)
            rows += rows_of(case, found)
            versions |= {side: result.versions for side, result in found.items()}
            good &= all("NO" not in line for line in rows)
            if (gap := apart(found)) > case.get("agree", np.inf):
                sys.exit(f"{case['name']}: both sides differ by {gap:.1e}")
            if "ours" in found and "accuracy" in case:
                good &= found["ours"].error <= case["accuracy"]
            print(
                f"{case['name']}: {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True
            )
        facts, fine = ([], True) if options.only else extra_facts(options, folder)
    show_columns(HEAD, rows)
    print("\n".join(facts))
    if options.write:
        write_page(PAGE, page(rows, facts, versions, load_average(before)))
    return 0 if good and fine else 1


if __name__ == "__main__":
    sys.exit(main())
