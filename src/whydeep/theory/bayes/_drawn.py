"""The vertex contracted with data without its N^4 entries, by drawing single neurons.

The vertex is a covariance: with z a neuron's preactivations on all N inputs at infinite width,
Phi^l = C_W (s s^T - <s s^T>) of layer l, and the map of a fluctuation of the kernel to the next

    (M X)_ab = (1/2) <s''_a s_b> X_aa + (1/2) <s_a s''_b> X_bb + <s'_a s'_b> X_ab,

    V = sum_l (n_L / n_l) E[(C_W M ... C_W M Phi^l) (x) (C_W M ... C_W M Phi^l)]

with maps of the layers above l. So whatever V is contracted with, only the N x N matrices that it
is an average of need be contracted: N^2 or N^3 operations a draw, for any N. The correction of the
kernel needs V on two inputs at a time, N^2 numbers of the same draws. Draws are scrambled Sobol
points along the kernel's axes, in independent batches whose scatter is the standard error.

Source: Roberts, Yaida and Hanin 2022, Eqs. 4.90 and 4.136, unrolled; Owen 1997 (scrambled nets).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

import numpy as np
from scipy import special
from scipy.stats import qmc

from whydeep.gaussian import pair_derivatives, self_derivatives
from whydeep.network import Network
from whydeep.progress import progress_bar
from whydeep.theory.bayes._expansion import Expansion, expand_posterior
from whydeep.theory.finite._kernel import Layer, infinite_width

__all__ = ["DrawnLayers", "DrawnVertex", "drawn_expansion"]

_CHUNK_BYTES = 64 << 20
_BATCHES = 16


@dataclass(frozen=True)
class _Step:
    """From fluctuations of one layer's kernel to those of the next.

    Args:
        pairs: <s^(i)_a s^(j)_b>, (5, 5, N, N). squares: <(s^2)^(m)>, (5, N).
        weight_var: C_W above.
        ratio: n_l / n_(l-1).
    """

    pairs: np.ndarray
    squares: np.ndarray
    weight_var: float
    ratio: float

    def carry(self, x: np.ndarray) -> np.ndarray:
        """C_W M X of symmetric matrices (..., N, N)."""
        own = np.einsum("...aa->...a", x)
        out = self.pairs[1, 1] * x
        out += 0.5 * self.pairs[2, 0] * own[..., :, None]
        out += 0.5 * self.pairs[0, 2] * own[..., None, :]
        n = x.shape[-1]
        out[..., np.arange(n), np.arange(n)] = 0.5 * self.squares[2] * own
        return self.weight_var * out

    def bend(self, entries: Mapping[str, np.ndarray]) -> np.ndarray:
        """(C_W / 8) sum <D^4 (s_a s_b)> V, from V on pairs of inputs."""
        p, aaab = self.pairs, entries["aaab"]
        four = np.diagonal(aaab)
        out = (
            p[4, 0] * four[:, None]
            + p[0, 4] * four[None, :]
            + 4 * (p[3, 1] * aaab + p[1, 3] * aaab.T)
            + p[2, 2] * (2 * entries["aabb"] + 4 * entries["abab"])
        )
        np.fill_diagonal(out, self.squares[4] * four)
        return self.weight_var / 8.0 * out


class DrawnLayers:
    """A network's layers on N inputs, ready to have vertices drawn.

    Args:
        network: fully connected.
        points: (N, n_0); equal ones have one fluctuation.
    """

    def __init__(self, network: Network, points: np.ndarray) -> None:
        self.network = network
        distinct, back = np.unique(points, axis=0, return_inverse=True)
        self.place = np.ix_(back.reshape(-1), back.reshape(-1))
        self.layers: list[Layer] = list(infinite_width(network, distinct))
        widths = network.widths
        self.steps: list[_Step] = []
        for below in self.layers[:-1]:
            dense = network.dense[below.number]
            ratio = widths[below.number - 1] / widths[below.number - 2] if below.number > 1 else 0.0
            if below.number == 1:  # nothing fluctuates there, so nothing is carried
                none = np.zeros((5, 5, len(distinct), len(distinct)))
                step = _Step(none, none[0, :, 0], dense.weight_var, ratio)
            else:
                pairs = pair_derivatives(network.activation, below.law, 4).value
                squares = self_derivatives(network.activation, below.law, 4).value
                step = _Step(pairs, squares, dense.weight_var, ratio)
            self.steps.append(step)
        self.roots = [_root(layer.law.matrix) for layer in self.layers[:-1]]

    @property
    def kernel(self) -> np.ndarray:
        """K of the output layer."""
        return self.layers[-1].law.matrix[self.place]

    def draw(self, count: int, seed: np.random.SeedSequence) -> DrawnVertex:
        """A vertex from this many draws of a neuron of every layer; a power of two is best."""
        return DrawnVertex(self, count, seed)


class DrawnVertex:
    """The output layer's vertex as an average over draws, to be contracted."""

    def __init__(self, layers: DrawnLayers, count: int, seed: np.random.SeedSequence) -> None:
        self.layers, self.count, self.seed = layers, count, seed

    def correction(self) -> np.ndarray:
        """K{1} of the output layer, from the same draws."""
        steps = self.layers.steps
        size = self.layers.layers[0].law.size
        pairs = ("aaab", "aabb", "abab")
        entries: list[dict[str, np.ndarray]] = [
            dict.fromkeys(pairs, np.zeros((size, size))) for _ in steps
        ]
        for source in range(len(steps) - 1):
            for x in self._sources(source):
                share = 1.0 / self.count
                for number in range(source + 1, len(steps)):
                    own = np.einsum("qaa->qa", x)
                    found = {
                        "aaab": np.einsum("qa,qab->ab", own, x),
                        "aabb": own.T @ own,
                        "abab": np.einsum("qab,qab->ab", x, x),
                    }
                    entries[number] = {k: entries[number][k] + share * found[k] for k in pairs}
                    share *= steps[number].ratio
                    if number + 1 < len(steps):
                        x = steps[number].carry(x)  # noqa: PLW2901 -- the same draws, a layer up
        correction = np.zeros((size, size))
        for step, vertex in zip(steps, entries, strict=True):
            correction = step.ratio * (step.carry(correction) + step.bend(vertex))
        return correction[self.layers.place]

    def contracted(
        self, weight: np.ndarray, inverse: np.ndarray, dual: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What `FullVertex.contracted` returns."""
        n, outputs = dual.shape
        size = len(self.layers.kernel)
        pulled, exchange = np.zeros((size, size)), np.zeros((size, size))
        across = np.zeros((outputs, outputs, size, size))
        steps = self.layers.steps
        for source in range(len(steps)):
            share = 1.0 / self.count
            for step in steps[source + 1 :]:
                share *= step.ratio
            for drawn in self._sources(source):
                x = drawn
                for step in steps[source + 1 :]:
                    x = step.carry(x)
                x = x[:, *self.layers.place]
                rows = x[:, :, :n]
                along = np.tensordot(x[:, :n, :n], weight, 2)
                pulled += 0.5 * share * np.tensordot(along, x, 1)
                turned = rows @ inverse
                exchange += share * np.tensordot(turned, rows, ((0, 2), (0, 2)))
                reached = rows @ dual
                across += share * np.einsum("qdi,qej->ijde", reached, reached, optimize=True)
        return pulled, exchange, across

    def _sources(self, source: int) -> Iterator[np.ndarray]:
        """Phi of a layer, in chunks (q, N, N)."""
        layers = self.layers
        root, step = layers.roots[source], layers.steps[source]
        size, rank = root.shape
        images = layers.layers[source + 1].images.value
        own = np.random.SeedSequence(self.seed.entropy, spawn_key=(*self.seed.spawn_key, source))
        sobol = qmc.Sobol(rank, scramble=True, rng=np.random.default_rng(own))
        uniform = sobol.random(self.count)
        tiny = np.finfo(np.float64).eps
        z = special.ndtri(np.clip(uniform, tiny, 1.0 - tiny)) @ root.T
        s = layers.network.activation.derivatives(z, 0)[0]
        chunk = max(1, _CHUNK_BYTES // (8 * size**2))
        for start in range(0, self.count, chunk):
            part = s[start : start + chunk]
            yield step.weight_var * (part[:, :, None] * part[:, None, :] - images)


def _root(kernel: np.ndarray) -> np.ndarray:
    """A factor of K, its main axes first, without those that are rounding."""
    values, vectors = np.linalg.eigh(kernel)
    values, vectors = values[::-1], vectors[:, ::-1]
    keep = values > len(values) * np.finfo(np.float64).eps * values[0]
    return vectors[:, keep] * np.sqrt(values[keep])


def drawn_expansion(
    network: Network, points: np.ndarray, y: np.ndarray, noise: float, draws: int, seed: int
) -> tuple[Expansion, Expansion]:
    """`expand_posterior` with a drawn vertex: the mean over 16 batches, and its standard error.

    Args:
        network: fully connected.
        points: training inputs, then test inputs.
        y: labels of the training inputs (N, C).
        noise: their variance about the outputs.
        draws: in all, rounded so that a batch is a power of two.
        seed: of the scrambles.
    """
    layers = DrawnLayers(network, points)
    each = 1 << max(0, round(np.log2(draws / _BATCHES)))
    found = []
    with progress_bar("drawing the vertex", _BATCHES) as advance:
        for own in np.random.SeedSequence(seed).spawn(_BATCHES):
            vertex = layers.draw(each, own)
            found.append(expand_posterior(layers.kernel, y, noise, vertex.correction(), vertex))
            advance()
    values = {f.name: np.stack([getattr(e, f.name) for e in found]) for f in fields(Expansion)}
    scale = np.sqrt(_BATCHES)
    return (
        Expansion(**{k: v.mean(axis=0) for k, v in values.items()}),
        Expansion(**{k: v.std(axis=0, ddof=1) / scale for k, v in values.items()}),
    )
