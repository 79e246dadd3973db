"""The verdict on a row, and its reason in words.

A row *disagrees* where its deviation can't be noise and neglected orders. It *agrees* only where
the truth is then known to lie within the declared share of the prediction: what was measured, what
noise may do at the declared error rate and what neglected orders may add, together, are smaller.
So a theory that is off by that share is called "agrees" with the probability of a false alarm at
most. Everything else is *not resolved*.

Source: tests of equivalence, Schuirmann 1987.
"""

from __future__ import annotations

import dataclasses
import math

from whydeep.comparison._rows import Row

__all__ = ["PATTERN_SHARE", "ZERO_SHARE", "judge", "share_text"]

PATTERN_SHARE = 2.5
"""A pattern, as many numbers as there are components, is asked for to this many resolutions."""

ZERO_SHARE = 0.1
"""Nothing, where it is predicted, is asked for to this share of a resolution of the kernel."""

_MOST_DRAWS = 10**15
_UNKIND = 2.0


def judge(row: Row, level: float, limit: float, resolution: float, draws: int) -> Row:
    """The row with its verdict.

    Args:
        row: without.
        level: error rate of one test.
        limit: standard errors that a size may deviate at that level.
        resolution: the share of the prediction that the row must be known to.
        draws: behind its noise.
    """
    reach = limit * row.stderr + row.neglected
    known, entries = abs(row.deviation) + reach, None
    if row.pattern is not None and row.pattern.scale > 0:
        entries = row.pattern.known_to(level)
    row = dataclasses.replace(row, known_to=known, pattern_known_to=entries)
    wrong = _wrong(row, level, reach)
    if wrong:
        return dataclasses.replace(row, verdict="disagrees", reason=wrong)
    of = "the kernel" if row.absolute else "the prediction"
    resolution = ZERO_SHARE * resolution if row.absolute else resolution
    share = PATTERN_SHARE * resolution
    if known <= resolution and (entries is None or entries <= share):
        each = "" if entries is None else f", its entries one by one within {share_text(entries)}"
        reason = f"within {share_text(known)} of {of}{each}"
        if abs(row.z) > limit:
            reason += (
                f"; off by {row.deviation:+.2%}, {abs(row.z):.1f} standard errors, of which "
                f"neglected orders of 1/width, quadrature and rounding may be {row.neglected:.2%}"
            )
        return dataclasses.replace(row, verdict="agrees", reason=reason)
    # What is asked of draws must hold where chance is unkind: the deviation counts for two standard
    # errors at least.
    unkind = max(known, (limit + _UNKIND) * row.stderr + row.neglected)
    parts = [("size", known, _factor(unkind, row.inherent, resolution), row.inherent, resolution)]
    if row.pattern is not None and entries is not None:
        floor, unkind = row.pattern.floor, max(entries, row.pattern.expected(level, _UNKIND))
        factor = _factor(unkind, floor, share)
        parts.append(("entries one by one", entries, factor, floor, share))
    short = [part for part in parts if part[1] > part[-1]]
    what, shown, factor, floor, wanted = max(short, key=lambda part: part[2])
    said = f"{what} known to {share_text(shown)} of {of} only"
    if math.isinf(factor):
        reason = (
            f"{said}: orders of 1/width that theory leaves out may add {share_text(floor)}: "
            "more width for this depth"
        )
        return dataclasses.replace(row, verdict="not resolved", reason=reason)
    needed = min(math.ceil(draws * factor), _MOST_DRAWS)
    reason = f"{said}: about {needed:,} draws would resolve {share_text(wanted)}"
    return dataclasses.replace(row, verdict="not resolved", reason=reason, draws_needed=needed)


def _wrong(row: Row, level: float, reach: float) -> str:
    """Why the row disagrees; nothing where it does not."""
    if row.fixed is not None and abs(row.fixed.deviation) > row.fixed.neglected:
        return f"off by {row.fixed.deviation:+.2%} in an entry that is measured without noise"
    if abs(row.deviation) > reach:
        by = f"{abs(row.z):.1f} standard errors"
        return f"off by {row.deviation:+.2%}" + (
            " of a number without noise" if row.exact else f", {by}"
        )
    if row.pattern_bound is not None and row.pattern_bound < level:
        size = "zero on average" if row.absolute else "right size"
        return f"{size}, wrong pattern over inputs (p = {row.pattern_bound:.1g})"
    return ""


def _factor(known: float, floor: float, wanted: float) -> float:
    """How many times the draws make what is known to `known` known to `wanted`."""
    if floor >= wanted:
        return math.inf
    return max(((known - floor) / (wanted - floor)) ** 2, 1.0)


def share_text(value: float) -> str:
    """A share as a percentage with two digits.

    Example:
        >>> share_text(0.0123), share_text(0.25), share_text(12.0)
        ('1.2%', '25%', '12 times')
    """
    if value >= 10:
        return f"{value:.0f} times"
    return f"{value:.0%}" if value >= 0.1 else f"{100 * value:.2g}%"
