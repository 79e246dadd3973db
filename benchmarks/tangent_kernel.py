"""The tangent kernel of a finite network: whydeep against three other ways to compute it.

The full symmetric kernel (N C x N C) in float32 of

- an MLP 784-512-512-10, relu, 256 inputs;
- a CNN: 3x3 convolutions of 32, 64 (stride 2) and 64 (stride 2) channels on 32 x 32 x 3, relu,
  global average, 10 outputs; 64 inputs;

the same weights and inputs for all, by

- **neural-tangents** 0.6.5 in an environment of its own (`_peer.py`), the best of
  its implementations (without its products with vectors: 33 and 68 s where they were tried);
- **torch.func**, the recipe of PyTorch's tutorial on neural tangent kernels (Jacobians by
  `vmap(jacrev)`, contracted parameter by parameter), which is given blocks and symmetry;
- **nngeometry** 0.4, `GramMatrix`, in a folder of its own with this environment's PyTorch;
- **whydeep**, `wd.tangent_kernel` of the JAX function, and of the PyTorch module.

    python benchmarks/tangent_kernel.py            the table
    python benchmarks/tangent_kernel.py --write    and docs/benchmarks/tangent_kernel.md
    python benchmarks/tangent_kernel.py --only cnn --sides whydeep neural-tangents
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from _child import resident, timed
from _page import load_average, machine, markdown, show_columns, write_page
from _peer import QUIET, peer_python

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks" / "tangent_kernel.md"
SIDES = ("neural-tangents", "torch.func", "nngeometry", "whydeep", "whydeep, torch")
OURS = ("whydeep", "whydeep, torch")
CASES = {"mlp": 256, "cnn": 64}
ASKED = 2.0
LONG = 20.0  # seconds: a call that takes longer is not repeated
THREADS = 2
# float32 sums of some hundred thousand products, by four programs, relative to the largest.
AGREE = 1e-4


def problem(case):
    """Weights in layers' order and inputs (N, ...), channels last."""
    generator = np.random.default_rng(0)

    def layer(*shape):
        fan_in = int(np.prod(shape[:-1]))
        weight = generator.normal(size=shape) * np.sqrt(2 / fan_in)
        return [weight.astype(np.float32), (0.1 * generator.normal(size=shape[-1])).astype("f4")]

    if case == "mlp":
        weights = [layer(784, 512), layer(512, 512), layer(512, 10)]
        x = generator.normal(size=(CASES[case], 784))
    else:
        weights = [layer(3, 3, 3, 32), layer(3, 3, 32, 64), layer(3, 3, 64, 64), layer(64, 10)]
        x = generator.normal(size=(CASES[case], 32, 32, 3))
    return weights, x.astype(np.float32)


STRIDES = (1, 2, 2)


# ------------------------------------------------------------------------------------------- sides


def jax_function(case):
    import jax

    def mlp(weights, x):
        for w, b in weights[:-1]:
            x = jax.nn.relu(x @ w + b)
        return x @ weights[-1][0] + weights[-1][1]

    def cnn(weights, x):
        for stride, (w, b) in zip(STRIDES, weights[:-1]):  # noqa: B905 -- the peer's Python too
            pad = ((1, 1), (1, 1))
            numbers = ("NHWC", "HWIO", "NHWC")
            x = jax.lax.conv_general_dilated(x, w, (stride, stride), pad, dimension_numbers=numbers)
            x = jax.nn.relu(x + b)
        return x.mean((1, 2)) @ weights[-1][0] + weights[-1][1]

    return mlp if case == "mlp" else cnn


def torch_module(case, weights):
    import torch
    from torch import nn

    layers = []
    for k, (w, b) in enumerate(weights):
        if w.ndim == 4:
            layer = nn.Conv2d(w.shape[2], w.shape[3], 3, stride=STRIDES[k], padding=1)
            w = w.transpose(3, 2, 0, 1)  # noqa: PLW2901
        else:
            if case == "cnn":
                layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
            layer = nn.Linear(*w.shape)
            w = w.T  # noqa: PLW2901
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(np.ascontiguousarray(w)))
            layer.bias.copy_(torch.tensor(b))
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def torch_inputs(x):
    import torch

    return torch.tensor(np.ascontiguousarray(x if x.ndim == 2 else x.transpose(0, 3, 1, 2)))


def neural_tangents(case, weights, x):
    """Its implementations."""
    import jax
    import neural_tangents as nt

    fn = jax_function(case)
    ways = {
        "structured derivatives": nt.NtkImplementation.STRUCTURED_DERIVATIVES,
        "products with vectors": nt.NtkImplementation.NTK_VECTOR_PRODUCTS,
        "Jacobian": nt.NtkImplementation.JACOBIAN_CONTRACTION,
    }
    del ways["products with vectors"]  # 33 s for the MLP and 68 s for the CNN where it was tried
    if case == "mlp":  # 6.9 GB of Jacobian, and 184 s where it was tried
        del ways["Jacobian"]
    calls = {}
    for name, way in ways.items():
        kernel = jax.jit(
            nt.empirical_ntk_fn(
                fn, trace_axes=(), vmap_axes=0, implementation=way
            ),
        )  # fmt: skip

        def call(kernel=kernel):
            found = np.asarray(kernel(x, None, weights))  # (N, N, C, C)
            return found.transpose(0, 2, 1, 3)

        calls[name] = call
    return calls


def torch_func(case, weights, x):
    """PyTorch's tutorial, `empirical_ntk_jacobian_contraction`, in blocks of 64 inputs.

    The upper blocks are mirrored, and the Jacobian of equal inputs is computed once.
    """
    import torch

    module, inputs = torch_module(case, weights), torch_inputs(x)
    params = {k: v.detach() for k, v in module.named_parameters()}

    def single(params, x):
        return torch.func.functional_call(module, params, (x.unsqueeze(0),)).squeeze(0)

    def jacobian(x):
        found = torch.func.vmap(torch.func.jacrev(single), (None, 0))(params, x)
        return [j.flatten(2) for j in found.values()]

    def call():
        n = len(inputs)
        out = torch.empty(n, 10, n, 10)
        with torch.no_grad():
            for i in range(0, n, 64):
                rows = jacobian(inputs[i : i + 64])
                for j in range(i, n, 64):
                    columns = rows if i == j else jacobian(inputs[j : j + 64])
                    pairs = zip(rows, columns, strict=True)
                    block = sum(torch.einsum("Naf,Mbf->NaMb", a, b) for a, b in pairs)
                    out[i : i + 64, :, j : j + 64] = block
                    if i != j:
                        out[j : j + 64, :, i : i + 64] = block.permute(2, 3, 0, 1)
        return out.numpy()

    return {"Jacobian": call}


def nngeometry(case, weights, x):
    import torch
    from nngeometry import GramMatrix

    module, inputs = torch_module(case, weights), torch_inputs(x)
    data = torch.utils.data.TensorDataset(inputs, torch.zeros(len(inputs)))

    def call():
        loader = torch.utils.data.DataLoader(data, batch_size=len(inputs))
        gram = GramMatrix(module, loader, function=lambda x, _: module(x))
        return gram.to_torch().detach().permute(1, 0, 3, 2).numpy()  # of (C, N, C, N)

    return {"": call}


def whydeep(case, weights, x):
    import whydeep as wd

    fn = jax_function(case)
    return {"": lambda: wd.tangent_kernel(fn, weights, x)}


def whydeep_torch(case, weights, x):
    import whydeep as wd

    module, inputs = torch_module(case, weights), torch_inputs(x)
    return {"": lambda: wd.tangent_kernel(module, None, inputs)}


RUN = dict(
    zip(SIDES, (neural_tangents, torch_func, nngeometry, whydeep, whydeep_torch))  # noqa: B905
)


def child(side, case, seconds, out):
    """Run one side in this process; print what it found, save its kernel."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    if "torch" in side or side == "nngeometry":
        import torch

        torch.set_num_threads(THREADS)
    weights, x = problem(case)
    calls = RUN[side](case, weights, x)
    before, found = resident("VmRSS"), {}
    for name, call in calls.items():
        first, cpu, kernel = timed(call)
        walls, cpus = [first], [cpu]
        if first < LONG:
            walls, cpus = [], []
            while len(walls) < 3 or sum(walls) < seconds:
                del kernel
                wall, cpu, kernel = timed(call)
                walls.append(wall)
                cpus.append(cpu)
        found[name] = {"walls": walls, "cpus": cpus, "first": first}
    best = min(found, key=lambda name: median(found[name]["walls"]))
    np.save(out, kernel)
    loaded = ("jax", "torch", "neural_tangents", "whydeep")
    versions = {m: sys.modules[m].__version__ for m in loaded if m in sys.modules}
    told = {"best": best, "before": before, "peak": resident("VmHWM"), "versions": versions}
    others = {name: median(found[name]["walls"]) for name in found}
    print(json.dumps({**found[best], **told, "others": others}))


# ----------------------------------------------------------------------------- running and telling


def nngeometry_folder():
    """Where nngeometry is, installed once without its dependencies: PyTorch is ours."""
    folder = peer_folder("nngeometry-0.4")
    if not (folder / "nngeometry").exists():
        options = ["--quiet", "--no-deps", "--disable-pip-version-check", "--target", str(folder)]
        command = [sys.executable, "-m", "pip", "install", *options, "nngeometry==0.4"]
        subprocess.run(command, check=True)
    return folder


def peer_folder(name):
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "whydeep" / "peers" / name


def run_child(side, case, seconds, folder, peer_env):
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    env = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}
    env |= QUIET | dict.fromkeys(threads, str(THREADS))
    if side == "nngeometry":
        env["PYTHONPATH"] = str(nngeometry_folder())
    python = peer_python(peer_env) if side == "neural-tangents" else sys.executable
    out = folder / "kernel.npy"
    done = subprocess.run(
        [python, __file__, "--child", side, case, str(seconds), out], env=env,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{side}, {case}, failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1]), np.load(out)


def apart(one, other):
    return float(np.abs(one - other).max() / np.abs(other).max())


def measured(case, options, folder):
    """Medians of all rounds, by side, and how far each is from the first of ours."""
    found, kernels, skipped = {}, {}, set()
    for _ in range(options.rounds):
        for side in options.sides:
            if side in skipped:
                continue
            answer, kernels[side] = run_child(side, case, options.seconds, folder, options.peer_env)
            kept = found.setdefault(side, {**answer, "walls": [], "cpus": []})
            kept["walls"] += answer["walls"]
            kept["cpus"] += answer["cpus"]
            kept["peak"] = max(kept["peak"], answer["peak"])
            if answer["first"] > LONG:
                skipped.add(side)
            print(f"{case}, {side}: {median(answer['walls']):.3g} s", file=sys.stderr, flush=True)
    ours = next((s for s in OURS if s in found), options.sides[0])
    for side, told in found.items():
        told["apart"] = apart(kernels[side], kernels[ours])
    return found


HEAD = ("case", "side", "wall, s", "least to most", "processor, s", "first call, s", "memory, MiB",
        "above imports", "apart")  # fmt: skip


def rows_of(case, found):
    rows = []
    for side, f in found.items():
        name = f"{side}, {f['best']}" if f["best"] else side
        rows.append(
            (
                case,
                name,
                f"{median(f['walls']):.3g}",
                f"{min(f['walls']):.3g} to {max(f['walls']):.3g}",
                f"{median(f['cpus']):.3g}",
                f"{f['first']:.3g}",
                f"{f['peak']:.0f}",
                f"{f['peak'] - f['before']:.0f}",
                f"{f['apart']:.1e}",
            )
        )
    return rows


def verdicts(results):
    """How many times faster than the best of the others, and whether that is what is asked."""
    lines, good = [], True
    for case, found in results.items():
        others = [s for s in found if s not in OURS]
        if not others or "whydeep" not in found:
            continue
        for what, key in (("wall", "walls"), ("processor", "cpus")):
            best = min(others, key=lambda s: median(found[s][key]))
            ratio = median(found[best][key]) / median(found["whydeep"][key])
            asked = (
                f" (asked: {ASKED:g}): {'yes' if ratio >= ASKED else 'NO'}"
                if key == "walls"
                else ""
            )
            lines.append(f"- {case}, {what} time: {ratio:.3g} times the best other, {best}{asked}.")
            good &= key != "walls" or ratio >= ASKED
        far = max(f["apart"] for f in found.values())
        lines.append(
            f"- {case}: all sides within {far:.1e} of each other, relative to the largest."
        )
        good &= far < AGREE
        for side, f in found.items():
            if len(f["others"]) > 1:
                each = ", ".join(f"{name} {seconds:.3g} s" for name, seconds in f["others"].items())
                lines.append(f"- {case}, {side}: {each}.")
    return lines, good


def page(rows, lines, results, load):
    versions = {}
    for found in results.values():
        for side, f in found.items():
            versions[side] = ", ".join(f"{k} {v}" for k, v in f["versions"].items())
    ran = [f"- {side}: {text}." for side, text in versions.items()]
    return "\n".join(
        [
            "# Tangent kernels of finite networks",
            "",
            "The full symmetric kernel, float32: an MLP 784-512-512-10 (relu) on 256 inputs, and a",
            "CNN (3x3 convolutions of 32, 64 and 64 channels, the last two of stride 2, relu,",
            "global average, 10 outputs) on 64 inputs of 32 x 32 x 3. The same weights and inputs",
            f"for all, the sides in turn in processes of their own on {THREADS} processors.",
            "",
            *markdown(HEAD, rows, left=2),
            "",
            *lines,
            "",
            "Seconds are medians of the calls of all processes without the first, which compiles.",
            "Memory is the peak of the process, over all implementations tried.",
            "Apart: the largest difference from whydeep, relative to the largest entry.",
            "neural-tangents' own default, the Jacobian, is left out for the MLP (6.9 GB), and its",
            "products with vectors for both (33 s and 68 s where they were tried). The recipe of",
            "torch.func is given blocks of 64 inputs and symmetry; a call that takes more than",
            f"{LONG:g} s is made once. nngeometry runs on this environment's PyTorch.",
            "",
            f"{machine()};",
            f"{load}: other work was going on",
            "if it is above 2, and then the processor times say more.",
            "",
            *ran,
            "",
            "Again: `python benchmarks/tangent_kernel.py --write`.",
            "",
        ]
    )


def main():
    if sys.argv[1:2] == ["--child"]:
        side, case, seconds, out = sys.argv[2:]
        child(side, case, float(seconds), out)
        return 0
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-env", type=Path, help="where neural-tangents is, or is made")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--only", choices=CASES, help="one case")
    parser.add_argument("--seconds", type=float, default=2.0, help="of calls in a process")
    parser.add_argument("--rounds", type=int, default=3, help="all sides in turn, so many times")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args()
    if options.write and (options.only or len(options.sides) < len(SIDES)):
        parser.error("--write needs the whole table: no --only, --sides")
    before = os.getloadavg()[0]
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        cases = [options.only] if options.only else list(CASES)
        results = {case: measured(case, options, Path(name)) for case in cases}
    rows = [row for case, found in results.items() for row in rows_of(case, found)]
    lines, good = verdicts(results)
    show_columns(HEAD, rows, left=len(HEAD))
    print("\n".join(lines))
    print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr)
    if options.write:
        write_page(PAGE, page(rows, lines, results, load_average(before)))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
