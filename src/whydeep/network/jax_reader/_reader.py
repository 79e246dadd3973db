"""Nodes from values: what an expression, a learned offset or a join of values becomes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from whydeep.errors import UnsupportedError
from whydeep.network._layers import Constant, Layer
from whydeep.network._positions import Mix
from whydeep.network.jax_reader._activation import elementwise_layers
from whydeep.network.jax_reader._axes import Atom, Axes, fresh, pair, refine, sizes
from whydeep.network.jax_reader._draft import (
    Bias,
    Computed,
    Draft,
    Known,
    Scores,
    Source,
    Value,
    refuse_computed,
)
from whydeep.network.jax_reader._expression import VALUE
from whydeep.network.jax_reader._leaves import Parameter, Use

__all__ = ["Reader"]

_LARGEST_MAP = 2**24  # entries of a matrix over positions: 128 MB


class Reader:
    """What is shared while one function is read.

    Args:
        batch: how many inputs the traced batch has.
        tolerance: relative, of the constants in the code.
    """

    def __init__(self, batch: int, tolerance: float) -> None:
        self.batch = Atom(batch)
        self.tolerance = tolerance
        self.place = ""
        self.made: dict[Any, Draft] = {}
        self.causal: dict[Scores, Scores] = {}
        self.pieces: dict[Any, tuple[Atom, ...]] = {}

    # -- atoms -------------------------------------------------------------------------------------

    def is_batch(self, atom: Atom) -> bool:
        """Whether the atom counts inputs."""
        return atom in refine((self.batch,))

    def owns(self, value: Value, atom: Atom) -> bool:
        """Whether the value changes along this atom."""
        return self.is_batch(atom) or atom in value.base.atoms

    def merged(self, values: list[Value]) -> Axes:
        """Common axes of values of equal shape: of each atom, that of the first who owns it."""
        axes = []
        for number in range(len(values[0].axes)):
            column = refine(values[0].axes[number])
            owner = [values[0]] * len(column)
            for value in values[1:]:
                pairs = pair(column, value.axes[number])
                owners = [w for w, a in zip(owner, column, strict=True) for _ in refine((a,))]
                kept = []
                for k, (mine, theirs) in enumerate(pairs):
                    takes = not self.owns(owners[k], mine) and self.owns(value, theirs)
                    kept.append(theirs if takes else mine)
                    owners[k] = value if takes else owners[k]
                column, owner = tuple(kept), owners
            axes.append(column)
        return tuple(axes)

    def aligned(self, values: list[Value]) -> bool:
        """Whether values of one base have it in the same place everywhere."""
        axes = self.merged(values)
        for value in values:
            for mine, common in zip(value.axes, axes, strict=True):
                for a, b in pair(mine, common):
                    if a is not b and self.owns(value, a):
                        return False
        return True

    def piece(self, atom: Atom, picked: np.ndarray) -> tuple[Atom, ...]:
        """What is left of an atom when some entries are picked: the same wherever it is done."""
        key = (atom, picked.tobytes())
        if key not in self.pieces:
            self.pieces[key] = fresh(len(picked))
        return self.pieces[key]

    # -- nodes -------------------------------------------------------------------------------------

    def node(
        self,
        layer: Layer,
        inputs: tuple[Draft, ...],
        positions: Axes,
        channels: tuple[Atom, ...],
        **uses: Use,
    ) -> Draft:
        """A new node."""
        return Draft(layer, inputs, positions, channels, dict(uses), self.place)

    def like(self, layer: Layer, source: Draft, **uses: Use) -> Draft:
        """A node that keeps the positions and channels of its input."""
        return self.node(layer, (source,), source.positions, source.channels, **uses)

    def once(self, key: Any, make: Any) -> Draft:
        """The node made before under this key, or a new one: what is written twice is one node."""
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]

    def liked(self, layer: Layer, source: Draft) -> Draft:
        """`like`, but one node however often it is written."""
        return self.once((source, layer), lambda: self.like(layer, source))

    def materialise(self, value: Value) -> Draft:
        """The node that computes the value."""
        base = value.base
        if not isinstance(base, Draft):
            raise UnsupportedError(
                "Attention logits are used for something else than a softmax and values.",
                needed="softmax(scale * q . k) applied to values, or the logits themselves applied",
            )
        if isinstance(base.layer, Source) and base.layer.tokens:
            raise UnsupportedError(
                "Whole numbers of the input are used in arithmetic.",
                needed="an embedding that looks them up, or an input of real numbers",
            )
        if value.expression.statistics or value.gain is not None:
            raise UnsupportedError(_unfinished(value), received=f"behind {base.place}")
        if value.expression is VALUE:
            return base

        def make() -> Draft:
            out = base
            for layer in elementwise_layers(value.expression, self.tolerance):
                out = self.like(layer, out)
            return out

        return self.once((base, value.expression), make)

    def settled(self, value: Value) -> Value:
        """The value as that of a node."""
        return Value(self.materialise(value), value.axes)

    # -- positions ---------------------------------------------------------------------------------

    def arranged(self, draft: Draft, positions: Axes) -> Draft:
        """The node with its positions in these dimensions, repeated along atoms it lacks."""
        positions = tuple(refine(axis) for axis in positions)
        if positions == tuple(refine(axis) for axis in draft.positions):
            return draft
        new = [a for axis in positions for a in axis]
        old = list(draft.position_atoms)
        if lost := [a for a in old if a not in new]:
            raise UnsupportedError(
                "Positions of one value are missing in another it is combined with.",
                received=f"a dimension of {lost[0].size}",
            )
        before = math.prod(a.size for a in old)
        if not new:
            rows = np.zeros(1, np.int64)
        else:
            grid = np.indices([a.size for a in new], dtype=np.int64).reshape(len(new), -1)
            steps = [math.prod(a.size for a in old[old.index(a) + 1 :]) if a in old else 0
                     for a in new]  # fmt: skip
            rows = np.tensordot(np.array(steps), grid, 1)
        return self.selected(draft, rows, before, positions)

    def selected(self, draft: Draft, rows: np.ndarray, before: int, positions: Axes) -> Draft:
        """The node at positions number `rows` of `before`; -1 stands for a zero."""
        if len(rows) * before > _LARGEST_MAP:
            raise UnsupportedError(
                "A rearrangement of positions is too large for a matrix.",
                received=f"{before} positions become {len(rows)}",
                needed=f"at most {_LARGEST_MAP} entries",
            )
        matrix = np.zeros((len(rows), before))
        kept = rows >= 0
        matrix[np.flatnonzero(kept), rows[kept]] = 1.0
        shape = sizes(positions)
        key = (draft, "mix", shape, rows.tobytes(), tuple(refine(a) for a in positions))
        return self.once(
            key, lambda: self.node(Mix(matrix, shape), (draft,), positions, draft.channels)
        )

    # -- joins -------------------------------------------------------------------------------------

    def joined(self, layer: Layer, values: list[Value]) -> Value:
        """Values of equal shape added or multiplied."""
        drafts = [self.materialise(v) for v in values]
        largest = max(drafts, key=lambda d: sizes((d.position_atoms,)))
        first = drafts.index(largest)
        common = self.merged([values[first], *values[:first], *values[first + 1 :]])
        lead = drafts[first]
        for value in values:
            for atom in (a for axis in value.axes for a in refine(axis)):
                if any(atom is b for axis in common for b in axis) and not (
                    self.is_batch(atom) or atom in lead.atoms or not self.owns(value, atom)
                ):
                    raise UnsupportedError(
                        "Each of two values has a dimension that the other is repeated along.",
                        received=f"a dimension of {atom.size}",
                    )
        inputs = []
        for value, draft in zip(values, drafts, strict=True):
            same = self._translation(value, common, draft)
            if [same.get(a) for a in lead.channel_atoms] != list(draft.channel_atoms):
                raise UnsupportedError(
                    "Values with other channels, or channels in another order, are combined.",
                    received=f"{sizes((draft.channel_atoms,))[0]} channels beside "
                    f"{sizes((lead.channel_atoms,))[0]}",
                    needed="channels of one value beside the same channels of the other",
                )
            wanted = tuple(tuple(same.get(a, a) for a in refine(p)) for p in lead.positions)
            if not draft.position_atoms:
                wanted = ()
            fits = sizes(draft.positions) in ((), (1,) * len(lead.positions))
            inputs.append(draft if not wanted and fits else self.arranged(draft, wanted))
        return Value(self.node(layer, tuple(inputs), lead.positions, lead.channels), common)

    def _translation(self, value: Value, common: Axes, draft: Draft) -> dict[Atom, Atom]:
        """Own atoms of a value by the atoms that stand for them in common axes."""
        pairs = [
            p for mine, theirs in zip(value.axes, common, strict=True) for p in pair(mine, theirs)
        ]
        return {theirs: mine for mine, theirs in pairs if mine in draft.atoms}

    # -- offsets and factors -----------------------------------------------------------------------

    def attached(self, numbers: Parameter | Known | Computed, axes: Axes, base: Draft) -> Draft:
        """Numbers in the shape of `axes`, as a node to be added to or multiplied with `base`."""
        if isinstance(numbers, Computed):
            raise refuse_computed(numbers)
        atoms = [a for axis in axes for a in refine(axis)]
        shape = [a.size for a in atoms]
        learned = isinstance(numbers, Parameter)
        table = numbers.view.positions() if learned else numbers.array
        table = np.broadcast_to(table, sizes(axes)).reshape(shape)
        varies = {a for k, a in enumerate(atoms) if np.any(table != table.take([0], axis=k))}
        if strange := [a for a in varies if a not in base.atoms]:
            if self.is_batch(strange[0]):
                raise UnsupportedError("Numbers differ from input to input of the batch.")
            raise UnsupportedError(
                "Numbers differ along an axis that the value they meet is repeated along.",
                received=f"an axis of {strange[0].size}",
            )
        positions = tuple(refine(axis) for axis in base.positions)
        if learned:
            self._check_own(base, varies)
            positions = tuple(tuple(a for a in axis if a in varies) for axis in positions)
        positions = positions if any(varies & set(axis) for axis in positions) else ()
        order = [atoms.index(a) for axis in positions for a in axis]
        order += [atoms.index(a) for a in base.channel_atoms]
        rest = [k for k in range(len(atoms)) if k not in order]
        keep = tuple(slice(None) if k in order else slice(0, 1) for k in range(len(atoms)))
        final = (*sizes(positions), sizes((base.channel_atoms,))[0])
        outer = sizes(axes)

        def step(array: np.ndarray) -> np.ndarray:
            array = np.broadcast_to(array, outer).reshape(shape)
            return array[keep].transpose(order + rest).reshape(final)

        if isinstance(numbers, Known):
            values = step(np.asarray(numbers.array, np.float64))
            return self.node(Constant(values), (), positions, base.channels)
        key = ("attach", tuple(shape), tuple(order), final)
        use = Use(numbers.seen(numbers.view.then(key, step)))
        made = self.node(Bias(), (), positions, base.channels, weight=use)
        return made if not positions else self.arranged(made, base.positions)

    def _check_own(self, base: Draft, varies: set[Atom]) -> None:
        if any(a not in varies for a in base.channel_atoms):
            raise UnsupportedError(
                "One learned number serves several channels.",
                needed="a number of its own for every channel: only then is there a limit of "
                "large width",
                suggestion="a constant instead, if it is not learned",
            )


def _unfinished(value: Value) -> str:
    kinds = {s.kind for s in value.expression.statistics}
    if "max" in kinds:
        return (
            "A softmax or a maximum over channels is not part of a network that has a kernel: "
            "let the function return logits."
        )
    return (
        "A sum or mean over channels is no normalisation that can be read: LayerNorm, RMSNorm "
        "and GroupNorm are, with eps inside the square root."
    )
