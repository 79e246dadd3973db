"""Inputs from a file: .npy, .npz and .csv, read without running anything that is in them."""

from __future__ import annotations

import csv
import io
import math
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from whydeep import memory
from whydeep.arguments import nearest
from whydeep.errors import InputError

__all__ = ["EXTENSIONS", "read_arrays", "read_file"]

EXTENSIONS = (".npy", ".npz", ".csv")
_LABELS = ("y", "Y")  # names of the labels

_NPY, _ZIP = b"\x93NUMPY", b"PK"
_READS = "a .npy, .npz or .csv file of numbers, one row an input"


def read_file(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The rows of a file, unchecked, and its labels, None if it has none.

    Raises:
        InputError: no such file, not a file, not readable, another extension, damaged, pickled,
            no matrix in it or several, rows of different lengths, something that is not a number.
    """
    suffix = path.suffix.lower()
    if suffix not in EXTENSIONS:
        if not suffix:
            _check_file(path)  # a folder, or nothing of this name: more use than the extension
        raise InputError(
            "Files of this kind are not read.",
            received=str(path),
            needed=_READS,
            cause=f"its extension is {suffix}" if suffix else "its name has no extension",
            suggestion="numpy.savez(file, x=x, y=y), or pass the array itself to the function",
        )
    if suffix == ".csv":
        return _read_csv(path)
    arrays = read_arrays(path, _wanted)
    if list(arrays) == [""]:
        return arrays[""], None
    labels = next((arrays.pop(key) for key in _LABELS if key in arrays), None)
    for key in ("x", "X"):
        if key in arrays:
            return arrays[key], labels
    matrices = [key for key, array in arrays.items() if array.ndim == 2]
    if len(matrices) != 1:
        raise InputError(
            "It is not clear which array of the file holds the inputs.",
            received=f"{path}: "
            + (", ".join(f"{key} {array.shape}" for key, array in arrays.items()) or "no arrays"),
            needed="an array named x, or a single one with two dimensions; labels are named y",
            suggestion="numpy.savez(file, x=x, y=y)",
        )
    return arrays[matrices[0]], labels


def _wanted(keys: list[str]) -> list[str]:
    """The inputs and the labels if they can be told by their names, else all."""
    inputs = next((key for key in ("x", "X") if key in keys), None)
    return keys if inputs is None else [key for key in (inputs, *_LABELS) if key in keys]


def read_arrays(
    path: Path, choose: Callable[[list[str]], list[str]] = list
) -> dict[str, np.ndarray]:
    """The chosen arrays of a .npz file by name, or the one of a .npy file under the name ""."""
    with _opened(path) as file, _explained(path):
        start = file.read(len(_NPY))
        file.seek(0)
        if start == _NPY:
            _check_size(file, path, path.stat().st_size)
            file.seek(0)
            return {"": np.lib.format.read_array(file, allow_pickle=False)}
        if not start.startswith(_ZIP):
            raise ValueError("it begins as neither a .npy nor a .npz file does")
        with zipfile.ZipFile(file) as archive:
            members = {i.filename.removesuffix(".npy"): i for i in archive.infolist()}
            wanted = choose([k for k, i in members.items() if i.filename.endswith(".npy")])
            return {key: _member(archive, members[key], path) for key in wanted}


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> np.ndarray:
    """One array of an archive; no more of it is unpacked than its own header declares."""
    with archive.open(member) as stream:
        _check_size(stream, path, member.file_size)
    with archive.open(member) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _check_size(stream: Any, path: Path, there: int) -> None:
    """Refuse an array that fits neither into memory nor to what the file says it holds of it.

    Args:
        stream: at the beginning of the array's header.
        path: of the file, for the error.
        there: the bytes that the file declares for header and array: a header may lie, and an
            archive of kilobytes may unpack to terabytes.
    """
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0
    shape, _, kind = (read if version == (1, 0) else np.lib.format.read_array_header_2_0)(stream)
    if kind.hasobject:
        raise ValueError("it holds pickled objects")
    declared = math.prod(shape) * kind.itemsize
    if declared > there:
        raise ValueError(f"its header declares {declared:,} bytes, and there are {there:,}")
    # As it is read, as float64, and scaled.
    needed, free = max(declared, there) + 16 * math.prod(shape), memory.available()
    if needed > free:
        raise InputError(
            "The array of this file does not fit into memory.",
            received=f"{path}: shape {shape} of {kind}",
            needed=f"at most {free / 2**30:.1f} GiB, and it takes {needed / 2**30:.1f}",
            suggestion="a file with fewer rows",
        )


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Whatever NumPy or zipfile meet in a damaged file becomes an `InputError`."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        said = next(iter(str(error).splitlines()), "") or type(error).__name__
        pickled = "pickled objects" in said.lower()
        empty = path.stat().st_size == 0
        cause = "" if empty else f"damaged, cut off, or not made by NumPy: {said}"
        if pickled:
            cause = "it holds Python objects (pickled), which can run code when they are read"
        raise InputError(
            f"The file {'is empty' if empty else 'holds no plain arrays'}.",
            received=str(path),
            needed=_READS,
            cause=cause,
            suggestion="numpy.save(file, numpy.asarray(x, dtype=float)) writes a plain one",
        ) from error


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    _check_file(path)
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(
            "The file can't be opened.",
            received=str(path),
            needed=_READS,
            cause=error.strerror or str(error),
            suggestion="check who may read it",
        ) from error
    with file:
        yield file


def _check_file(path: Path) -> None:
    try:
        if path.is_file():
            return
        exists, folder = path.exists(), path.is_dir()
    except (OSError, ValueError) as error:  # a name too long, a null character in it
        raise InputError(
            "This is not the name of a file.", received=str(path)[:200], needed=_READS,
            cause=str(error)[:200],
        ) from error  # fmt: skip
    if folder:
        raise InputError(
            "This is a folder, not a file.",
            received=str(path),
            needed=_READS,
            suggestion=_neighbours(path, ""),
        )
    if exists:
        raise InputError("This is not a plain file.", received=str(path), needed=_READS)
    cause = "" if path.is_absolute() else f"relative names start at the folder {Path.cwd()}"
    if path.parent.exists() and not path.parent.is_dir():
        cause = f"{path.parent} is a file, not a folder"
    elif not path.parent.exists():
        cause = f"there is no folder {path.parent}"
    raise InputError(
        "There is no such file.",
        received=str(path),
        needed=_READS,
        cause=cause,
        suggestion=_neighbours(path.parent, path.name),
    )


def _neighbours(folder: Path, name: str) -> str:
    """Up to three files of a folder that could be meant."""
    try:
        names = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in EXTENSIONS)
    except OSError:
        return ""
    near = nearest(name, names, 3) if name else names[:3]
    return " or ".join(str(folder / n) for n in near)


# ------------------------------------------------------------------------------------------- csv


def _read_csv(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows of numbers; a header is optional, and a column that it calls y holds the labels."""
    names: list[str] | None = None
    first = at = None  # the line that says how many columns there are; the column of labels
    matrix: list[np.ndarray] = []
    labels: list[str] = []
    with _opened(path) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
        for line, cells in _lines(path, text):
            if first is None:
                first = line, len(cells)
                names = _header(path, line, cells)
                if names is not None:
                    at = next((k for k, name in enumerate(names) if name in _LABELS), None)
                    continue
            if len(cells) != first[1]:
                what = f"line {line} has {len(cells)} columns, and line {first[0]} has {first[1]}"
                _refuse_line(path, line, "its lines have different lengths", what)
            if at is not None:
                labels.append(cells.pop(at).strip())
                if not labels[-1]:
                    _refuse_cell(path, line, at, "", names)
            try:
                matrix.append(np.array([float(cell) for cell in cells]))
            except ValueError:
                bad = next(i for i, cell in enumerate(cells) if not _is_number(cell))
                column = bad + (at is not None and bad >= at)
                _refuse_cell(path, line, column, cells[bad], names)
    if not matrix:
        raise InputError(
            "The file is empty." if names is None else "The file has no rows.",
            received=str(path),
            needed=_READS,
            cause="" if names is None else "there is a header and nothing below it",
        )
    return np.stack(matrix), None if at is None else _labels(labels)


def _lines(path: Path, text: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """The lines of a csv file that have something in them, with their numbers, from 1."""
    reader = csv.reader(text, strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except UnicodeDecodeError as error:
        _refuse_line(path, reader.line_num + 1, "it is not a text in UTF-8", str(error))
    except csv.Error as error:
        _refuse_line(path, reader.line_num, "it is not comma-separated text", str(error))


def _header(path: Path, line: int, cells: list[str]) -> list[str] | None:
    """The names of the columns if a line has no number in it, None if all are numbers."""
    names = [cell.strip() for cell in (cells[0].lstrip("# "), *cells[1:])]
    numbers = [_is_number(name) for name in names]
    if all(numbers):
        return None
    if not names[0] and len(names) > 1:
        _refuse_line(
            path,
            line,
            "the first column has no name",
            "an index that pandas has written: frame.to_csv(file, index=False) leaves it out",
        )
    if any(numbers):
        bad = numbers.index(False)
        _refuse_cell(path, line, bad, cells[bad], None)
    if sum(name in _LABELS for name in names) > 1:
        _refuse_line(path, line, "two columns are called y", "labels are one column")
    return names


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _labels(texts: list[str]) -> np.ndarray:
    """Whole numbers if all of them are, else real numbers if all are, else the texts."""
    for kind in (int, float):
        try:
            return np.array([kind(t) for t in texts])
        except (ValueError, OverflowError):
            continue
    return np.array(texts)


def _refuse_cell(
    path: Path, line: int, column: int, text: str, names: list[str] | None
) -> NoReturn:
    where = f"line {line}, column {column + 1}" + (f" ({names[column]!r})" if names else "")
    cause = "a value is missing" if not text.strip() else ""
    separator = next((s for s in (";", "\t", " ") if s in text.strip()), None)
    if separator is not None:
        cause = f"the separator is {separator!r}, not a comma"
    raise InputError(
        "There is something in the file that is not a number.",
        received=f"{path}, {where}: {text[:40]!r}",
        needed="numbers separated by commas; a header, if there is one, has no numbers in it",
        cause=cause,
        suggestion="call the column of labels y in the header; leave other texts out",
    )


def _refuse_line(path: Path, line: int, what: str, cause: str) -> NoReturn:
    raise InputError(
        f"The file can't be read: {what}.",
        received=f"{path}, line {line}" if line else os.fspath(path),
        needed="lines of numbers separated by commas, equally many on each; a header is optional",
        cause=cause,
    )
