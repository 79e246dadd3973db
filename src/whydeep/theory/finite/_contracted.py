"""The vertex contracted with a matrix: a bilinear form of any number of inputs, without N^4.

    sum_cd V'_(ab)(cd) B_cd = C_W^2 {Cov(s_a s_b, sum_cd B_cd s_c s_d)
                                     + r sum_ef M_ab^{ef} [sum_gh V_(ef)(gh) (M^T B)_gh]}

B is first taken down the layers by the transposed maps, then what each layer adds is taken up.
The covariances are means over all N samples at once, by randomised quasi-Monte Carlo.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri

from whydeep.data import check_inputs
from whydeep.errors import InputError, UnsupportedError
from whydeep.gaussian import Covariance, Estimate, pair_derivatives, self_derivatives
from whydeep.network import Network
from whydeep.theory.finite._kernel import infinite_width

__all__ = ["contracted_vertex"]

_REPLICATES = 16
_BLOCK = 1 << 22  # numbers evaluated at once
_TOLERANCE = 1e-9  # of the maps: far below the noise of the covariances


def contracted_vertex(
    network: Network, inputs: Any, weights: Any, *, layer: int | None = None, points: int = 1 << 12,
    seed: int = 0,
) -> Estimate:  # fmt: skip
    """The four-point vertex contracted with a matrix: sum_cd V_(ab)(cd) B_cd of one layer.

    Args:
        network: from `whydeep.mlp`.
        inputs: (N, n_0), real numbers.
        weights: B, (N, N); only its symmetric part counts.
        layer: its label, 1 to L + 1; the output by default.
        points: of each of 16 scrambled Sobol sequences, a power of 2.
        seed: of the scrambling.

    Returns:
        The matrix (N, N), a coefficient of 1/n_(l-1), and its standard error over the sequences.

    Raises:
        InputError: bad inputs, a matrix of another shape, no such layer, points that are not a
            power of 2.
        UnsupportedError: fourth moments that no feasible number of points can find.

    Accuracy: the standard error; relative to the largest entry about 1e-3 with the default number
    of points, falling faster than their square root for smooth activations. Cost: 16 points N^2
    and N^2 two-dimensional means a layer; memory N^2. `whydeep.predict` has the vertex itself, to
    nine digits, where N^4 can be afforded.

    Source: Roberts, Yaida and Hanin 2022, Eq. 4.90; Owen 1995 (scrambling).

    Example:
        >>> import numpy as np
        >>> from whydeep.network import mlp
        >>> from whydeep.theory.finite import predict
        >>> x = np.array([[1.0, 0.0], [0.6, 0.8]])
        >>> net = mlp(2, 64, "relu")
        >>> found = contracted_vertex(net, x, np.eye(2))
        >>> exact = predict(net, x)["four_point"].values[2]
        >>> bool(np.all(np.abs(found.value - np.einsum("abcc->ab", exact)) < 5 * found.error))
        True
    """
    x = check_inputs(inputs)
    size = len(x)
    b = np.asarray(weights, dtype=np.float64)
    if b.shape != (size, size) or not np.all(np.isfinite(b)):
        raise InputError(
            "The vertex is contracted with a matrix of finite numbers.",
            received=f"shape {b.shape}",
            needed=f"shape ({size}, {size}): a row and a column an input",
        )
    label = network.depth + 1 if layer is None else layer
    if not 1 <= label <= network.depth + 1:
        raise InputError(
            "There is no such layer.", received=f"layer={layer!r}",
            needed=f"1 to {network.depth + 1}",
        )  # fmt: skip
    if points < 2 or points & (points - 1):
        raise InputError("A Sobol sequence has a power of 2 points.", received=f"points={points!r}")
    if network.activation.heavy_tailed:
        raise UnsupportedError(
            "There is no vertex for this activation.",
            cause=f"the fourth moments of {network.activation.name} are dominated by events that "
            "no feasible number of points contains",
        )
    distinct, back = np.unique(x, axis=0, return_inverse=True)
    back = back.reshape(-1)
    first = np.zeros((len(distinct), len(distinct)))
    np.add.at(first, np.ix_(back, back), (b + b.T) / 2.0)
    found = _contracted(network, distinct, first, label, points, seed)
    return Estimate(found.value[np.ix_(back, back)], found.error[np.ix_(back, back)])


def _contracted(
    network: Network, x: np.ndarray, b: np.ndarray, label: int, points: int, seed: int
) -> Estimate:
    """Of distinct inputs and a symmetric matrix."""
    size = len(x)
    layers = list(infinite_width(network, x))[:label]
    maps = [_Map.of(network, below.law) for below in layers[:-1]]
    carried = [b]
    for step in reversed(maps[1:]):
        carried.append(step.down(carried[-1]))
    carried.reverse()  # B at layers 2, 3, ...
    results = np.zeros((_REPLICATES, size, size))
    for k, child in enumerate(np.random.SeedSequence(seed).spawn(_REPLICATES)):
        generators = [np.random.default_rng(s) for s in child.spawn(len(maps))]
        for j, step in enumerate(maps):
            added = _covariance(
                network, layers[j].law, layers[j + 1].images.value, carried[j], points,
                generators[j],
            )  # fmt: skip
            ratio = network.widths[j] / network.widths[j - 1] if j else 0.0
            c_w = network.dense[j + 1].weight_var
            results[k] = c_w**2 * (added + ratio * step.up(results[k]))
    error = results.std(axis=0, ddof=1) / np.sqrt(_REPLICATES)
    return Estimate(results.mean(axis=0), error)


@dataclass(frozen=True)
class _Map:
    """M of `_means`, by its nonzero entries.

    Args:
        bent: <s''_a s_b>, the diagonal left out.
        slopes: <s'_a s'_b>, the diagonal left out.
        own: <(s_a^2)''>.
    """

    bent: np.ndarray
    slopes: np.ndarray
    own: np.ndarray

    @classmethod
    def of(cls, network: Network, law: Covariance) -> _Map:
        pairs = pair_derivatives(network.activation, law, 2, tolerance=_TOLERANCE).value
        own = self_derivatives(network.activation, law, 2, tolerance=_TOLERANCE).value[2]
        bent, slopes = pairs[2, 0].copy(), pairs[1, 1].copy()
        np.fill_diagonal(bent, 0.0)
        np.fill_diagonal(slopes, 0.0)
        return cls(bent, slopes, own)

    def up(self, y: np.ndarray) -> np.ndarray:
        """Sum M_ab^{cd} y_cd of a symmetric matrix."""
        half = self.bent * np.diagonal(y)[:, None] / 2.0
        return half + half.T + self.slopes * y + np.diag(self.own * np.diagonal(y)) / 2.0

    def down(self, b: np.ndarray) -> np.ndarray:
        """Sum M_ab^{cd} b_ab of a symmetric matrix."""
        diagonal = (self.bent * b).sum(axis=1) + self.own * np.diagonal(b) / 2.0
        return self.slopes * b + np.diag(diagonal)


def _covariance(
    network: Network,
    law: Covariance,
    images: np.ndarray,
    b: np.ndarray,
    points: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """Cov(s_a s_b, sum B_cd s_c s_d), by one scrambled Sobol sequence."""
    from scipy.stats import qmc  # scipy.stats takes a third of a second to import

    eigenvalues, vectors = np.linalg.eigh(law.matrix)
    keep = eigenvalues > 1e-15 * max(eigenvalues[-1], 1e-300)
    forms = (vectors[:, keep] * np.sqrt(eigenvalues[keep]))[:, ::-1]  # the largest one first
    sobol = qmc.Sobol(forms.shape[1], rng=generator)
    mean, total = np.sum(b * images), np.zeros_like(images)
    block = min(points, 1 << max(0, (_BLOCK // len(images)).bit_length() - 1))
    for _ in range(points // block):
        uniform = np.clip(sobol.random(block), 1e-16, 1.0 - 1e-16)
        s = network.activation.derivatives(ndtri(uniform) @ forms.T, 0)[0]
        form = np.einsum("pa,pa->p", s @ b, s) - mean
        # The known mean of s_a s_b subtracted too: what is averaged is small where its factor is.
        total += (s * form[:, None]).T @ s - form.sum() * images
    return total / points
