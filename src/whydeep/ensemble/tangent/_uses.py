"""Where each array of parameters meets the values: the structure its derivatives have.

If a leaf W is used once, as ``y = h W`` with h made of the example, then ``dy/dW`` is an outer
product, ``df_i/dW = sum_p h_p (x) delta_ip`` with ``delta_i = df_i/dy``, and neither it nor its
products need be formed to know the sums over W that the tangent kernel is made of. What is found
here holds exactly; every other leaf (one used twice, or inside a loop) is `Whole`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from whydeep.ensemble.tangent._program import Program, Step
from whydeep.ensemble.tangent._separable import Head, find_head

__all__ = ["Convolution", "Lookup", "Offset", "Outer", "Tapped", "Use", "Whole", "find_uses"]


@dataclass(frozen=True)
class Use:
    """One leaf and how it is used.

    Args:
        leaf: its place among the leaves.
        scale: it is used times this number.
    """

    leaf: int
    scale: float = 1.0


@dataclass(frozen=True)
class Whole(Use):
    """Any use: derivatives of every example with respect to the whole leaf are computed."""


@dataclass(frozen=True)
class Tapped(Use):
    """A use whose result's derivatives, delta, tell those of the leaf.

    Args:
        tap: the number of the result.
        head: how the outputs depend on it, where that is simple.
    """

    tap: int = -1
    head: Head | None = None


@dataclass(frozen=True)
class Outer(Tapped):
    """A product ``h W`` summed over some axes.

    Args:
        factor: the number of h.
        axes: of h: those shared with W and the result, those of h alone, those summed over.
        tap_axes: of the result: shared, of h alone, of W alone.
    """

    factor: int = -1
    axes: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] = ((), (), ())
    tap_axes: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] = ((), (), ())


@dataclass(frozen=True)
class Convolution(Tapped):
    """A convolution of h with W.

    Args:
        factor: the number of h.
        step: the operation.
    """

    factor: int = -1
    step: Step | None = None


@dataclass(frozen=True)
class Lookup(Tapped):
    """Rows of W, chosen by whole numbers.

    Args:
        indices: the number of the indices, (..., 1).
        rows: how many W has.
        drops: whether indices out of range give no row; otherwise they give the nearest.
        tap_axes: of the result: those of the indices, those of a row.
    """

    indices: int = -1
    rows: int = 0
    drops: bool = False
    tap_axes: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())


@dataclass(frozen=True)
class Offset(Tapped):
    """W added to something, repeated along some axes.

    Args:
        axes: of the result along which W is repeated.
    """

    axes: tuple[int, ...] = ()


@dataclass(frozen=True)
class _View:
    """A leaf times a number, its entries in another arrangement, each exactly once.

    Or repeated along `axes`: then it may only be added to something.
    """

    leaf: int
    scale: float
    axes: tuple[int, ...] = ()


def find_uses(program: Program, chosen: Sequence[int], whole: Sequence[int]) -> list[Use]:
    """How each of the chosen leaves is used; those that are not are left out.

    Args:
        program: of parameters and one example.
        chosen: leaves that derivatives are taken of.
        whole: those among them that must be `Whole`.
    """
    walk = _Walk(program, set(chosen))
    for step in program.steps:
        walk.meet(step)
    uses: list[Use] = []
    for leaf in chosen:
        found = walk.uses[leaf]
        if not found and leaf not in walk.escaped:
            continue  # no output depends on it
        single = len(found) == 1 and leaf not in whole and leaf not in walk.escaped
        uses.append(found[0] if single else Whole(leaf))
    shared = [_shared(program, walk, use) for use in uses]
    return [_headed(program, walk, use) for use in shared]


def _shared(program: Program, walk: _Walk, use: Use) -> Use:
    """The tap moved to what its value goes into, a sum or a multiple, if it goes nowhere else.

    Layers with a bias, or of several products, have one delta then.
    """
    if not isinstance(use, Tapped):
        return use
    tap, scale = use.tap, use.scale
    while len(users := walk.users.get(tap, [])) == 1 and tap != program.output:
        (step,) = users
        if len(set(step.ins)) != 2 or program.shapes[step.outs[0]] != program.shapes[tap]:
            break
        number = walk.number(step.ins[1 - step.ins.index(tap)])
        if step.name == "mul" and number is not None:
            scale *= number
        elif step.name == "div" and number and step.ins[0] == tap:
            scale /= number
        elif step.name != "add" and not (step.name == "sub" and step.ins[0] == tap):
            break
        tap = step.outs[0]
    return dataclasses.replace(use, tap=tap, scale=scale)


def _headed(program: Program, walk: _Walk, use: Use) -> Use:
    """With the head behind its tap, if there is one."""
    if isinstance(use, Outer):
        channels = use.tap_axes[2] if not use.tap_axes[0] else ()
    elif isinstance(use, Convolution) and use.step is not None:
        single = use.step.options["feature_group_count"] == 1
        channels = (int(use.step.options["dimension_numbers"].out_spec[1]),) if single else ()
    else:
        return use
    if not channels:
        return use
    head = find_head(program, use.tap, channels, walk.varies, walk.number)
    return dataclasses.replace(use, head=head)


class _Walk:
    """One pass over the operations."""

    def __init__(self, program: Program, chosen: set[int]) -> None:
        self.program = program
        self.known: dict[int, Any] = dict(program.constants)
        self.views: dict[int, _View] = {}
        self.depends: dict[int, frozenset[int]] = {}  # on which of the chosen leaves
        self.varies: set[int] = set(program.inputs)  # with the example
        self.uses: dict[int, list[Use]] = {leaf: [] for leaf in chosen}
        self.escaped: set[int] = set()
        self.users: dict[int, list[Step]] = {}
        for leaf in chosen:
            number = program.parameters[leaf]
            self.views[number] = _View(leaf, 1.0)
            self.depends[number] = frozenset((leaf,))
        if program.output in self.views:
            self.escaped.add(self.views[program.output].leaf)

    def meet(self, step: Step) -> None:
        for number in step.ins:
            self.users.setdefault(number, []).append(step)
        self._fold(step)
        views = [i for i in step.ins if i in self.views]
        leaves: frozenset[int] = frozenset().union(*(self.depends.get(i, ()) for i in step.ins))
        varies = any(i in self.varies for i in step.ins)
        for out in step.outs:
            self.depends[out] = leaves
            if varies:
                self.varies.add(out)
        view = self._view(step) if len(views) == 1 else None
        if view is not None:
            self.views[step.outs[0]] = view
            if step.outs[0] == self.program.output:
                self.escaped.add(view.leaf)
            return
        for number in views:
            use = self._use(step, number) if len(views) == 1 else None
            leaf = self.views[number].leaf
            self.uses[leaf].append(use or Whole(leaf))

    def _fold(self, step: Step) -> None:
        """Small numbers computed from known ones, such as 1 / sqrt(width), are known."""
        size = sum(math.prod(self.program.shapes[o].shape) for o in step.outs)
        if size == 1 and len(step.ins) > 0 and all(i in self.known for i in step.ins):
            self.known[step.outs[0]] = step.run([self.known[i] for i in step.ins])[0]

    def number(self, index: int) -> float | None:
        """The value if it is one known real number."""
        value = self.known.get(index)
        if value is None or not jnp.issubdtype(self.program.shapes[index].dtype, jnp.floating):
            return None
        array = np.asarray(value, np.float64)
        first = array.flat[0] if array.size else None
        if first is None or not np.isfinite(first) or not np.all(array == first):
            return None
        return float(first)

    # -- the same entries once each ----------------------------------------------------------------

    def _view(self, step: Step) -> _View | None:
        place = next(k for k, i in enumerate(step.ins) if i in self.views)
        view = self.views[step.ins[place]]
        old, new = self.program.shapes[step.ins[place]], self.program.shapes[step.outs[0]]
        if not (
            jnp.issubdtype(old.dtype, jnp.floating) and jnp.issubdtype(new.dtype, jnp.floating)
        ):
            return None
        found = None
        if step.name in ("reshape", "squeeze", "expand_dims", "transpose", "rev", "copy", "copy_p",
                         "convert_element_type", "neg") and len(step.ins) == 1:  # fmt: skip
            found = view if not view.axes or step.name in ("convert_element_type", "copy") else None
            if found is not None and step.name == "neg":
                found = _View(view.leaf, -view.scale)
        elif step.name == "broadcast_in_dim" and len(step.ins) == 1 and not view.axes:
            found = _View(view.leaf, view.scale, _repeated(step, old.shape))
        elif new.shape != old.shape:
            return None  # repeated along axes of length one by an elementwise operation
        elif step.name in ("mul", "div"):
            number = self.number(step.ins[1 - place])
            if number is not None and (step.name == "mul" or (place == 0 and number != 0)):
                factor = number if step.name == "mul" else 1.0 / number
                found = _View(view.leaf, view.scale * factor, view.axes)
        elif step.name in ("add", "sub") and not view.axes:
            other = step.ins[1 - place]
            if other not in self.varies and view.leaf not in self.depends.get(other, ()):
                sign = -1.0 if step.name == "sub" and place == 1 else 1.0
                found = _View(view.leaf, sign * view.scale)
        return found

    # -- where the entries meet values -------------------------------------------------------------

    def _use(self, step: Step, number: int) -> Use | None:
        view = self.views[number]
        if step.ins.count(number) > 1 or len(step.outs) != 1:
            return None
        place = step.ins.index(number)
        if step.name in ("add", "sub"):
            sign = -1.0 if step.name == "sub" and place == 1 else 1.0
            old, new = (self.program.shapes[k].shape for k in (number, step.outs[0]))
            if len(old) != len(new):
                return None
            repeated = tuple(a for a in range(len(new)) if old[a] != new[a] or a in view.axes)
            return Offset(view.leaf, sign * view.scale, tap=step.outs[0], axes=repeated)
        others = [i for k, i in enumerate(step.ins) if k != place]
        if view.axes or (others and others[0] not in self.varies):
            return None
        found = None
        if step.name == "dot_general":
            found = _product(self.program, step, place, view)
        elif step.name == "conv_general_dilated" and place == 1:
            if step.options["batch_group_count"] == 1:
                found = Convolution(
                    view.leaf, view.scale, tap=step.outs[0], factor=step.ins[0], step=step
                )
        elif step.name == "gather" and place == 0:
            found = _lookup(self.program, step, view)
        return found


def _repeated(step: Step, old: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of the result along which entries are repeated."""
    shape = tuple(step.options["shape"])
    kept = {int(axis): old[k] for k, axis in enumerate(step.options["broadcast_dimensions"])}
    return tuple(a for a, n in enumerate(shape) if kept.get(a, 1) != n)


def _product(program: Program, step: Step, place: int, view: _View) -> Outer:
    contracted, shared = step.options["dimension_numbers"]
    other = 1 - place
    dims = len(program.shapes[step.ins[other]].shape)
    own_dims = len(program.shapes[step.ins[place]].shape)
    group, summed = tuple(map(int, shared[other])), tuple(map(int, contracted[other]))
    free = tuple(a for a in range(dims) if a not in group and a not in summed)
    columns = own_dims - len(group) - len(summed)
    # The result has the shared axes, then those of the left operand, then those of the right one.
    order = (len(free), columns) if place == 1 else (columns, len(free))
    first = tuple(range(len(group), len(group) + order[0]))
    second = tuple(range(len(group) + order[0], len(group) + sum(order)))
    rows, out = (first, second) if place == 1 else (second, first)
    return Outer(
        view.leaf, view.scale, tap=step.outs[0], factor=step.ins[other],
        axes=(group, free, summed), tap_axes=(tuple(range(len(group))), rows, out),
    )  # fmt: skip


def _lookup(program: Program, step: Step, view: _View) -> Lookup | None:
    numbers, sizes = step.options["dimension_numbers"], tuple(step.options["slice_sizes"])
    shape: Any = program.shapes[step.ins[0]].shape
    indices: Any = program.shapes[step.ins[1]].shape
    whole_rows = (
        tuple(numbers.collapsed_slice_dims) == (0,)
        and tuple(numbers.start_index_map) == (0,)
        and not numbers.operand_batching_dims
        and sizes == (1, *shape[1:])
        and indices[-1] == 1
    )
    if not whole_rows:
        return None
    row = tuple(int(a) for a in numbers.offset_dims)
    dims = len(program.shapes[step.outs[0]].shape)
    places = tuple(a for a in range(dims) if a not in row)
    drops = "FILL" in str(step.options["mode"])
    return Lookup(
        view.leaf, view.scale, tap=step.outs[0], indices=step.ins[1], rows=int(shape[0]),
        drops=drops, tap_axes=(places, row),
    )  # fmt: skip
