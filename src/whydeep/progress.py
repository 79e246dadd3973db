"""What long work shows of itself: a bar or a spinner for whatever takes longer than two seconds.

It goes to standard error, so that piped output stays clean: animated on a terminal, one plain
line elsewhere, nothing at all for quick work.

A display must not change what is computed, so it leaves Python's random numbers alone. rich draws
one when it is first imported: whatever shows something asks `rich_part` for it.
"""

from __future__ import annotations

import importlib
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["phase", "progress_bar", "rich_part"]

_PATIENCE = 2.0


@contextmanager
def progress_bar(title: str, total: int) -> Iterator[Callable[[], None]]:
    """A function to call once a step; a bar with the time left appears after two seconds.

    Example:
        >>> with progress_bar("counting", 3) as advance:
        ...     for _ in range(3):
        ...         advance()
    """
    with _late(title, total) as advance:
        yield advance


@contextmanager
def phase(title: str) -> Iterator[None]:
    """Work of unknown length: its name and the time it has taken, after two seconds.

    Example:
        >>> with phase("predicting"):
        ...     answer = 6 * 7
    """
    with _late(title, None):
        yield


def rich_part(name: str) -> Any:
    """A module of rich; Python's global random numbers go on as if it had not been imported.

    Example:
        >>> rich_part("table").Table.__name__
        'Table'
    """
    if "rich.style" not in sys.modules:
        state = random.getstate()
        try:
            importlib.import_module("rich.style")  # draws 24 bits, for the names of links
        finally:
            random.setstate(state)
    return importlib.import_module(f"rich.{name}")


@contextmanager
def _late(title: str, total: int | None) -> Iterator[Callable[[], None]]:
    """A rich progress display that a timer starts, unless the work is over by then."""
    lock = threading.Lock()
    over, done, begin = False, 0, time.monotonic()
    bar: Any = None
    # In this thread: another one could draw random numbers between the import and what undoes it.
    console = rich_part("console").Console(stderr=True) if _on_a_terminal() else None

    def show() -> None:
        nonlocal bar
        with lock:
            if over:
                return
            if console is not None and console.is_terminal:
                bar = _bar(console, title, total, done, begin)
            elif sys.stderr is not None:
                print(f"{title} ...", file=sys.stderr, flush=True)  # noqa: T201

    def advance() -> None:
        nonlocal done
        with lock:
            done += 1
            if bar is not None:
                bar.advance(bar.task_ids[0])

    timer = threading.Timer(_PATIENCE, show)
    timer.daemon = True
    timer.start()
    try:
        yield advance
    finally:
        timer.cancel()
        with lock:
            over = True
        if bar is not None:
            bar.stop()


def _on_a_terminal() -> bool:
    return sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty()


def _bar(console: Any, title: str, total: int | None, done: int, begin: float) -> Any:
    """A bar where the length of the work is known, else a spinner; already started."""
    rich = rich_part("progress")
    text = rich.TextColumn("{task.description}")
    if total is None:
        columns = (rich.SpinnerColumn(), text, rich.TimeElapsedColumn())
    else:
        share = rich.TextColumn("{task.percentage:>3.0f}%")
        columns = (text, rich.BarColumn(), share, rich.TimeRemainingColumn())
    bar = rich.Progress(*columns, console=console, transient=True, get_time=time.monotonic)
    bar.add_task(title, total=total, completed=done)
    bar.tasks[0].start_time = begin
    bar.start()
    return bar
