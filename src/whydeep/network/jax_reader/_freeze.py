"""From the graph as it was read to a `Network`: variances, rates, labels; no weight used twice."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from whydeep.errors import UnsupportedError
from whydeep.network._convolution import Conv, ConvTranspose
from whydeep.network._join import Product, Sum
from whydeep.network._layers import Affine, ChannelsLast, Dense, Layer
from whydeep.network._network import INPUT, Network, Node
from whydeep.network._normalisation import BatchNorm
from whydeep.network._positions import Mix
from whydeep.network._sequence import Embedding, PositionalEmbedding, Recurrent
from whydeep.network.jax_reader._axes import sizes
from whydeep.network.jax_reader._draft import Bias, Draft, Gain, OneHot, Pad, Source
from whydeep.network.jax_reader._init import Draws, Law
from whydeep.network.jax_reader._leaves import Use
from whydeep.network.jax_reader._simplify import NORMS, ordered

__all__ = ["Frozen", "frozen", "mean_and_variance"]


@dataclass(frozen=True)
class Frozen:
    """A network and where its parameters come from.

    Args:
        network: the description.
        uses: for every node, its parameters by name ("weight", "bias", "table", "scale", ...).
        laws: the law of every use's leaf.
    """

    network: Network
    uses: tuple[dict[str, Use], ...]
    laws: tuple[dict[str, Law], ...]

    def parameters(self, leaves: Any) -> list[dict[str, np.ndarray]]:
        """The effective parameters of every node, from the leaves of the user's tree."""
        out = []
        for uses, laws in zip(self.uses, self.laws, strict=True):
            own = {}
            for name, use in uses.items():
                numbers = use.numbers(leaves[use.parameter.view.leaf.number])
                # An offset drawn around another number than zero is followed by its mean.
                offset = name in ("bias", "bias_2", "table")
                own[name] = numbers - _mean(use, laws[name]) if offset else numbers
            if "bias_2" in own:
                own["bias"] = own["bias"] + own.pop("bias_2")
            out.append(own)
        return out


def _rules(fan_in: int, fan_out: int) -> dict[str, float]:
    """Variances that initialisers give."""
    rules = {
        "1/fan_in": 1.0 / fan_in, "2/fan_in": 2.0 / fan_in, "1/(3 fan_in)": 1.0 / (3 * fan_in),
        "1/fan_avg": 2.0 / (fan_in + fan_out), "1/fan_out": 1.0 / fan_out,
        "2/fan_out": 2.0 / fan_out, "1": 1.0, "2": 2.0, "0.02^2": 0.02**2, "0.01^2": 0.01**2,
    }  # fmt: skip
    return rules


def mean_and_variance(draws: Draws, use: Use) -> tuple[float, float]:
    """Of the effective numbers, where no rule is asked for."""
    law = draws.law(use, {})
    return _mean(use, law), law.variance * use.scale**2


def _mean(use: Use, law: Law) -> float:
    return use.factor * (use.parameter.scale * law.mean + use.parameter.shift)


def _rate(use: Use) -> float:
    return 0.0 if use.parameter.frozen else use.scale**2


class _Freezer:
    def __init__(self, draws: Draws) -> None:
        self.draws = draws
        self.nodes: list[Node] = []
        self.uses: list[dict[str, Use]] = []
        self.laws: list[dict[str, Law]] = []
        self.fans: dict[int, tuple[int, int]] = {}

    def add(
        self,
        layer: Layer,
        inputs: tuple[int, ...],
        draft: Draft,
        uses: dict[str, Use] | None = None,
    ) -> int:
        uses = uses or {}
        laws = {name: self.law(use, name) for name, use in uses.items()}
        notes = [f"{u.parameter.view.leaf.path}: {laws[n].note}" for n, u in uses.items()]
        label = "; ".join([draft.place, *notes] if draft.place else notes)
        self.nodes.append(Node(layer, inputs, label))
        self.uses.append(uses)
        self.laws.append(laws)
        return len(self.nodes) - 1

    def law(self, use: Use, name: str) -> Law:
        fans = self.fans.get(id(use), (1, 1))
        rules = {} if name in ("scale", "shift") else _rules(*fans)
        return self.draws.law(use, rules)

    def fan(self, uses: dict[str, Use], fan_in: int, fan_out: int) -> None:
        for use in uses.values():
            self.fans[id(use)] = (fan_in, fan_out)

    def variance(self, use: Use, name: str) -> float:
        return self.law(use, name).variance * use.scale**2

    def centred(self, use: Use, name: str, path: str) -> None:
        """Refuse weights whose mean is not zero."""
        law = self.law(use, name)
        mean, spread = _mean(use, law), abs(use.scale) * math.sqrt(law.variance)
        if abs(mean) > 0.1 * spread:
            raise UnsupportedError(
                "The weights of a layer do not have mean zero.",
                received=f"{path}: mean {mean:.4g}, standard deviation {spread:.4g}",
                needed="weights drawn around zero",
            )

    # -- one method for every kind of layer ------------------------------------------------------

    def place(self, draft: Draft, inputs: tuple[int, ...]) -> int:  # noqa: PLR0911 -- cases
        layer = draft.layer
        if isinstance(layer, (Dense, Conv, ConvTranspose)):
            return self.weighted(draft, layer, inputs)
        if isinstance(layer, Embedding):
            return self.embedding(draft, layer, inputs)
        if isinstance(layer, Recurrent):
            return self.recurrent(draft, layer, inputs)
        if isinstance(layer, Bias):
            return self.offset(draft)
        if isinstance(layer, Gain):
            return self.gain(draft, layer, inputs)
        if isinstance(layer, NORMS):
            rates = {f"{n}_lr": _rate(use) for n, use in draft.uses.items()}
            return self.add(dataclasses.replace(layer, **rates), inputs, draft, draft.uses)
        if isinstance(layer, Pad):
            return self.add(_padding(draft, layer), inputs, draft)
        if isinstance(layer, OneHot):
            raise UnsupportedError("Tokens as unit vectors meet something else than an embedding.")
        return self.add(layer, inputs, draft)

    def weighted(self, draft: Draft, layer: Any, inputs: tuple[int, ...]) -> int:
        weight, bias = draft.uses["weight"], draft.uses.get("bias")
        shape = weight.parameter.view.shape
        fan_in = math.prod(shape[:-1])
        self.fan(draft.uses, fan_in, shape[-1] * math.prod(shape[:-2]))
        self.centred(weight, "weight", weight.parameter.view.leaf.path)
        numbers: dict[str, Any] = {
            "weight_var": fan_in * self.variance(weight, "weight"),
            "weight_lr": fan_in * _rate(weight),
            "bias_var": 0.0 if bias is None else self.variance(bias, "bias"),
            "bias_lr": 0.0 if bias is None else _rate(bias),
        }
        name = "width" if isinstance(layer, Dense) else "channels"
        numbers = {n: _tidy(v) for n, v in numbers.items()} | {name: shape[-1]}
        node = self.add(dataclasses.replace(layer, **numbers), inputs, draft, draft.uses)
        return self.shifted(node, bias, draft)

    def shifted(self, node: int, bias: Use | None, draft: Draft) -> int:
        """A bias that is drawn around another number than zero."""
        mean = 0.0 if bias is None else _mean(bias, self.law(bias, "bias"))
        return node if mean == 0.0 else self.add(Affine(1.0, mean), (node,), draft)

    def embedding(self, draft: Draft, layer: Embedding, inputs: tuple[int, ...]) -> int:
        use = draft.uses["weight"]
        size, width = use.parameter.view.shape
        self.fan(draft.uses, width, size)
        variance = _tidy(self.variance(use, "table"))
        made = dataclasses.replace(layer, size=size, width=width, var=variance, lr=_rate(use))
        node = self.add(made, inputs, draft, {"table": use})
        return self.shifted(node, use, draft)

    def recurrent(self, draft: Draft, layer: Recurrent, inputs: tuple[int, ...]) -> int:
        uses = draft.uses
        width, fan_in = (
            uses["weight"].parameter.view.shape[0],
            uses["input"].parameter.view.shape[0],
        )
        self.fan(uses, width, width)
        self.fan({"input": uses["input"]}, fan_in, width)
        for name in ("weight", "input"):
            self.centred(uses[name], name, uses[name].parameter.view.leaf.path)
        biases = [name for name in ("bias", "bias_2") if name in uses]
        if any(_mean(uses[b], self.law(uses[b], b)) != 0.0 for b in biases):
            raise UnsupportedError("The bias of a recurrence is drawn around a number not zero.")
        made = Recurrent(
            width, layer.activation,
            _tidy(width * self.variance(uses["weight"], "weight")),
            _tidy(fan_in * self.variance(uses["input"], "input")),
            _tidy(sum(self.variance(uses[b], b) for b in biases)),
            weight_lr=width * _rate(uses["weight"]), input_lr=fan_in * _rate(uses["input"]),
            bias_lr=sum(_rate(uses[b]) for b in biases),
        )  # fmt: skip
        return self.add(made, inputs, draft, uses)

    def offset(self, draft: Draft) -> int:
        use = draft.uses["weight"]
        width = use.parameter.view.shape[-1]
        self.fan(draft.uses, width, width)
        variance = _tidy(self.variance(use, "table"))
        made = PositionalEmbedding(sizes(draft.positions), width, variance, _rate(use))
        node = self.add(made, (), draft, {"table": use})
        return self.shifted(node, use, draft)

    def gain(self, draft: Draft, layer: Gain, inputs: tuple[int, ...]) -> int:
        use = draft.uses["scale"]
        law = self.law(use, "scale")
        mean = _mean(use, law)
        if law.variance == 0.0:
            shift = draft.uses.get("shift")
            stored = _tidy(layer.scale**-2)
            eps = _tidy(stored - 1.0) if 0.0 < stored - 1.0 < 0.1 and layer.shift == 0.0 else 0.0
            made = BatchNorm(
                eps=eps, mean=-layer.shift / layer.scale, var=1.0 if eps else stored,
                scale=mean, scale_lr=_rate(use),
                shift=0.0 if shift is None else _mean(shift, self.law(shift, "shift")),
                shift_lr=0.0 if shift is None else _rate(shift),
            )  # fmt: skip
            return self.add(made, inputs, draft, draft.uses)
        if layer != Gain():
            inputs = (self.add(Affine(layer.scale, layer.shift), inputs, draft),)
        width = use.parameter.view.shape[-1]
        drawn = PositionalEmbedding((), width, law.variance * use.scale**2, _rate(use))
        factor = self.add(drawn, (), draft, {"table": use})
        product = self.add(Product(), (inputs[0], factor), draft)
        if mean == 0.0:
            return product
        straight = inputs[0] if mean == 1.0 else self.add(Affine(mean), inputs, draft)
        return self.add(Sum(), (straight, product), draft)


def _tidy(value: float) -> float:
    """Without the rounding of single precision, ``sqrt(8)^2 / 8`` for example, and of products."""
    for short in (float(f"{value:.6g}"), float(Fraction(value).limit_denominator(64))):
        if abs(short - value) <= 4e-7 * abs(value):
            return short
    return value


def _padding(draft: Draft, layer: Pad) -> Mix:
    before = sizes(draft.inputs[0].positions)
    count = math.prod(before)
    grid = np.pad(np.arange(count).reshape(before), layer.pads, constant_values=-1)
    if grid.size * count > 2**24:
        raise UnsupportedError("A padding of very many positions that no convolution follows.")
    matrix = np.zeros((grid.size, count))
    rows = np.flatnonzero(grid.ravel() >= 0)
    matrix[rows, grid.ravel()[rows]] = 1.0
    return Mix(matrix, grid.shape)


def frozen(root: Draft, draws: Draws, *, channels_first: bool) -> Frozen:
    """The network whose output is `root`."""
    order = ordered(root)
    _check_shared(order)
    freezer = _Freezer(draws)
    numbers: dict[Draft, int] = {}
    if not any(isinstance(d.layer, Source) for d in order):
        raise UnsupportedError("The function does not depend on its input.")
    for draft in order:
        if isinstance(draft.layer, Source):
            numbers[draft] = INPUT
            if channels_first:
                numbers[draft] = freezer.add(ChannelsLast(), (INPUT,), draft)
        else:
            inputs = tuple(numbers[d] for d in draft.inputs)
            try:
                numbers[draft] = freezer.place(draft, inputs)
            except UnsupportedError as error:
                if not draft.place or draft.place in error.received:
                    raise
                raise UnsupportedError(
                    error.problem, received=f"{draft.place}: {error.received}",
                    needed=error.needed, cause=error.cause, suggestion=error.suggestion,
                ) from error  # fmt: skip
    if not freezer.nodes:
        raise UnsupportedError("The function returns its input.")
    return Frozen(Network(tuple(freezer.nodes)), tuple(freezer.uses), tuple(freezer.laws))


def _check_shared(order: list[Draft]) -> None:
    """Refuse a leaf of which a number is used twice."""
    by_leaf: dict[int, list[tuple[Draft, Use]]] = {}
    for draft in order:
        for use in draft.uses.values():
            by_leaf.setdefault(use.parameter.view.leaf.number, []).append((draft, use))
    for uses in by_leaf.values():
        leaf = uses[0][1].parameter.view.leaf
        once = len(uses) == 1 and uses[0][1].parameter.view.whole
        if once:
            continue
        count = np.zeros(math.prod(leaf.shape), np.int32)
        for _, use in uses:
            np.add.at(count, use.parameter.view.positions().ravel(), 1)
        if count.size and count.max() > 1:
            places = list(dict.fromkeys(f"{type(d.layer).__name__} at {d.place}" for d, _ in uses))
            raise UnsupportedError(
                "A parameter is used more than once.",
                received=f"{leaf.path}: " + " and ".join(places),
                needed="weights of its own for every layer",
                cause="tied weights, a layer applied twice, or a recurrence written as a loop",
                suggestion="jax.lax.scan for a recurrence h = s(W h + U x + b)",
            )
