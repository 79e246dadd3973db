"""Real inputs by name or from a file: which rows, in which order, at which scale."""

from __future__ import annotations

import operator
import os
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np

from whydeep.arguments import COUNT, FLAG, SEED, anything, nearest, takes
from whydeep.data._check import check_inputs
from whydeep.data._files import EXTENSIONS, read_file
from whydeep.data._named import NAMES, read_named
from whydeep.errors import InputError

__all__ = ["load"]


@takes(source=anything, n=COUNT, scale=FLAG, seed=SEED)
def load(
    source: str | os.PathLike[str],
    n: SupportsIndex | None = None,
    *,
    scale: bool = True,
    seed: SupportsIndex | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Real inputs, one row each, and their labels.

    Args:
        source: a name or a file.

            - "digits", "breast_cancer", "wine", "iris", "diabetes" come with scikit-learn;
              "mnist" (the first 20,000 training images, 784 pixels) and "mnist1d" (the 4,000
              training rows) are read from the folder named by the environment variable
              WHYDEEP_DATA. Features are as published: they are not centred.
            - a ``.npy`` file with a matrix; a ``.npz`` file with a matrix ``x`` (or ``X``, or the
              only matrix there is) and, if there are labels, ``y``; a ``.csv`` file of numbers,
              where a header may call one column ``y`` (or ``Y``): the labels, none of them empty.
              Pickles are never read, and no more is unpacked than fits into memory.
        n: how many rows; by default all, in the order of the source. Labels that are whole
            numbers, booleans or texts are classes: then one row of each class in turn, each class
            in the order of the source, so that ``load("digits", n=4)`` has the digits 0, 1, 2, 3.
            Otherwise the first n.
        scale: scale every row to ``|x|^2 / n_0 = 1`` (n_0 numbers a row). False leaves them alone.
        seed: a random choice instead, without repetition; a larger n extends a smaller one.

    Returns:
        x: (n, n_0), float64.
        y: (n,) labels (whole numbers for classes), (n, k) if the file has k targets a row, or None.

    Raises:
        InputError: an unknown name, a file that can't be read (see ``needed`` in the message),
            numbers that are not finite, more rows asked for than there are, a row of zeros that
            can't be scaled, a folder of data that is not set.

    Cost: the whole source is read.

    Source: Pedregosa et al. 2011 (scikit-learn); LeCun et al. 1998 (MNIST); Greydanus and Kobak
    2020 (MNIST-1D).

    Example:
        >>> x, y = load("digits", n=4)
        >>> x.shape, y
        ((4, 64), array([0, 1, 2, 3]))
        >>> bool(np.allclose((x**2).mean(axis=1), 1))
        True
    """
    rows, labels, label = _read(source)
    try:
        x = check_inputs(rows, name="x")
    except InputError as error:
        raise InputError(
            error.problem,
            received=f"{label}: {error.received}",
            needed=error.needed,
            cause=error.cause,
            suggestion=error.suggestion,
        ) from error
    y = None if labels is None else _check_labels(labels, len(x), label)
    chosen = _choose(y, len(x), n, seed, label)
    x = _scaled(x[chosen], chosen, label) if scale else x[chosen]
    return x, None if y is None else y[chosen]


def _read(source: Any) -> tuple[np.ndarray, np.ndarray | None, str]:
    """Rows and labels, unchecked, and what errors call the rows."""
    if not isinstance(source, (str, os.PathLike)) or isinstance(os.fspath(source), bytes):
        raise InputError(
            "Data are loaded by name or from a file.",
            received=type(source).__name__,
            needed=f"one of {', '.join(NAMES)}, or a file {', '.join(EXTENSIONS)}",
            suggestion="pass an array to the function itself: it needs no loading"
            if hasattr(source, "__array__")
            else "",
        )
    text = os.fspath(source)
    if text in NAMES:
        return *read_named(text), text
    path = Path(text).expanduser()
    named_like_a_file = path.suffix or len(path.parts) > 1 or isinstance(source, os.PathLike)
    if named_like_a_file and text.strip():
        return *read_file(path), str(path)
    near = nearest(text.lower().replace("-", ""), NAMES)
    raise InputError(
        "There is no data set of this name.",
        received=repr(source),
        needed=f"one of {', '.join(NAMES)}, or a file {', '.join(EXTENSIONS)}",
        suggestion=f"load({near[0]!r})" if near else "",
    )


def _check_labels(labels: np.ndarray, rows: int, label: str) -> np.ndarray:
    problem, received = "", f"y of shape {labels.shape}, {rows} rows in x"
    if labels.ndim not in (1, 2) or len(labels) != rows or not labels.size:
        problem = f"The labels of {label} do not belong to its rows."
    elif labels.dtype.kind not in "biufU":
        problem = f"The labels of {label} are neither numbers nor texts."
        received = f"y of dtype {labels.dtype}"
    elif labels.dtype.kind == "f" and not np.isfinite(labels).all():
        problem = f"The labels of {label} are not all finite."
        bad = ~np.isfinite(labels)
        first = int(np.argwhere(bad)[0][0])
        received = f"{int(bad.sum())} NaN or infinite, the first in row {first} (counting from 0)"
    if problem:
        raise InputError(problem, received=received, needed="one finite label, or text, a row")
    if labels.dtype.kind == "f":
        return labels.astype(np.float64, copy=False)
    return labels if labels.dtype.kind == "U" else labels.astype(np.int64)


def _choose(y: np.ndarray | None, rows: int, n: Any, seed: Any, label: str) -> np.ndarray:
    """Positions of the chosen rows, in the order in which they are returned."""
    count = rows if n is None else operator.index(n)
    if count > rows:
        raise InputError(
            f"{label} has fewer rows than that.",
            received=f"n={count}",
            needed=f"n <= {rows}",
            suggestion="n=None for all of them",
        )
    if seed is not None:
        return np.random.default_rng(operator.index(seed)).permutation(rows)[:count]
    if n is None or y is None or y.ndim != 1 or y.dtype.kind == "f":
        return np.arange(count)
    classes = np.unique(y, return_inverse=True)[1]
    by_class = np.argsort(classes, kind="stable")
    ordered = classes[by_class]
    turn = np.empty(rows, dtype=np.int64)  # how many of its class come before a row
    turn[by_class] = np.arange(rows) - np.searchsorted(ordered, ordered)
    return np.lexsort((classes, turn))[:count]


def _scaled(x: np.ndarray, positions: np.ndarray, label: str) -> np.ndarray:
    largest = np.abs(x).max(axis=1, keepdims=True)  # taken out first: squares can overflow
    zero = np.flatnonzero(largest == 0)
    if zero.size:
        numbers = ", ".join(str(int(p)) for p in positions[zero[:5]])
        raise InputError(
            f"{label} has rows of zeros, which can't be scaled to |x|^2 / n_0 = 1.",
            received=f"{zero.size} such, row {numbers}"
            + (", ..." if zero.size > 5 else "")
            + " of the source (counting from 0)",
            needed="a number other than 0 in every row",
            suggestion="scale=False leaves the rows as they are",
        )
    x = x / largest
    return x / np.sqrt((x**2).mean(axis=1, keepdims=True))
