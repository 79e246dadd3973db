"""``lax.scan``: over stacked layers, unrolled; over time with shared weights, an Elman network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from whydeep.errors import UnsupportedError
from whydeep.jaxprs import Options, is_dropped, scan_counts
from whydeep.network._join import Join, Sum
from whydeep.network._layers import Activation, Dense
from whydeep.network._sequence import Recurrent
from whydeep.network.jax_reader import _structure as structure
from whydeep.network.jax_reader._axes import fresh, refine
from whydeep.network.jax_reader._calls import constant
from whydeep.network.jax_reader._draft import Bias, Draft, Known, State, Value
from whydeep.network.jax_reader._leaves import Parameter, Use
from whydeep.network.jax_reader._reader import Reader
from whydeep.network.jax_reader._simplify import simplified

__all__ = ["scan"]

Run = Callable[[Any, Any, Any], list[Any]]
_MOST_LAYERS = 4096


def scan(reader: Reader, run: Run, equation: Any, operands: list[Any]) -> list[Any]:
    """The carry after the last step, and what every step returned."""
    options = Options(equation)
    known, carried_count = scan_counts(equation)
    constants, carry = operands[:known], operands[known:][:carried_count]
    over = operands[known + carried_count :]
    body = options["jaxpr"]

    def step(carried: list[Any], inputs: list[Any]) -> tuple[list[Any], list[Any]]:
        inner = [constant(c) for c in body.consts]
        out = run(body.jaxpr, inner, [*constants, *carried, *inputs])
        return out[:carried_count], out[carried_count:]

    wanted = [not is_dropped(v) for v in equation.outvars[carried_count:]]
    if any(isinstance(o, Value) for o in over):
        return _recurrence(reader, step, carry, over, reverse=options["reverse"])
    length = options["length"]
    if length > _MOST_LAYERS:
        raise UnsupportedError("A scan over very many layers.", received=f"{length} steps")
    order = range(length - 1, -1, -1) if options["reverse"] else range(length)
    returned: list[list[Any]] = [[None] * length for _ in wanted]
    for number in order:
        carry, out = step(carry, [_entry(reader, o, number) for o in over])
        for column, value in zip(returned, out, strict=True):
            column[number] = value
    return [*carry, *(_stacked(reader, c) if w else None
                      for c, w in zip(returned, wanted, strict=True))]  # fmt: skip


def _entry(reader: Reader, stacked: Any, number: int) -> Any:
    if isinstance(stacked, Known):
        return Known(np.asarray(stacked.array[number]))
    limits = [(0, n, 1) for n in stacked.shape]
    limits[0] = (number, number + 1, 1)
    return structure.reshape(structure.slices(reader, stacked, limits), stacked.shape[1:])


def _stacked(reader: Reader, values: list[Any]) -> Any:
    if all(isinstance(v, Known) for v in values):
        return Known(np.stack([v.array for v in values]))
    rows = [structure.reshape(v, (1, *v.shape)) if not isinstance(v, Known)
            else Known(v.array[None]) for v in values]  # fmt: skip
    return structure.concatenate(reader, rows, 0)


# -- recurrence ------------------------------------------------------------------------------------


def _refuse(problem: str) -> UnsupportedError:
    return UnsupportedError(
        problem,
        needed="h = s(W h + U x + b) from h = 0, forwards, returning h or all h",
        cause="GRU, LSTM and other cells share weights in ways that are not covered",
    )


def _recurrence(
    reader: Reader, step: Any, carry: list[Any], over: list[Any], *, reverse: bool
) -> list[Any]:
    if any(reader.is_batch(a) for o in over if isinstance(o, Value) for a in refine(o.axes[0])):
        raise UnsupportedError(
            "A scan or lax.map runs over the inputs of the batch.", suggestion="jax.vmap"
        )
    sequences = [reader.settled(o) for o in over if isinstance(o, Value)]
    if reverse or len(sequences) != len(over) or len(over) != 1 or len(carry) != 1:
        raise _refuse("A scan over a sequence is no Elman recurrence.")
    sequence, start = sequences[0], carry[0]
    source: Draft = sequence.base
    time = refine(sequence.axes[0])
    if time != source.position_atoms:
        raise _refuse("A scan over a sequence runs over something else than its positions.")
    if not isinstance(start, Known) or np.any(start.array != 0) or len(start.shape) != 2:
        raise _refuse("A recurrence begins with something else than zeros.")
    state = reader.node(State(), (), (), fresh(start.shape[1]))
    here = reader.node(State(), (), (), source.channels)
    before = Value(state, ((reader.batch,), state.channels))
    carried, returned = step([before], [Value(here, sequence.axes[1:])])
    if not isinstance(carried[0], Value):
        raise _refuse("A recurrence does not return its state.")
    after = reader.settled(carried[0])
    made = _elman(reader, after.base, state, here, source)
    channels = after.base.channels
    made = made.changed(channels=channels)
    last = reader.selected(made, np.array([time_length(source) - 1]), time_length(source), ())
    out: list[Any] = [Value(last, after.axes)]
    for value in returned:
        if (
            isinstance(value, Value)
            and value.base is carried[0].base
            and (value.expression is carried[0].expression)
        ):
            out.append(Value(made, (time, *value.axes)))
        else:
            raise _refuse("A recurrence returns something else than its state at every step.")
    return out


def time_length(draft: Draft) -> int:
    """How many steps a sequence has."""
    return int(np.prod([a.size for a in draft.position_atoms]))


def _elman(reader: Reader, after: Draft, state: Draft, here: Draft, source: Draft) -> Draft:
    root = simplified(after)
    if not isinstance(root.layer, Activation):
        raise _refuse("The state of a recurrence is not an activation of W h + U x + b.")
    function, inside = root.layer.function, root.inputs[0]
    terms = list(inside.inputs) if isinstance(inside.layer, Sum) else [inside]
    uses: dict[str, Use] = {}
    biases: list[Use] = []
    for term in terms:
        source = _term(term, state, here, source, uses, biases)
    if set(uses) != {"weight", "input"} or len(biases) > 2:
        raise _refuse("The state of a recurrence is not an activation of W h + U x + b.")
    uses |= dict(zip(("bias", "bias_2"), biases, strict=False))
    width = state.channel_atoms
    layer = Recurrent(int(np.prod([a.size for a in width])), function)
    return reader.node(layer, (source,), (source.position_atoms,), width, **uses)


def _term(
    term: Draft,
    state: Draft,
    here: Draft,
    source: Draft,
    uses: dict[str, Use],
    biases: list[Use],
) -> Draft:
    """Take a summand into `uses` and `biases`; the sequence that the recurrence reads."""
    if isinstance(term.layer, Bias):
        biases.append(term.uses["weight"])
        return source
    if term is here:  # U x + b, computed before the scan
        outside = simplified(source)
        if isinstance(outside.layer, Dense) and "input" not in uses:
            _take(outside, "input", uses, biases)
            return outside.inputs[0]
    elif isinstance(term.layer, Dense):
        before = term.inputs[0]
        if before is state and "weight" not in uses:
            _take(term, "weight", uses, biases)
            return source
        if before is here and "input" not in uses:
            _take(term, "input", uses, biases)
            return source
        if isinstance(before.layer, Join) and set(before.inputs) == {state, here} and not uses:
            _split(term, before, state, uses)
            biases += [term.uses["bias"]] if "bias" in term.uses else []
            return source
    raise _refuse("The state of a recurrence is not an activation of W h + U x + b.")


def _take(draft: Draft, name: str, uses: dict[str, Use], biases: list[Use]) -> None:
    uses[name] = draft.uses["weight"]
    if "bias" in draft.uses:
        biases.append(draft.uses["bias"])


def _split(term: Draft, joined: Draft, state: Draft, uses: dict[str, Use]) -> None:
    """One weight for (h, x) side by side, as two."""
    use = term.uses["weight"]
    start = 0
    for part in joined.inputs:
        size = int(np.prod([a.size for a in part.channel_atoms]))
        rows = (slice(start, start + size), slice(None))
        parameter: Parameter = use.parameter.seen(use.parameter.view.slice(rows))
        uses["weight" if part is state else "input"] = Use(parameter, use.factor)
        start += size
