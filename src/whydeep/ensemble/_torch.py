"""Kernels of a real PyTorch module, re-initialised by its own rule: what an import is checked by.

Nothing of the description is used here but the laws of parameters that no class of ``torch.nn``
draws: outputs and gradients are the module's own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from whydeep.ensemble._apply import apply_network
from whydeep.ensemble._samples import KernelSamples
from whydeep.errors import InputError, UnsupportedError
from whydeep.network import check_whole
from whydeep.network.torch_reader import (
    CUT_VARIANCE,
    Given,
    Init,
    Law,
    TorchReading,
    copied,
    given,
    read_laws,
    reinitialise,
    require_torch,
    seeded,
)
from whydeep.progress import progress_bar

__all__ = ["measure_torch_kernels", "reading_deviation"]

# Gradients of all outputs are held at once: this many numbers are eight gigabytes.
_MOST_NUMBERS = 2**31


def measure_torch_kernels(
    module: Any,
    x: Any,
    *,
    draws: int = 200,
    ntk_draws: int | None = None,
    seed: int = 0,
    init: Init = None,
    channel_axes: Sequence[int] = (-1,),
) -> KernelSamples:
    """Draw a PyTorch module again and again and measure its NNGP and tangent kernels.

    Args:
        module: a ``torch.nn.Module``, or its constructor (a callable without arguments), which is
            called at each draw. Of a module a copy is drawn: each part by its
            ``reset_parameters``, parameters of other laws (see `read_torch`) by the law measured or
            given. It stays as it is, and so do PyTorch's, numpy's and Python's random states.
        x: inputs, (N, ...).
        draws: for the NNGP kernel.
        ntk_draws: for the tangent kernel, as many unless given; 0: none.
        seed: makes everything reproducible, on the same kind of device.
        init: how parameters are drawn, as for `read_torch`; a function is called at each draw.
        channel_axes: which axes of the output hold channels; the others are positions.

    Returns:
        `KernelSamples` at the module's own width, (N, N), or (N, N, *positions, *positions): the
        mean over channels of ``y(a) y(b)``, and the sum over trained parameters of ``dy(a) dy(b)``
        (every one with rate 1) for one channel, another one at each draw.

    Raises:
        InputError: bad numbers; a module whose initialisation can't be told.
        UnsupportedError: gradients that do not fit in memory; values that overflow.

    Accuracy: unbiased. Cost: a forward pass a draw, and a backward pass for every input and
    position of the output a draw of the tangent kernel.
    """
    torch = require_torch()
    begin = time.perf_counter()
    check_whole("draws", draws, least=2)
    ntk_draws = draws if ntk_draws is None else check_whole("ntk_draws", ntk_draws, least=0)
    check_whole("seed", seed, least=0)
    ready = given(torch, module, x, draw=False)
    x = ready.example
    nngp: list[np.ndarray] = []
    ntk: list[np.ndarray] = []
    total = max(draws, ntk_draws)
    with seeded(seed), progress_bar("drawing the module", total) as advance:
        for number, work in enumerate(_modules(torch, ready, init, total)):
            trained = [p for p in work.parameters() if p.requires_grad]
            with torch.enable_grad() if number < ntk_draws else torch.no_grad():
                outputs = _outputs(work(x), x, channel_axes)
            if number < draws:
                nngp.append(_second_moments(outputs.detach().double().cpu().numpy()))
            if number < ntk_draws:
                channel = number % outputs.shape[-1]
                ntk.append(_tangent_kernel(torch, outputs[..., channel], trained))
            advance()
    return KernelSamples.of_draws(
        np.stack(nngp),
        np.stack(ntk) if ntk else None,
        seed=seed,
        seconds=time.perf_counter() - begin,
        dtype=str(x.dtype if x.dtype.is_floating_point else torch.float32).removeprefix("torch."),
        source=f"{type(ready.module).__name__} "
        + ("re-initialised" if ready.factory is None else "constructed again"),
    )


def reading_deviation(reading: TorchReading, module: Any, x: Any) -> float:
    """How far a description with the module's own weights is from the module itself.

    Args:
        reading: of the module, by ``read_module``.
        module: in the mode in which it was read; without dropout.
        x: a tensor of inputs, (N, ...).

    Returns:
        The largest difference of outputs, relative to the largest output: roundings (1e-12 or
        less, both sides computed in float64) if the description is right, and about 1 otherwise.

    Cost: one forward pass of each, and the compilation of the description's layers.
    """
    torch = require_torch()
    real = x.dtype.is_floating_point
    inputs = x.double() if real else x
    with torch.no_grad():
        outputs = copied(module).double()(inputs).cpu().numpy()
    expected = reading.arranged(outputs)
    with jax.enable_x64(True):  # noqa: FBT003 -- JAX's own signature
        found = apply_network(reading.network, reading.parameters(module), inputs.cpu().numpy())
        found = np.asarray(found)
    if found.shape != expected.shape:
        return math.inf
    scale = float(np.abs(expected).max())
    return float(np.abs(found - expected).max()) / (scale or 1.0)


def _modules(torch: Any, ready: Given, init: Init, count: int) -> Iterator[Any]:
    """The module drawn `count` times: by its constructor, or by its laws."""
    buffers = {name: b.clone() for name, b in ready.module.named_buffers()}
    if ready.factory is None:
        work = copied(ready.module)
        laws = read_laws(ready.module, init)
        draws = _drawn(torch, work, laws, init, count)
    else:
        draws = (ready.factory() for _ in range(count))
    for work in draws:
        # What is no parameter is not drawn: a description holds the numbers of the first module.
        with torch.no_grad():
            for name, buffer in work.named_buffers():
                buffer.copy_(buffers[name])
        yield work


def _drawn(torch: Any, work: Any, laws: Mapping[str, Law], init: Init, count: int) -> Iterator[Any]:
    """Draw the numbers of a copy again, in place, `count` times."""
    other = {
        name: laws[name]
        for name, _ in work.named_parameters()
        if _has_law(laws, name) and laws[name].origin in ("numbers", "given")
    }
    for _ in range(count):
        try:
            reinitialise(work)
        except TypeError as error:
            raise InputError(
                "A part of the module can't be initialised again.",
                received=str(error),
                needed="reset_parameters() without arguments",
                suggestion="from_torch(factory, example), where factory() gives a fresh module",
            ) from error
        if callable(init):
            init(work)
        with torch.no_grad():
            for name, parameter in work.named_parameters():
                if name in other:
                    _draw(torch, parameter, other[name])
        yield work


def _has_law(laws: Mapping[str, Law], name: str) -> bool:
    try:
        _ = laws[name]
    except InputError:
        return False  # a parameter that no output needs, or the reading has refused already
    return True


def _draw(torch: Any, parameter: Any, law: Law) -> None:
    spread = math.sqrt(law.variance)
    if law.family == "constant":
        parameter.fill_(law.mean)
    elif law.family == "orthogonal":
        rows = len(parameter)
        longest = max(rows, parameter.numel() // rows)
        torch.nn.init.orthogonal_(parameter, gain=spread * math.sqrt(longest))
    elif law.family == "truncated":
        scale = spread / math.sqrt(CUT_VARIANCE)
        torch.nn.init.trunc_normal_(parameter, std=scale, a=-2.0 * scale, b=2.0 * scale)
    elif law.bound is not None:
        parameter.uniform_(-law.bound, law.bound)
    elif law.variance > 0:
        parameter.normal_(law.mean, spread)
    else:
        parameter.fill_(law.mean)


def _outputs(found: Any, x: Any, channel_axes: Sequence[int]) -> Any:
    """The output as (N, *positions, channels)."""
    if not hasattr(found, "ndim") or found.ndim < 1 or len(found) != len(x):
        raise InputError(
            "The module does not give one output for each input.",
            received=f"{type(found).__name__} of shape {tuple(getattr(found, 'shape', ()))}",
            needed=f"a tensor ({len(x)}, ...)",
        )
    last = [a % found.ndim for a in channel_axes] if found.ndim > 1 else []
    rest = [a for a in range(1, found.ndim) if a not in last]
    sizes = [found.shape[a] for a in rest if found.shape[a] > 1]
    return found.permute(0, *rest, *last).reshape(len(x), *sizes, -1)


def _second_moments(outputs: np.ndarray) -> np.ndarray:
    """(N, N, *positions, *positions) from (N, *positions, channels)."""
    flat = outputs.reshape(-1, outputs.shape[-1])
    return _paired(flat @ flat.T / flat.shape[1], outputs.shape[:-1])


def _paired(kernel: np.ndarray, rows: tuple[int, ...]) -> np.ndarray:
    table = kernel.reshape(*rows, *rows)
    return np.moveaxis(table, len(rows), 1)


def _tangent_kernel(torch: Any, outputs: Any, parameters: Sequence[Any]) -> np.ndarray:
    """The same of gradients of ``outputs (N, *positions)``, by definition.

    `tangent_kernel` of modules checks what it assumes of each new draw (7 times as long for small
    modules), and refuses dropout and other modules that mix examples: here they are as they are.
    """
    rows = tuple(outputs.shape)
    numbers = outputs.numel() * sum(p.numel() for p in parameters)
    if numbers > _MOST_NUMBERS:
        raise UnsupportedError(
            "The gradients of all outputs do not fit in memory.",
            received=f"{outputs.numel()} outputs, {numbers // outputs.numel():,} parameters",
            needed=f"at most {_MOST_NUMBERS:,} numbers together",
            suggestion="fewer inputs, or ntk_draws=0",
        )
    flat = outputs.reshape(-1)
    gradients = [
        torch.autograd.grad(
            value, parameters, retain_graph=number + 1 < len(flat), materialize_grads=True
        )
        for number, value in enumerate(flat)
    ]
    kernel = np.zeros((len(flat), len(flat)))
    for parts in zip(*gradients, strict=True):
        table = torch.stack([p.reshape(-1) for p in parts]).double()
        kernel += (table @ table.T).cpu().numpy()
    return _paired(kernel, rows)
