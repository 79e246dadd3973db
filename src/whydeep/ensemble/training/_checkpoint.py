"""Training kept in a folder: a file a block of networks, and one that says what is trained.

Every file is written beside its place and then moved there, so a reader finds the old one or the
new one, never half of one. Nothing is pickled.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from whydeep.errors import InputError

__all__ = ["Checkpoint", "Saved"]

_SETTINGS = "training.json"


class Saved:
    """What a file holds of a block of networks.

    Args:
        steps: (R,) at which it was recorded.
        done: steps that are behind the state.
        state: arrays of parameters and of the optimiser.
        values: by observable, ``(lanes, R, ...)``.
    """

    def __init__(
        self, steps: np.ndarray, done: int, state: list[np.ndarray], values: dict[str, np.ndarray]
    ) -> None:
        self.steps, self.done, self.state, self.values = steps, done, state, values

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
        path = self.folder / _SETTINGS
        wanted = {name: str(value) for name, value in settings.items()}
        if not path.exists():
            if next(self.folder.glob("draws-*.npz"), None) is not None:
                raise InputError(
                    "This folder holds networks, and not what was trained.",
                    received=str(folder),
                    needed=f"a {_SETTINGS} beside them",
                    suggestion="an empty folder",
                )
            _publish(path, lambda file: file.write(json.dumps(wanted, indent=1).encode()))
            return
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                "The checkpoint can't be read.", received=str(path), cause=str(error)
            ) from error
        different = [n for n in wanted if found.get(n) != wanted[n]]
        if different:
            raise InputError(
                "The checkpoint is of another training.",
                received="; ".join(f"{n}: {wanted[n]}" for n in different),
                needed="; ".join(f"{n}: {found.get(n)}" for n in different),
                cause="the first line is this call, the second what the folder holds",
                suggestion="another folder, or the settings of the first call",
            )

    def load(self, block: int) -> Saved | None:
        """What is kept of a block of networks, or None."""
        path = self._path(block)
        if not path.exists():
            return None
        try:
            with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
                arrays = dict(file)
            count = sum(name.startswith("state_") for name in arrays)
            return Saved(
                arrays["steps"],
                int(arrays["done"]),
                [arrays[f"state_{i}"] for i in range(count)],
                {n.removeprefix("value_"): a for n, a in arrays.items() if n.startswith("value_")},
            )
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(
                "A file of the checkpoint can't be read.",
                received=str(path),
                cause=str(error),
                suggestion="delete the file: its networks are trained again",
            ) from error

    def save(self, block: int, saved: Saved) -> None:
        """Keep a block of networks."""
        arrays = {"steps": saved.steps, "done": np.array(saved.done)}
        arrays |= {f"state_{i}": a for i, a in enumerate(saved.state)}
        arrays |= {f"value_{name}": a for name, a in saved.values.items()}
        _publish(self._path(block), lambda file: np.savez(file, **arrays))  # pyright: ignore[reportArgumentType]

    def _path(self, block: int) -> Path:
        return self.folder / f"draws-{block:07d}.npz"


def _publish(path: Path, write: Any) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            write(file)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
