"""What a prompt shows of a result is short, whatever is in it."""

import dataclasses
import importlib
import inspect
import pkgutil

import numpy as np
import pytest
import xarray as xr

import whydeep
from whydeep.brief import brief
from whydeep.comparison import compare
from whydeep.ensemble import measure
from whydeep.network import mlp
from whydeep.theory.finite import predict

MOST = 1000
ROOMS = ("comparison", "ensemble", "theory", "geometry", "experiments")
# Parts that programs are made of, not results.
PARTS = ("network", "gaussian", "geometry.pieces", "theory.infinite.conv", "theory.infinite.dense")


def public():
    """Every dataclass that a room of results shows to the outside."""
    found = {}
    for room in ROOMS:
        names = [f"whydeep.{room}"]
        package = importlib.import_module(names[0])
        names += [m.name for m in pkgutil.walk_packages(package.__path__, f"whydeep.{room}.")]
        for name in names:
            if "._" in name:
                continue
            for key, value in vars(importlib.import_module(name)).items():
                if inspect.isclass(value) and dataclasses.is_dataclass(value) and key[0] != "_":
                    found[f"{value.__module__}.{key}"] = value
    for key in whydeep.__all__:
        value = getattr(whydeep, key)
        if inspect.isclass(value) and dataclasses.is_dataclass(value):
            found[f"{value.__module__}.{key}"] = value
    return {
        name: kind
        for name, kind in found.items()
        if not any(f"whydeep.{part}." in name for part in PARTS)
    }


PUBLIC = public()


def stuffed(annotation):
    """A value that is large wherever the type allows it."""
    text = str(annotation)
    if "ndarray" in text or "DataArray" in text:
        return np.full((40, 50), np.pi)
    if "Mapping" in text or "dict" in text:
        return {f"name {k}": np.full((40, 50), np.pi) for k in range(40)}
    if "tuple" in text or "list" in text:
        return tuple(np.pi * k for k in range(3000))
    if "str" in text:
        return "a word of it " * 8
    if "int" in text:
        return 10**9
    return np.pi


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_result_is_shown_in_a_few_lines(name):
    kind = PUBLIC[name]
    shown = kind.__dict__.get("__repr__")
    written = shown is not None and shown is not brief and "<string>" not in (
        getattr(shown, "__wrapped__", shown).__code__.co_filename
    )  # fmt: skip
    if written:
        return  # by hand: `test_what_is_written_by_hand_is_short`, and the class's own tests
    one = object.__new__(kind)
    for field in dataclasses.fields(kind):
        object.__setattr__(one, field.name, stuffed(field.type))
    text = repr(one)
    assert len(text) <= MOST, f"{len(text)} characters: {text[:200]}"


def test_what_is_written_by_hand_is_short():
    x = np.random.default_rng(0).normal(size=(4, 6))
    net = mlp(8, 32, "relu")
    predicted = predict(net, x)
    measured = measure(net, x, draws=64, seed=0)
    comparison = compare(predicted, measured)
    for one in (predicted, measured, comparison, *comparison.rows):
        assert len(repr(one)) <= MOST
    assert "Row(" not in repr(comparison)
    assert comparison.verdict in repr(comparison)
    assert "print" in repr(comparison)
    kernel = whydeep.kernel(net, x)
    for one in (kernel, whydeep.critical("tanh"), whydeep.fixed_points("relu", weight_var=1.0)):
        assert len(repr(one)) <= MOST, repr(one)[:300]


def test_arrays_of_every_kind_are_shown_by_their_shape():
    @dataclasses.dataclass
    class Result:
        one: object
        other: object
        rows: tuple
        hidden: int = dataclasses.field(default=3, repr=False)
        __repr__ = brief

    shown = repr(Result(np.zeros((2, 3)), xr.DataArray(np.zeros(5)), (1.0, 2.0)))
    assert shown == "<Result: one=array(2, 3), other=array(5), rows=(1, 2)>"
