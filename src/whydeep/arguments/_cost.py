"""What a call would cost, said before it begins: memory that there isn't, time that nobody has."""

from __future__ import annotations

from whydeep.errors import InputError
from whydeep.memory import available

__all__ = ["check_layers", "check_memory", "check_time"]

_MOST_DAYS = 30.0
# Asking the system takes half a millisecond, and where so little is missing nothing runs any more.
_NOT_ASKED_FOR = 64 << 20
_BYTES_OF_A_LAYER, _SECONDS_OF_A_LAYER = 1500, 5e-5  # measured: a Dense and an Activation
_UNITS = (("years", 365.25 * 86400.0), ("days", 86400.0), ("hours", 3600.0), ("seconds", 1.0))


def check_memory(needed: float, what: str, *, received: str = "", suggestion: str = "") -> None:
    """Refuse what is larger than the memory that is free, a container's limit included.

    Args:
        needed: bytes.
        what: of what, in the plural: "The kernels of these inputs".
        received: their numbers.
        suggestion: the next call to try.

    Raises:
        InputError: `needed` is more than `whydeep.memory.available`.

    Example:
        >>> check_memory(2**60, "The kernels of these inputs")
        Traceback (most recent call last):
            ...
        whydeep.errors.InputError: The kernels of these inputs do not fit in memory.
          received: 1,073,741,824.0 GiB
          needed:   ...
    """
    if needed <= _NOT_ASKED_FOR or needed <= (there := available()):
        return
    size = f"{_gibibytes(needed)} GiB"
    raise InputError(
        f"{what} do not fit in memory.",
        received=f"{received}: {size}" if received else size,
        needed=f"less than the {_gibibytes(there)} GiB that are free",
        suggestion=suggestion,
    )


def check_time(
    seconds: float, what: str, *, most_days: float = _MOST_DAYS, received: str = "",
    suggestion: str = "",
) -> None:  # fmt: skip
    """Refuse what would not end within a month.

    Args:
        seconds: at the least, on a fast machine.
        what: would take so long: "This many draws".
        most_days: that are still taken.
        received: its number.
        suggestion: the next call to try.

    Raises:
        InputError: it takes longer.
    """
    if seconds <= most_days * 86400.0:
        return
    unit, length = next((u for u in _UNITS if seconds >= u[1]), _UNITS[-1])
    said = f"at least {_round(seconds / length)} {unit}"
    raise InputError(
        f"{what} would take too long.",
        received=f"{received}: {said}" if received else said,
        needed=f"less than {_round(most_days * 86400.0 / 60.0)} minutes" if most_days < 1.0
        else f"less than {_round(most_days)} days",
        suggestion=suggestion,
    )  # fmt: skip


def check_layers(count: int, received: str) -> None:
    """Refuse to describe more layers than a minute and the memory hold.

    Raises:
        InputError: as it says; all that is done with a network takes longer by far.
    """
    check_memory(_BYTES_OF_A_LAYER * count, "The layers of this network", received=received)
    check_time(
        _SECONDS_OF_A_LAYER * count, "The description of this network", most_days=1.0 / 1440.0,
        received=received, suggestion="fewer layers",
    )  # fmt: skip


def _round(number: float) -> str:
    return f"{number:,.0f}" if number < 1e6 else f"{number:.0e}"


def _gibibytes(size: float) -> str:
    return f"{size / 2**30:,.1f}" if size < 1e18 * 2**30 else f"{size / 2**30:.0e}"
