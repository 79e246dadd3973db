"""Reads and writes of arrays that the compiler may take to be disjoint, so that loops vectorise.

A loop over several arrays is vectorised only where the compiler can tell that what it writes is
not what it reads; with nine arrays it gives up. A load made by ``read`` and a store made by
``write`` of one pair carry LLVM's alias scopes (public in numba.extending and llvmlite.ir), which
say just that. Nothing else about them is special, but that indices do not wrap around, and are
checked with NUMBA_BOUNDSCHECK=1 only.

An array is also counted: every function it passes through adds one to its number of owners and
takes it off again, atomically. For functions of less than a microsecond, called by the million,
that is a fifth of the time; ``borrowed`` arrays are not counted.
"""

# ruff: noqa: ANN001, ANN202 -- numba infers the types of compiled code
from __future__ import annotations

import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any, no_type_check

from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic

from whydeep.compiled import njit

__all__ = ["accessors", "borrowed", "source_version"]


def accessors(name: str, *, hint: bool = True) -> tuple[Any, Any]:
    """A pair read(array, i) and write(array, i, value) for compiled code, on 1-D arrays.

    What one pair writes must never be read by the same pair, wherever its loops run.

    Args:
        name: of the scope; two pairs of one name are one pair.
        hint: whether to tell the compiler.
    """
    if getattr(config, "BOUNDSCHECK", None):
        return _checked_read, _checked_write

    def scopes(module: Any) -> Any:
        domain = module.add_metadata([ir.MetaDataString(module, f"whydeep.{name}")])
        scope = module.add_metadata([ir.MetaDataString(module, f"whydeep.{name}.written"), domain])
        return module.add_metadata([scope])

    def tell(instruction: Any, kind: str, module: Any) -> None:
        if hint:
            instruction.set_metadata(kind, scopes(module))

    def place(context: Any, builder: Any, kind: Any, array: Any, i: Any) -> Any:
        return builder.gep(context.make_array(kind)(context, builder, array).data, [i])

    @intrinsic
    @no_type_check
    def read(typing_context: Any, array: Any, i: Any) -> Any:
        del typing_context, i

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            value = builder.load(place(context, builder, signature.args[0], *arguments))
            tell(value, "noalias", builder.module)
            return value

        return array.dtype(array, types.intp), generate

    @intrinsic
    @no_type_check
    def write(typing_context: Any, array: Any, i: Any, value: Any) -> Any:
        del typing_context, i, value

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array, i, value = arguments
            stored = builder.store(value, place(context, builder, signature.args[0], array, i))
            tell(stored, "alias.scope", builder.module)
            return context.get_dummy_value()

        return types.void(array, types.intp, array.dtype), generate

    return read, write


@njit
@no_type_check
def _checked_read(array, i):
    if i < 0 or i >= array.size:
        raise IndexError("a read outside of an array")
    return array[i]


@njit
@no_type_check
def _checked_write(array, i, value):
    if i < 0 or i >= array.size:
        raise IndexError("a write outside of an array")
    array[i] = value


@intrinsic
@no_type_check
def borrowed(typing_context: Any, array: Any) -> Any:
    """The same array without an owner, in compiled code; for use while the owner lives."""
    del typing_context

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        view.meminfo = ir.Constant(view.meminfo.type, None)
        view.parent = ir.Constant(view.parent.type, None)
        return view._getvalue()  # noqa: SLF001 -- numba's own way to say it

    return array(array), generate


def source_version(*names: str) -> int:
    """A positive number that changes with the named files of this folder."""
    folder = Path(__file__).parent
    found = 0
    for name in names:
        with suppress(OSError):  # a package in an archive has no files, and does not change either
            found = zlib.crc32((folder / name).read_bytes(), found)
    return found + 1
