"""What long work shows of itself: a bar or a spinner for whatever takes longer than two seconds.

It goes to standard error, so that piped output stays clean: animated on a terminal, one plain
line elsewhere, nothing at all for quick work.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["phase", "progress_bar"]

_PATIENCE = 2.0


@contextmanager
def progress_bar(title: str, total: int) -> Iterator[Callable[[], None]]:
    """A function to call once a step; a bar with the time left appears after two seconds.

    Example:
        >>> with progress_bar("counting", 3) as advance:
        ...     for _ in range(3):
        ...         advance()
    """
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
    )
    with _late(title, columns, total) as advance:
        yield advance


@contextmanager
def phase(title: str) -> Iterator[None]:
    """Work of unknown length: its name and the time it has taken, after two seconds.

    Example:
        >>> with phase("predicting"):
        ...     answer = 6 * 7
    """
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with _late(title, columns, None):
        yield


@contextmanager
def _late(title: str, columns: Any, total: int | None) -> Iterator[Callable[[], None]]:
    """A rich progress display that a timer starts, unless the work is over by then."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task(title, total=total)
    lock = threading.Lock()
    over = started = False

    def show() -> None:
        nonlocal started
        with lock:
            if over:
                return
            if console.is_terminal:
                bar.start()
                started = True
            else:
                console.print(f"{title} ...", soft_wrap=True, highlight=False, markup=False)

    timer = threading.Timer(_PATIENCE, show)
    timer.daemon = True
    timer.start()
    try:
        yield lambda: bar.advance(task)
    finally:
        timer.cancel()
        with lock:
            over = True
        if started:
            bar.stop()
