"""Training kept in a folder: a file a block of networks, and one that says what is trained.

Every file is written beside its place and then moved there, so a reader finds the old one or the
new one, never half of one, whoever else writes to the folder. A block's file carries a digest of
its numbers, of its own place and of what is trained: one that was changed, copied from elsewhere
or whose numbers can't come from this training is refused. Nothing is pickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import socket
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from whydeep.errors import InputError

__all__ = ["Checkpoint", "Saved"]

_SETTINGS = "training.json"
_DIGEST = "digest"
# A file that is being written is there for seconds: one of a day ago was left by another machine
# that stopped meanwhile (of this machine, the process that wrote it is looked for).
_LEFT_OVER_SECONDS = 86_400.0
_MOST_SETTINGS_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class Saved:
    """What a file holds of a block of networks.

    Args:
        steps: (R,) at which it was recorded, ascending.
        done: steps that are behind the state.
        state: arrays of parameters and of the optimiser.
        values: by observable, ``(lanes, R, ...)``.
    """

    steps: np.ndarray
    done: int
    state: list[np.ndarray]
    values: dict[str, np.ndarray]

    def __post_init__(self) -> None:
        """Refuse what no training could have left.

        Raises:
            ValueError: in words.
        """
        steps = self.steps
        if steps.ndim != 1 or not steps.size or steps.dtype.kind not in "iu":
            raise ValueError("its recorded steps are no list of whole numbers")
        if steps[0] < 0 or np.any(np.diff(steps) <= 0):
            raise ValueError("its recorded steps do not ascend from 0")
        if self.done < steps[-1]:
            raise ValueError(f"{self.done} steps are done, and step {steps[-1]} is recorded")
        for name, value in self.values.items():
            if value.ndim < 2 or value.shape[1] != steps.size:
                raise ValueError(f"{name} has the shape {value.shape} at {steps.size} steps")

    def fits(self, state: list[Any], lanes: int, names: set[str]) -> None:
        """Refuse what belongs to other networks.

        Args:
            state: arrays as this training has them at its start.
            lanes: how many networks a block has.
            names: the observables that are recorded.

        Raises:
            ValueError: in words.
        """
        kinds = [(tuple(a.shape), np.dtype(a.dtype)) for a in state]
        if [(a.shape, a.dtype) for a in self.state] != kinds:
            raise ValueError("its parameters have other shapes than the network's")
        if set(self.values) != names or any(len(v) != lanes for v in self.values.values()):
            raise ValueError("its observables are not those of these networks")

    def at(self, wanted: np.ndarray) -> dict[str, np.ndarray]:
        """The values at those of the `wanted` steps that lie within what was trained.

        Raises:
            InputError: one of them was not recorded.
        """
        within = wanted[wanted <= self.done]
        missing = within[~np.isin(within, self.steps)]
        if missing.size:
            raise InputError(
                "The checkpoint was not recorded at these steps.",
                received="record at " + ", ".join(map(str, missing[:5])),
                needed="among the steps up to "
                f"{self.done}: " + ", ".join(map(str, self.steps[:40])),
                suggestion="record at these steps, or another folder",
            )
        places = np.searchsorted(self.steps, within)
        return {name: value[:, places] for name, value in self.values.items()}


class Checkpoint:
    """A folder that training is kept in.

    Args:
        folder: made if it is not there.
        settings: everything that the numbers depend on, in words and digests.

    Raises:
        InputError: the folder holds another training, or is no folder.
    """

    def __init__(self, folder: str | os.PathLike[str], settings: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                "The folder of the checkpoint can't be made.",
                received=str(folder),
                cause=str(error),
            ) from error
        _sweep(self.folder)
        path = self.folder / _SETTINGS
        wanted = {name: str(value) for name, value in settings.items()}
        self._settings = json.dumps(wanted, sort_keys=True)
        if not path.exists():
            if next(self.folder.glob("draws-*.npz"), None) is not None:
                raise InputError(
                    "This folder holds networks, and not what was trained.",
                    received=str(folder),
                    needed=f"a {_SETTINGS} beside them",
                    suggestion="an empty folder",
                )
            content = json.dumps(wanted, indent=1).encode()
            _publish(path, lambda file: file.write(content), replace=False)
        found = _settings_in(path)  # also of who else made the folder meanwhile
        names = [*wanted, *(n for n in found if n not in wanted)]
        different = [n for n in names if found.get(n) != wanted.get(n)]
        if different:
            raise InputError(
                "The checkpoint is of another training.",
                received="; ".join(f"{n}: {wanted.get(n)}" for n in different),
                needed="; ".join(f"{n}: {found.get(n)}" for n in different),
                cause="the first line is this call, the second what the folder holds",
                suggestion="another folder, or the settings of the first call",
            )

    def load(self, block: int, state: list[Any], lanes: int, names: set[str]) -> Saved | None:
        """What is kept of a block of networks, or None.

        Args:
            block: its number.
            state: see `Saved.fits`.
            lanes: likewise.
            names: likewise.
        """
        path = self._path(block)
        if not path.exists():
            return None
        try:
            with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
                arrays = dict(file)
            digest = arrays.pop(_DIGEST)
            if digest.shape != () or str(digest) != self._digest(block, arrays):
                raise ValueError("its numbers are not those that were written here")
            count = sum(name.startswith("state_") for name in arrays)
            saved = Saved(
                arrays["steps"],
                int(arrays["done"]),
                [arrays[f"state_{i}"] for i in range(count)],
                {n.removeprefix("value_"): a for n, a in arrays.items() if n.startswith("value_")},
            )
            saved.fits(state, lanes, names)
        except (OSError, ValueError, TypeError, EOFError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(
                "A file of the checkpoint can't be read.",
                received=str(path),
                cause=str(error),
                suggestion="delete the file: its networks are trained again",
            ) from error
        return saved

    def save(self, block: int, saved: Saved) -> None:
        """Keep a block of networks."""
        arrays = {"steps": saved.steps, "done": np.array(saved.done)}
        arrays |= {f"state_{i}": a for i, a in enumerate(saved.state)}
        arrays |= {f"value_{name}": a for name, a in saved.values.items()}
        arrays[_DIGEST] = np.array(self._digest(block, arrays))
        _publish(self._path(block), lambda file: np.savez(file, **arrays))  # pyright: ignore[reportArgumentType]

    def _digest(self, block: int, arrays: Mapping[str, np.ndarray]) -> str:
        found = hashlib.sha256(f"{self._settings}\0{block}".encode())
        for name in sorted(arrays):
            array = np.ascontiguousarray(arrays[name])
            found.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
            found.update(array.data)
        return found.hexdigest()

    def _path(self, block: int) -> Path:
        return self.folder / f"draws-{block:07d}.npz"


def _settings_in(path: Path) -> dict[str, str]:
    try:
        if path.stat().st_size > _MOST_SETTINGS_BYTES:
            raise ValueError("it is larger than any that was written here")
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
            raise ValueError("it holds no names with their settings")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            "The checkpoint can't be read.",
            received=str(path),
            cause=str(error),
            suggestion="another folder",
        ) from error
    return found


def _publish(path: Path, write: Callable[[IO[bytes]], Any], *, replace: bool = True) -> None:
    """Write a file beside its place, then move it there; without `replace`, if none is."""
    mark = f"{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}"
    beside = path.with_name(f".{path.name}.{mark}")
    try:
        with beside.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if replace or not path.exists():
            beside.replace(path)
    except OSError as error:
        raise InputError(
            "The checkpoint can't be written.",
            received=str(path),
            cause=str(error),
            suggestion="room on the disk, and a folder that may be written to",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what processes left that were killed while they wrote."""
    here = socket.gethostname()
    for path in (*folder.glob(".draws-*.npz.*"), *folder.glob(f".{_SETTINGS}.*")):
        host, pid = path.name.rsplit(".", 3)[-3:-1]
        with contextlib.suppress(OSError, ValueError):
            dead = host == here.rsplit(".", 1)[-1] and not _alive(int(pid))
            if dead or time.time() - path.stat().st_mtime > _LEFT_OVER_SECONDS:
                path.unlink()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True
