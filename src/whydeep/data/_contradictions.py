"""Equal inputs with different labels, which no network can fit: said in one way everywhere."""

from __future__ import annotations

import itertools

import numpy as np

__all__ = ["contradicting_labels"]

_SEEN = 1e-8  # the share of the labels that can't be fitted, above which it is said


def contradicting_labels(which: np.ndarray, labels: np.ndarray) -> str:
    """A clause on training inputs that are equal with different labels; "" where there are none.

    Args:
        which: (N,) numbers, equal where inputs are: ``np.unique(..., return_inverse=True)[1]``.
        labels: (N, ...) numbers.

    Labels count as equal where their distances from the mean label of their input hold at most
    1e-8 of all squares: differences of roundings are nothing to tell.

    Example:
        >>> import numpy as np
        >>> print(contradicting_labels(np.array([0, 1, 0]), np.array([0.0, 1.0, 1.0])))
        training inputs 0 and 2 are equal with different labels (counting from 0): ...
        >>> contradicting_labels(np.array([0, 1, 0]), np.array([0.0, 1.0, 0.0]))
        ''
    """
    if len(np.unique(which)) == len(which):
        return ""
    flat = np.asarray(labels, dtype=np.float64).reshape(len(which), -1)
    sums = np.zeros((int(which.max()) + 1, flat.shape[1]))
    np.add.at(sums, which, flat)
    apart = flat - (sums / np.maximum(np.bincount(which), 1)[:, None])[which]
    if np.sum(apart**2) <= _SEEN * np.sum(flat**2):
        return ""
    order = np.argsort(which, kind="stable")
    odd = [(int(a), int(b)) for a, b in itertools.pairwise(order)
           if which[a] == which[b] and not np.array_equal(flat[a], flat[b])]  # fmt: skip
    (a, b), more = odd[0], len(odd) - 1
    return (
        f"training inputs {a} and {b} are equal with different labels (counting from 0"
        + (f", and {more} more pair{'s' * (more > 1)}" if more else "")
        + "): their outputs stay equal, and under a squared loss end at the labels' mean"
    )
