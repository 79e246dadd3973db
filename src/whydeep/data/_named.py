"""Data sets by name: scikit-learn's bundled ones, and MNIST and MNIST-1D from a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from whydeep.data._files import read_arrays
from whydeep.errors import InputError
from whydeep.progress import rich_part

__all__ = ["NAMES", "read_named"]

VARIABLE = "WHYDEEP_DATA"

_BUNDLED = ("digits", "breast_cancer", "wine", "iris", "diabetes")
# name: file below the folder, keys of the rows and of the labels.
_IN_FOLDER = {
    "mnist": ("mnist/mnist_20k_10k.npz", "x_train", "y_train"),
    "mnist1d": ("mnist1d/mnist1d.npz", "x", "y"),
}

NAMES: tuple[str, ...] = (*_BUNDLED, *_IN_FOLDER)
"""The names that `load` knows."""


def read_named(name: str) -> tuple[np.ndarray, np.ndarray]:
    """All rows of a named set as they are kept, one row an input, and their labels."""
    return _bundled(name) if name in _BUNDLED else _from_folder(name)


def _bundled(name: str) -> tuple[np.ndarray, np.ndarray]:
    rich_part("style")  # which scikit-learn imports
    from sklearn import datasets

    bunch: Any = getattr(datasets, f"load_{name}")()
    return np.asarray(bunch.data), np.asarray(bunch.target)


def _from_folder(name: str) -> tuple[np.ndarray, np.ndarray]:
    file, x_key, y_key = _IN_FOLDER[name]
    needed = f"{VARIABLE}: a folder that holds {file}"
    value = os.environ.get(VARIABLE, "").strip()
    if not value:
        raise InputError(
            f"The data set {name!r} does not come with whydeep, and no folder of data is set.",
            received=f"{VARIABLE} is not set",
            needed=needed,
            suggestion=f"export {VARIABLE}=/folder/of/data, or load('digits'), which needs none",
        )
    path = Path(value).expanduser() / file
    if not path.is_file():
        folder = "" if Path(value).expanduser().is_dir() else ", which is not a folder"
        raise InputError(
            f"The data set {name!r} is not in the folder of data.",
            received=f"{VARIABLE}={value}{folder}",
            needed=needed,
            suggestion=f"set {VARIABLE} to the folder above {file}",
        )
    arrays = read_arrays(path, lambda keys: [key for key in (x_key, y_key) if key in keys])
    absent = [key for key in (x_key, y_key) if key not in arrays]
    if absent:
        raise InputError(
            f"The file of the data set {name!r} is not the one expected.",
            received=f"{path} with arrays {', '.join(arrays) or '(none)'}",
            needed=f"arrays {x_key} and {y_key}",
        )
    x = arrays[x_key]
    return x.reshape(len(x), -1), arrays[y_key]
