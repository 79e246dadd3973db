"""Files written in one step: what stands at a path is replaced whole, or stays as it was."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from whydeep.arguments import file_path
from whydeep.errors import InputError

__all__ = ["check_writable", "publish"]

_NEEDED = "a file in an existing folder with write permission"


def publish(path: str | os.PathLike[str], text: str, name: str = "path") -> Path:
    """Write a file in one step: it is there whole, or as it was before.

    A link is written through: the file that it leads to is replaced. A file that was there keeps
    its mode; a new one has the mode that the process gives to new files.

    Args:
        path: where; its folder must exist.
        text: what, in UTF-8.
        name: what errors call the path.

    Returns:
        The path.

    Raises:
        InputError: the file can't be written, or what stands there is no regular file.

    Example:
        >>> folder = tempfile.TemporaryDirectory()
        >>> publish(Path(folder.name) / "page.html", "<p>").read_text()
        '<p>'
        >>> folder.cleanup()
    """
    given = file_path(name, path)
    target = check_writable(given, name)
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o666 & ~_umask()
    temporary = None
    try:
        descriptor, made = tempfile.mkstemp(dir=target.parent, prefix=".whydeep-")
        temporary = Path(made)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        temporary.chmod(mode)
        temporary.replace(target)
        temporary = None
    except OSError as error:
        raise _refused(name, given, error.strerror or str(error)) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return given


def check_writable(path: Path, name: str) -> Path:
    """The file that a path leads to, through links, or an `InputError` that says why it can't be.

    Raises:
        InputError: a folder that does not exist or can't be written to; a folder, a device, a pipe
            or a socket at the path; a file without write permission; links that lead nowhere.
    """
    try:
        target = path.resolve()
        there = target.stat().st_mode if target.exists() else None
        folder = target.parent
        if there is not None and not stat.S_ISREG(there):
            what = "a folder" if stat.S_ISDIR(there) else "no regular file (a device, a pipe ...)"
            raise _refused(name, path, f"it is {what}", "another name")
        if there is not None and (not os.access(target, os.W_OK) or not there & _ANY_MAY_WRITE):
            raise _refused(name, path, "the file that is there must not be written to (its mode)",
                           "another name, or chmod u+w")  # fmt: skip
        if not folder.is_dir():
            raise _refused(name, path, f"there is no folder {folder}")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise _refused(name, path, f"the folder {folder} can't be written to")
    except (OSError, RuntimeError) as error:  # links that run in a circle, a name too long
        raise _refused(name, path, getattr(error, "strerror", "") or str(error)) from error
    return target


# Root may write to a file of mode 0444; its owner has said that nobody should.
_ANY_MAY_WRITE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


def _refused(name: str, path: Path, cause: str, suggestion: str = "") -> InputError:
    received = f"{name} {path}" if name.startswith("--") else str(path)
    return InputError("The file can't be written.", received=received, needed=_NEEDED, cause=cause,
                      suggestion=suggestion)  # fmt: skip


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
