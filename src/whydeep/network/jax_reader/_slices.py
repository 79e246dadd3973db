"""Slices: of positions, a fixed map; of channels, a slice of the weights that make them."""

from __future__ import annotations

import math

import numpy as np

from whydeep.errors import UnsupportedError
from whydeep.network._convolution import Conv, ConvTranspose
from whydeep.network._join import Product, Sum
from whydeep.network._layers import Activation, Affine, Constant, Dense, Dropout
from whydeep.network._positions import (
    AvgPool,
    GlobalAvgPool,
    GlobalSumPool,
    MaxPool,
    Mix,
    SumPool,
)
from whydeep.network._sequence import Embedding
from whydeep.network.jax_reader._axes import Atom, pair, refine
from whydeep.network.jax_reader._draft import Bias, Draft, Gain, Pad, Value
from whydeep.network.jax_reader._leaves import Use
from whydeep.network.jax_reader._reader import Reader

__all__ = ["taken"]

_CHANNELWISE = (Activation, Affine, Dropout, Mix, AvgPool, MaxPool, SumPool, GlobalAvgPool,
                GlobalSumPool, Pad, Sum, Product, Gain)  # fmt: skip
_WEIGHTED = (Dense, Conv, ConvTranspose, Embedding)


def taken(reader: Reader, value: Value, axis: int, start: int, stop: int, step: int = 1) -> Value:
    """A slice of one array axis of a value."""
    atoms = refine(value.axes[axis])
    whole = math.prod(a.size for a in atoms)
    places = range(start, stop, step)
    if len(places) == whole and step == 1:
        return value
    atom, picked = _one_atom(atoms, places)
    new = reader.piece(atom, picked)
    if not reader.owns(value, atom):
        base = value.base
    elif reader.is_batch(atom):
        raise UnsupportedError("Some inputs of the batch are picked out.")
    elif not isinstance(value.base, Draft):
        raise UnsupportedError("Attention logits are sliced.")
    else:
        _whole_statistics(value)
        if atom in value.base.channel_atoms:
            base = _channels(reader, value.base, atom, new, picked)
        else:
            base = _positions(reader, value.base, atom, new, picked)
    axes = list(value.axes)
    axes[axis] = tuple(b for a in atoms for b in (new if a is atom else (a,)))
    return Value(base, tuple(axes), value.expression, value.gain)


def _whole_statistics(value: Value) -> None:
    if value.expression.statistics or value.gain is not None:
        raise UnsupportedError("A value is sliced in the middle of a normalisation.")


def _one_atom(atoms: tuple[Atom, ...], places: range) -> tuple[Atom, np.ndarray]:
    """The one atom a slice of these atoms picks from, and which of its entries."""
    whole = math.prod(a.size for a in atoms)
    grid = np.arange(whole).reshape([a.size for a in atoms])
    wanted = np.asarray(places)
    for k, atom in enumerate(atoms):
        entries = np.unique((wanted // math.prod(a.size for a in atoms[k + 1 :])) % atom.size)
        if entries.size < atom.size and np.array_equal(np.take(grid, entries, k).ravel(), wanted):
            return atom, entries
    # A block inside one axis: split the axis so that the block is an entry of it.
    size = len(wanted)
    if len(atoms) == 1 and places.step == 1 and whole % size == 0 and places.start % size == 0:
        outer, _ = atoms[0].split(whole // size)
        return outer, np.array([places.start // size])
    if len(atoms) == 1:
        return atoms[0], wanted
    raise UnsupportedError("A slice cuts across merged axes.", received=f"{places} of {whole}")


def _positions(
    reader: Reader, draft: Draft, atom: Atom, new: tuple[Atom, ...], picked: np.ndarray
) -> Draft:
    def swapped(axis: tuple[Atom, ...]) -> tuple[Atom, ...]:
        return tuple(b for a in refine(axis) for b in (new if a is atom else (a,)))

    positions = tuple(
        swapped(axis) for axis in draft.positions if swapped(axis) or atom not in refine(axis)
    )
    old = draft.position_atoms
    grid = np.arange(math.prod(a.size for a in old)).reshape([a.size for a in old])
    rows = np.take(grid, picked, old.index(atom)).ravel()
    key = (draft, "position", atom, picked.tobytes())
    return reader.once(key, lambda: reader.selected(draft, rows, grid.size, positions))


def _channels(
    reader: Reader, draft: Draft, atom: Atom, new: tuple[Atom, ...], picked: np.ndarray
) -> Draft:
    """The node with only some of its channels: those of the weights that make them."""
    key = (draft, "channels", atom, picked.tobytes())
    return reader.once(key, lambda: _made(reader, draft, atom, new, picked))


def _made(
    reader: Reader, draft: Draft, atom: Atom, new: tuple[Atom, ...], picked: np.ndarray
) -> Draft:
    old = draft.channel_atoms
    channels = tuple(b for a in old for b in (new if a is atom else (a,)))
    layer = draft.layer
    grid = np.arange(math.prod(a.size for a in old)).reshape([a.size for a in old])
    places = np.take(grid, picked, old.index(atom)).ravel()
    if isinstance(layer, _CHANNELWISE):
        inputs = tuple(_input(reader, draft, source, atom, picked) for source in draft.inputs)
    elif isinstance(layer, (*_WEIGHTED, Bias, Constant)):
        inputs = draft.inputs
    else:
        raise UnsupportedError(
            f"Channels are sliced behind a {type(layer).__name__}.",
            received=f"{places.size} of {grid.size} channels",
            needed="slices of what a Dense, Conv or Embedding makes, elementwise steps between",
        )
    if isinstance(layer, Constant):
        layer = Constant(np.take(layer.array.values, places, -1))
    uses = {name: _sliced(use, tuple(places.tolist())) for name, use in draft.uses.items()}
    return draft.changed(layer=layer, inputs=inputs, channels=channels, uses=uses)


def _sliced(use: Use, places: tuple[int, ...]) -> Use:
    view = use.parameter.view
    parameter = use.parameter.seen(view.take(places, len(view.shape) - 1))
    return Use(parameter, use.factor)


def _input(reader: Reader, draft: Draft, source: Draft, atom: Atom, picked: np.ndarray) -> Draft:
    theirs = dict(pair(draft.channels, source.channels))[atom]
    return _channels(reader, source, theirs, reader.piece(theirs, picked), picked)
