"""A continuous piecewise-linear function: affine maps and kinks in turn, with their numbers."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from whydeep.arguments import NUMBER, array, as_numbers, each, takes, text
from whydeep.errors import InputError, UnsupportedError
from whydeep.geometry.pieces._kinks import Kink, named_kink
from whydeep.geometry.pieces._maps import AffineMap, Matrix
from whydeep.results import by_content

__all__ = ["PiecewiseLinear", "from_layers"]

_NOT_FINITE = "a training that diverged, or memory that nothing was written to"
_LEAST = 1e-290  # below it, numbers lose digits


@by_content
@dataclass(frozen=True, eq=False)
class PiecewiseLinear:
    """A continuous piecewise-linear function of one input, in float64.

    ``state_1 = map_0(x)``; then kink k acts on the first columns of state k, the others pass, and
    map k makes the next state of both; the last map gives the outputs. Made by
    `whydeep.geometry.piecewise_linear` from a module or a JAX function, and by `from_layers`.

    Args:
        shape: of one input.
        outputs: shape of one output.
        maps: affine, one more than the kinks.
        kinks: in the order in which they are applied; `names` are theirs.

    Raises:
        InputError: numbers that are not finite.
    """

    shape: tuple[int, ...]
    outputs: tuple[int, ...]
    maps: tuple[AffineMap, ...]
    kinks: tuple[Kink, ...]

    def __post_init__(self) -> None:
        for number, part in enumerate((*self.maps, *self.kinks)):
            arrays = {
                name: value
                for name, value in vars(part).items()
                if isinstance(value, np.ndarray) and not np.isfinite(value).all()
            }
            for name, value in arrays.items():
                bad = int((~np.isfinite(value)).sum())
                where = (
                    f"layer {number + 1}" if number < len(self.maps)
                    else f"kink {number - len(self.maps) + 1}, {part.name}"  # type: ignore[union-attr]
                )  # fmt: skip
                raise InputError(
                    "The function has numbers that are not finite.",
                    received=f"{bad} of {value.size} numbers of the {name} of {where} are NaN or "
                    "infinite",
                    needed="finite weights and biases",
                    cause=_NOT_FINITE,
                )

    def __repr__(self) -> str:
        units = sum(kink.columns for kink in self.kinks)
        return f"<piecewise linear: {self.shape} -> {self.outputs}, {units} kinks>"

    @property
    def names(self) -> tuple[str, ...]:
        """What bends, layer by layer."""
        return tuple(kink.name for kink in self.kinks)

    @functools.cached_property
    def words(self) -> tuple[int, ...]:
        """Where the signs of each kink begin in a packed pattern, in words of 64; their number."""
        starts = np.cumsum([0, *(-(-kink.columns // 64) for kink in self.kinks)])
        return tuple(int(s) for s in starts)

    @property
    def dense(self) -> bool:
        """Whether all maps are matrices, so that nothing but numpy is called."""
        return all(isinstance(m, Matrix) for m in self.maps)

    def rows(self, x: np.ndarray) -> np.ndarray:
        """Inputs (N, *shape) as rows.

        Raises:
            InputError: another shape, or numbers that are not finite.
        """
        array = as_numbers("x", x)
        if array.shape[1:] != self.shape or array.ndim == 0:
            raise InputError(
                "The inputs do not have the shape that the function takes.",
                received=f"shape {array.shape}",
                needed=f"(N, {', '.join(map(str, self.shape))})",
            )
        if not np.isfinite(array).all():
            raise InputError("The inputs have numbers that are not finite.")
        return array.reshape(len(array), math.prod(self.shape))

    def check_range(self, x: np.ndarray) -> None:
        """Refuse inputs (N, *shape) at which values leave the range of float64.

        Raises:
            UnsupportedError: they overflow, or weights that are not 0 give nothing but zeros.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            states = list(self.states(x))
        size = float(np.abs(self.rows(x)).max(initial=0.0))
        for number, (state, affine) in enumerate(zip(states, self.maps, strict=True)):
            lost = False
            if isinstance(affine, Matrix):
                weight, bias = (float(np.abs(a).max(initial=0.0)) for a in vars(affine).values())
                alone, size = size, max(size * weight, bias)
                lost = min(weight, alone) > 0.0 and size < _LEAST
            else:
                size = float(np.abs(state).max(initial=0.0))
            if lost or not np.isfinite(state).all():
                raise UnsupportedError(
                    f"The values of layer {number + 1} leave the range of float64.",
                    received="values below 1e-290" if lost else "infinite values",
                    cause=f"weights that are too {'small' if lost else 'large'} for this depth, or "
                    "inputs that are",
                    suggestion="all weights of a layer and its bias over one number: a network "
                    "with relu then has the same pieces, if the biases of later layers follow",
                )

    def next_state(self, layer: int, state: np.ndarray) -> np.ndarray:
        """From the state of a kink to that of the next one, or to the outputs."""
        kink = self.kinks[layer]
        made = kink.value(state)
        if state.shape[1] > kink.width:
            made = np.concatenate([made, state[:, kink.width :]], axis=1)
        return self.maps[layer + 1](made)

    def extended(self, layer: int, state: np.ndarray, signs: np.ndarray) -> np.ndarray:
        """The same with the pieces that `signs` name, wherever the points are."""
        kink = self.kinks[layer]
        made = kink.extended(state, signs)
        if state.shape[1] > kink.width:
            made = np.concatenate([made, state[:, kink.width :]], axis=1)
        return self.maps[layer + 1](made)

    def states(self, x: np.ndarray) -> Iterator[np.ndarray]:
        """The states of all kinks at inputs (N, *shape), then the outputs as rows."""
        state = self.maps[0](self.rows(x))
        yield state
        for layer in range(len(self.kinks)):
            state = self.next_state(layer, state)
            yield state

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The outputs (N, *outputs) at inputs (N, *shape)."""
        *_, out = self.states(x)
        return out.reshape(len(out), *self.outputs)

    def pattern(self, x: np.ndarray) -> np.ndarray:
        """The packed signs of all splits at inputs (N, *shape): (N, words) whole numbers."""
        found = list(self.states(x))
        packed = [pack(kink.signs(s)) for kink, s in zip(self.kinks, found[:-1], strict=True)]
        return np.concatenate(packed, axis=1) if packed else np.zeros((len(x), 0), np.uint64)

    def signs(self, patterns: np.ndarray, layer: int) -> np.ndarray:
        """The signs of one kink's splits out of packed patterns: (N, columns), true or false."""
        part = np.ascontiguousarray(patterns[:, self.words[layer] : self.words[layer + 1]])
        bits = np.unpackbits(part.view(np.uint8), axis=1, bitorder="little")
        return bits[:, : self.kinks[layer].columns].astype(bool)


def pack(signs: np.ndarray) -> np.ndarray:
    """Signs in words of 64."""
    padded = np.zeros((len(signs), -(-signs.shape[1] // 64) * 64), bool)
    padded[:, : signs.shape[1]] = signs
    packed = np.packbits(padded, axis=1, bitorder="little")
    return packed.view("<u8").astype(np.uint64)


@takes(
    weights=each(array(dims=2, empty=True, cause=_NOT_FINITE)),
    biases=each(array(dims=1, empty=True, cause=_NOT_FINITE)), activation=text, parameters=NUMBER,
)  # fmt: skip
def from_layers(
    weights: Sequence[np.ndarray],
    biases: Sequence[np.ndarray],
    activation: str = "relu",
    *parameters: float,
) -> PiecewiseLinear:
    """A fully connected network from its numbers.

    ``z_l = W_l s_(l-1) + b_l``, ``s_l = activation(z_l)``, the last layer without activation.

    Args:
        weights: W_l, (n_l, n_(l-1)) each, as PyTorch stores them.
        biases: b_l, (n_l,) each.
        activation: "relu", "leaky_relu", "abs", "hard_tanh", "relu6", "clip", "hard_sigmoid" or
            "soft_shrink".
        *parameters: of the activation, such as a slope.

    Raises:
        InputError: an unknown name, shapes that do not fit, no layers, a layer without units,
            numbers that are not finite.

    Example:
        >>> weights = [np.ones((2, 1)), np.ones((1, 2))]
        >>> biases = [np.array([0.0, -1.0]), np.zeros(1)]
        >>> f = from_layers(weights, biases)
        >>> f(np.array([[2.0]]))
        array([[3.]])
    """
    if len(weights) != len(biases) or not len(weights):
        raise InputError(
            "Every layer has a weight and a bias.",
            received=f"{len(weights)} weights, {len(biases)} biases",
            needed="as many of both, one layer or more",
        )
    maps, kinks, before = [], [], (np.shape(weights[0]) or (0,))[-1]
    for number, (w, b) in enumerate(zip(weights, biases, strict=True)):
        weight, bias = w, b
        fits = weight.ndim == 2 and weight.shape[1] == before and bias.shape == weight.shape[:1]
        if not fits or not weight.size:
            raise InputError(
                f"Layer {number + 1} does not fit.",
                received=f"weight {weight.shape}, bias {bias.shape}",
                needed=f"weight (n, {before or 'm'}) and bias (n,), n at least 1",
            )
        maps.append(Matrix(np.ascontiguousarray(weight.T), bias))
        before = len(bias)
        if number < len(weights) - 1:
            try:
                kinks.append(named_kink(activation, before, *parameters))
            except (KeyError, TypeError):
                raise InputError(
                    "There is no piecewise-linear activation of this name.",
                    received=f"{activation!r} {parameters or ''}".rstrip(),
                    needed="relu, leaky_relu, abs, hard_tanh, relu6, clip, hard_sigmoid or "
                    "soft_shrink",
                ) from None
    return PiecewiseLinear((np.shape(weights[0])[1],), (before,), tuple(maps), tuple(kinks))
