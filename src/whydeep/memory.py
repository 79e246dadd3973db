"""How much memory may be used now, to refuse work that could not be held before it begins."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["available", "control_groups"]

_UNKNOWN = 1 << 62  # nothing tells of a limit: let the system say
# Of a control group: its limit, what it holds, and which part of that is files read before, which
# give way (a line of memory.stat).
_SECOND_VERSION = ("memory.max", "memory.current", "inactive_file")
_FIRST_VERSION = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def available(root: Path = Path("/")) -> int:
    """Bytes that may be used now: what the machine has left, or a control group of it if less.

    Linux tells of both; containers and batch systems set the second. Elsewhere it is all memory of
    the machine, and where nothing is told, so much that nothing is refused.

    Args:
        root: where the system's ``proc`` and ``sys`` are.

    Source: Linux, Documentation/filesystems/proc.rst (MemAvailable), admin-guide/cgroup-v2.rst and
    admin-guide/cgroup-v1/memory.rst.

    Example:
        >>> available() > 0
        True
    """
    names = {2: _SECOND_VERSION, 1: _FIRST_VERSION}
    groups = control_groups(root, "memory")
    return min(
        _machine(root), _UNKNOWN, *(_left(folder, *names[version]) for folder, version in groups)
    )


def _machine(root: Path) -> int:
    found = re.search(r"^MemAvailable:\s*(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    if found:
        return int(found[1]) << 10
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError, AttributeError):
        return _UNKNOWN


def control_groups(root: Path, controller: str) -> Iterator[tuple[Path, int]]:
    """Folders of this process's control groups and of all they are part of, with their version."""
    top = root / "sys/fs/cgroup"
    groups = re.findall(r"^\d+:(.*?):/(.*)$", _text(root / "proc/self/cgroup"), re.MULTILINE)
    for controllers, path in groups:
        if not controllers:
            mount, version = top, 2
        elif controller in controllers.split(","):
            mount, version = top / controller, 1
        else:
            continue
        # In a container the path may be the host's: then only the topmost is found, its own.
        parts = Path(path).parts
        for depth in range(len(parts) + 1):
            yield mount.joinpath(*parts[:depth]), version


def _left(group: Path, limit: str, held: str, giving_way: str) -> int:
    most = _text(group / limit).strip()
    if not most.isdecimal():  # "max", or no such file
        return _UNKNOWN
    used = _text(group / held).strip()
    files = re.search(rf"^{giving_way} (\d+)$", _text(group / "memory.stat"), re.MULTILINE)
    kept = int(used) - (int(files[1]) if files else 0) if used.isdecimal() else 0
    return max(int(most) - max(kept, 0), 0)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
