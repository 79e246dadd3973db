"""Values that no argument is meant to have, or that some are and others are not."""
# ruff: noqa: ARG005, PLW0108 -- functions of any arguments are meant

import collections
import datetime as dt
import decimal
import fractions
import itertools
import math
import pathlib

import numpy as np

import whydeep as wd


class Unreadable:
    """An object whose every question is answered by an error."""

    def __repr__(self):
        raise RuntimeError("no words")

    def __array__(self, *args, **kwargs):
        raise RuntimeError("no numbers")

    def __eq__(self, other):
        raise RuntimeError("not comparable")

    __hash__ = None


def _one_argument(x):
    return x


def _ragged():
    return [[1.0, 2.0], [3.0]]


# Functions, so that every call has its own: a call may write into what it is given.
HOSTILE = [
    lambda: None,
    lambda: "",
    lambda: "relu",
    lambda: "nonsense",
    lambda: "critical",
    lambda: "a" * 100_000,
    lambda: "a\0b",
    lambda: "é\u202e\n",
    lambda: b"bytes",
    lambda: bytearray(b"abc"),
    lambda: True,
    lambda: False,
    lambda: np.bool_(1),
    lambda: 0,
    lambda: 1,
    lambda: -1,
    lambda: 3,
    lambda: 2.5,
    lambda: -0.5,
    lambda: 0.0,
    lambda: 1e300,
    lambda: 1e-300,
    lambda: 5e-324,
    lambda: math.nan,
    lambda: math.inf,
    lambda: -math.inf,
    lambda: 2**31,
    lambda: 2**63,
    lambda: 10**400,
    lambda: -(10**30),
    lambda: 1 + 1j,
    lambda: np.float32(1.5),
    lambda: np.int8(2),
    lambda: np.array(2.0),
    lambda: np.array(2),
    lambda: fractions.Fraction(1, 3),
    lambda: decimal.Decimal("1.5"),
    lambda: dt.date(2026, 1, 1),
    lambda: dt.timedelta(days=1),
    lambda: np.datetime64("2026-01-01"),
    lambda: np.datetime64("NaT"),
    lambda: np.array(["2026-01-01"] * 2, "datetime64[D]"),
    list,
    lambda: (),
    dict,
    lambda: set(),
    lambda: {1, 2},
    lambda: {"a": 1},
    lambda: [1, 2, 3],
    lambda: [1.0, -1.0],
    lambda: ["tanh", "relu"],
    lambda: ["kernel", 3],
    lambda: [None],
    lambda: [[]],
    lambda: [[[1.0]]],
    lambda: (1, 2),
    lambda: ("a", "b"),
    _ragged,
    lambda: [1, "a"],
    lambda: [math.nan, 1.0],
    lambda: range(3),
    lambda: iter([1, 2]),
    lambda: itertools.count(),
    lambda: collections.deque([1, 2]),
    lambda: np.zeros(0),
    lambda: np.zeros((0, 3)),
    lambda: np.zeros((3, 0)),
    lambda: np.zeros((2, 2)),
    lambda: np.ones(2),
    lambda: np.eye(2),
    lambda: np.eye(3),
    lambda: 1j * np.eye(3),
    lambda: np.ones((2, 3, 4)),
    lambda: np.ones((2, 2, 2, 2)),
    lambda: np.full((2, 2), np.nan),
    lambda: np.full((2, 2), np.inf),
    lambda: np.array([[1e200, 1e-200], [1.0, -1e200]]),
    lambda: np.array([[1, 2], [3, 4]], np.uint8),
    lambda: np.eye(2, dtype=bool),
    lambda: np.eye(2, dtype=np.float16),
    lambda: np.eye(2, dtype=np.longdouble),
    lambda: np.ma.masked,
    lambda: np.ma.array(np.eye(2), mask=np.eye(2)),
    lambda: np.ma.array(np.eye(2), mask=False),
    lambda: np.array([None, 1]),
    lambda: np.array([[1, "a"], [2.0, None]], object),
    lambda: np.array(["1", "2"]),
    lambda: np.array([b"1", b"2"]),
    lambda: np.array([(1, 2.0)], [("a", int), ("b", float)]),
    lambda: np.matrix([[1.0, 2.0], [3.0, 4.0]]),
    lambda: len,
    lambda: print,
    lambda: _one_argument,
    lambda: lambda: None,
    lambda: lambda *a, **k: None,
    lambda: lambda *a, **k: np.nan,
    lambda: lambda *a, **k: "text",
    lambda: int,
    lambda: dict,
    lambda: np,
    lambda: math.sin,
    lambda: np.sin,
    lambda: Ellipsis,
    lambda: NotImplemented,
    lambda: slice(1, 3),
    lambda: pathlib.Path("/nonexistent/file.html"),
    lambda: pathlib.Path(),
    object,
    Unreadable,
    lambda: ValueError("an exception"),
    lambda: wd.mlp(1, 4, "relu", weight_var=2.0, bias_var=0.0),
    lambda: wd.chain(wd.Conv(4), wd.Activation("relu"), wd.GlobalAvgPool(), wd.Dense(1)),
    lambda: wd.chain(wd.Dense(2)),
    lambda: wd.Dense(3),
    lambda: wd.Dense,
    lambda: wd.NTKRegressor(),
    lambda: wd.kernel(wd.mlp(1, 4, "relu", weight_var=2.0, bias_var=0.0), np.eye(2)),
    lambda: wd.activations.get("tanh"),
]
