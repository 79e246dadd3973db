"""A progress bar for whatever takes longer than two seconds, on a terminal only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["progress_bar"]

_PATIENCE = 2.0


@contextmanager
def progress_bar(title: str, total: int) -> Iterator[Callable[[], None]]:
    """A function to call once a step; a bar with the time left appears after two seconds.

    It writes to standard error and only to a terminal, so that piped output stays clean.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    task = bar.add_task(title, total=total)
    begin = time.monotonic()
    started = False

    def advance() -> None:
        nonlocal started
        bar.advance(task)
        if not started and console.is_terminal and time.monotonic() - begin > _PATIENCE:
            bar.start()
            started = True

    try:
        yield advance
    finally:
        if started:
            bar.stop()
