"""Laws of numbers: which one may have made them, and how well they tell its variance.

A law that is expected (the rule of a layer's class) is believed where its numbers do not exclude it
at a declared rate, and any other is measured. Either way the variance keeps the error that the
numbers leave: who draws by a rival law is off by a few of these errors, never by more in silence.

Families are told apart by their likelihoods at the best scale; a law that is expected is tested by
its largest number, its mean square and Kolmogorov and Smirnov's distance.

Source: Kolmogorov 1933, Smirnov 1948; Marchenko and Pastur 1967 and Johnstone 2001 for the largest
singular value of independent entries.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy import special, stats

__all__ = [
    "Law",
    "NoLaw",
    "expected_law",
    "fixed_law",
    "independent_law",
    "orthogonal_law",
    "settled_law",
    "variances_read",
]

# Variances that are known better than this are not spoken of.
EXACT = 0.002
# The probability that numbers drawn by a law are said to exclude it.
RATE = 1e-4
# The family with the largest likelihood is believed at this odds against each of the others.
_ODDS = 1e3
# Independence is refused beyond this many standard errors: a false alarm in two million.
_SIGMAS = 5.0
# An error is stated so that this many of it reach what as many standard errors of log v reach.
_REACH = 4.0
# The largest of uniform numbers falls short of the bound by an exponential law, whose tail is long:
# errors of the variance in units of 1/numbers, of which four have a probability of 1e-4.
_UNIFORM = 4.0
# A rule is named where the variance is known better than this.
_NAMED = 0.01
# Fewer numbers than these tell no variance by themselves.
FEWEST_NUMBERS = 32
_MOST_SORTED = 2**16
# Orthogonal rows hold to rounding; single rows count as such at a gain that people write down.
_ORTHOGONAL = 2e-4
_GAINS = (1.0, 2.0, 0.5, 25.0 / 9.0, 1e-4, 1e-2, 1e-6)
_MOST_ROWS = 64
# Of a normal law cut at two standard deviations, as torch's and JAX's truncated initialisers have
# it: its mass, its variance and its kurtosis.
_MASS = math.erf(math.sqrt(2.0))
CUT_VARIANCE = 1.0 - 4.0 * math.exp(-2.0) / (math.sqrt(2.0 * math.pi) * _MASS)
_CUT_KURTOSIS = (
    3.0 - (8.0 + 6.0) * 2.0 * math.exp(-2.0) / (math.sqrt(2.0 * math.pi) * _MASS)
) / CUT_VARIANCE**2


@dataclass(frozen=True)
class Law:
    """How one parameter is drawn.

    Args:
        variance: of each of its numbers.
        mean: of each.
        bound: of a uniform law, else None.
        origin: "rule" (of its class), "given" (by the user), "function" or "factory" (measured on
            calls of the user's), or "numbers" (measured on the module's own numbers).
        error: standard error of the variance, 0 where it is exact.
        text: the rule in words.
        family: "normal" (also where the numbers don't tell), "uniform", "truncated" (normal, cut
            at two standard deviations), "orthogonal", "constant" or "fixed" (the same numbers,
            which differ from each other, at every draw).
    """

    variance: float
    mean: float = 0.0
    bound: float | None = None
    origin: str = "rule"
    error: float = 0.0
    text: str = ""
    family: str = "normal"

    @property
    def relative_error(self) -> float:
        """Of the variance."""
        return self.error / self.variance if self.variance > 0 else 0.0


class NoLaw(Exception):  # noqa: N818 -- it becomes an InputError once the parameter is known
    """Why numbers can't be independent ones of mean zero and one variance."""


def variances_read(whose: str, found: Mapping[str, tuple[float, float, str]]) -> tuple[str, ...]:
    """What a description rests on where variances have errors: one sentence, or none.

    Args:
        whose: numbers they were read off.
        found: by parameter, its variance, the error, and the rule that it is taken from.
    """
    if not found:
        return ()
    worst = sorted(found, key=lambda name: -found[name][1] / found[name][0])
    shown = "; ".join(f"{name} {_value(*found[name])}" for name in worst[:3])
    rest = f"; {len(worst) - 3} more, with smaller errors" if len(worst) > 3 else ""
    return (f"variance{'s' if len(worst) > 1 else ''} read off {whose}: {shown}{rest}",)


def _value(variance: float, error: float, rule: str) -> str:
    share = error / variance
    digits = f"{share:.1%}" if share < 0.095 else f"{share:.0%}"
    return f"{variance:.3g} ± {digits}" + (f" ({rule})" if rule else "")


# -- laws of which nothing is left open ------------------------------------------------------------


def fixed_law(draws: np.ndarray, *, origin: str) -> Law | None:
    """The law of numbers ``(draws, ...)`` that no draw changes, or None.

    One number of one draw may be constant or drawn: 0 and those of two digits are constant (one in
    25,000 of uniform float32 numbers has no more).
    """
    first = float(draws.flat[0]) if draws.size else 0.0
    short = float(f"{first:.1e}")
    if draws.size == 1 and first not in (short, float(np.float32(short))):
        return None
    if np.all(draws == first):
        text = "zeros" if first == 0 else "all equal"
        return Law(0.0, first, origin=origin, text=text, family="constant")
    if len(draws) > 1 and np.array_equal(draws, np.broadcast_to(draws[:1], draws.shape)):
        return Law(0.0, math.nan, origin=origin, text="always the same numbers", family="fixed")
    return None


def orthogonal_law(table: np.ndarray, *, origin: str) -> Law | None:
    """The law of a matrix with orthogonal rows or columns of one length, or None.

    The sum of its squares is no random number: the variance ``g^2 / max(rows, columns)`` is exact.

    Source: Saxe, McClelland and Ganguli 2014; ``orthogonal_`` of torch.nn.init.
    """
    flat = table.reshape(len(table), -1)
    long = max(flat.shape)
    short = (flat if flat.shape[0] <= flat.shape[1] else flat.T)[:_MOST_ROWS]
    gram = short @ short.T
    square = float(np.mean(np.diag(gram)))
    if square <= 0 or np.abs(gram - square * np.eye(len(gram))).max() > _ORTHOGONAL * square:
        return None
    known = [g for g in _GAINS if abs(g - square) <= 1e-5 * g]
    if len(gram) == 1 and not (known and long >= 4):
        return None
    square = known[0] if known else square
    text = f"orthogonal, of gain {math.sqrt(square):.5g}"
    return Law(square / long, origin=origin, text=text, family="orthogonal")


# -- laws that are expected ------------------------------------------------------------------------


def expected_law(numbers: np.ndarray, law: Law, rounding: float = 0.0) -> Law | None:
    """An expected law with the error that numbers leave to its variance, or None: excluded.

    Args:
        numbers: any shape.
        law: constant, uniform or normal.
        rounding: relative, of the numbers.

    Accuracy: a law is excluded wrongly at a rate of at most 1e-4.
    """
    flat = numbers.ravel()
    if law.variance == 0:
        same = np.all(flat == np.float32(law.mean)) or np.all(flat == law.mean)
        return law if same else None
    if _p_value(flat, law, rounding) < RATE:
        return None
    count, squares, top = flat.size, float(np.mean(flat**2)), float(np.abs(flat).max())
    if law.bound is not None and _family(count, squares, top, law.bound) == "uniform":
        found, share = (top * (1.0 + 1.0 / count)) ** 2 / 3.0, _UNIFORM / count
    else:
        found, share = squares, math.sqrt(2.0 / count)
    return replace(law, error=math.hypot(law.variance - found, share * law.variance))


def _p_value(flat: np.ndarray, law: Law, rounding: float) -> float:
    count = flat.size
    found = []
    kurtosis = 3.0
    if law.bound is not None:
        kurtosis = 1.8
        top = float(np.abs(flat).max()) / law.bound
        if top > 1.0 + 1e-5 + rounding:
            return 0.0
        # rounding moves the largest of many numbers by more than its distance from the bound
        found.append(min(1.0, top * (1.0 + 1e-6 + rounding)) ** count)
    if count >= FEWEST_NUMBERS:
        squares = float(np.mean(flat**2)) / law.variance - 1.0
        found.append(2.0 * stats.norm.sf(abs(squares) * math.sqrt(count / (kurtosis - 1.0))))
    elif law.bound is None:
        total = float(np.sum(flat**2)) / law.variance
        found.append(2.0 * min(stats.chi2.sf(total, count), stats.chi2.cdf(total, count)))
    found.append(_distance_p_value(flat, law, rounding))
    return min(1.0, len(found) * min(found))


def _distance_p_value(flat: np.ndarray, law: Law, rounding: float) -> float:
    """Of Kolmogorov's and Smirnov's distance between numbers and a law."""
    some = np.sort(flat[:: -(-flat.size // _MOST_SORTED)])
    count = len(some)
    if law.bound is not None:
        below = np.clip((some / law.bound + 1.0) / 2.0, 0.0, 1.0)
    else:
        below = special.ndtr(some / math.sqrt(law.variance))
        if law.family == "truncated":
            scale = math.sqrt(law.variance / CUT_VARIANCE)
            below = np.clip((special.ndtr(some / scale) - (1 - _MASS) / 2) / _MASS, 0.0, 1.0)
    steps = np.arange(count + 1) / count
    distance = max(float((steps[1:] - below).max()), float((below - steps[:-1]).max()))
    return float(stats.kstwo.sf(max(0.0, distance - rounding), count))


# -- laws that are measured ------------------------------------------------------------------------


def independent_law(draws: np.ndarray, rules: Iterable[tuple[float, str]], *, origin: str) -> Law:
    """The law of numbers ``(draws, ...)``, measured: independent, of mean zero, one variance.

    Args:
        draws: the numbers of each draw.
        rules: variances that people choose, with their names.
        origin: of the law.

    Raises:
        NoLaw: there are too few; they are not independent numbers of mean zero and one variance.
    """
    why = _not_independent(draws)
    if why:
        raise NoLaw(why)
    return settled_law(draws.ravel(), rules, origin=origin)


def settled_law(flat: np.ndarray, rules: Iterable[tuple[float, str]], *, origin: str) -> Law:
    """The variance of independent numbers of mean zero, with its error; by name where one fits.

    A rule is named where the variance is known to 1 % and every other one is excluded; what it
    differs from the variance found is then part of the error.
    """
    found = _measured(flat, origin)
    rules = list(rules)
    if found.family == "truncated":
        rules += [(CUT_VARIANCE * v, f"{text}, cut at two of it") for v, text in rules]
    near = [r for r in rules if abs(r[0] - found.variance) <= _REACH * found.error]
    values = {f"{v:.9g}" for v, _ in near}
    if found.error > _NAMED * found.variance or len(values) != 1:
        return found
    variance, text = near[0]
    return replace(
        found, variance=variance, text=text,
        bound=None if found.bound is None else math.sqrt(3.0 * variance),
        error=math.hypot(found.error, found.variance - variance),
    )  # fmt: skip


def _measured(flat: np.ndarray, origin: str) -> Law:
    count = flat.size
    variance = float(np.mean(flat**2))
    top = float(np.abs(flat).max())
    kurtosis = float(np.mean(flat**4)) / variance**2
    family = _family(count, variance, top, top)
    if family == "uniform":
        bound = top * (1.0 + 1.0 / count)
        law = Law(bound**2 / 3.0, bound=bound, family=family)
        share = _UNIFORM / count
    else:
        law = Law(variance, family=family)
        # A few numbers do not tell their own kurtosis.
        least = 3.0 if count < 1000 else 1.1
        known = _CUT_KURTOSIS if family == "truncated" else max(kurtosis, least)
        share = math.sqrt((known - 1.0) / count)
    if family != "normal" and _distance_p_value(flat, law, 1e-3) < RATE:
        law = Law(variance)
        share = math.sqrt(max(kurtosis - 1.0, 0.1 if count >= 1000 else 2.0) / count)
    error = law.variance * math.expm1(_REACH * min(share, 2.0)) / _REACH
    return replace(law, origin=origin, error=error, text=f"variance {law.variance:.4g}")


def _family(count: int, variance: float, top: float, bound: float) -> str:
    """The family whose likelihood is a thousand times that of the others, else "normal".

    Each has its best scale for the mean square and the largest of the numbers, but the uniform one
    the bound given.
    """
    scale = max(top / 2.0, math.sqrt(variance))
    likelihoods = {
        "normal": -0.5 * (math.log(2.0 * math.pi * variance) + 1.0),
        "uniform": -math.log(2.0 * bound),
        "truncated": -math.log(scale * math.sqrt(2.0 * math.pi) * _MASS)
        - variance / (2.0 * scale**2),
    }
    (second, _), (best, family) = sorted((v, name) for name, v in likelihoods.items())[1:]
    return family if count * (best - second) > math.log(_ODDS) else "normal"


def _not_independent(draws: np.ndarray) -> str:
    """Why numbers do not look like independent ones of mean zero and one variance, or ""."""
    count = draws.size
    if count < FEWEST_NUMBERS:
        return "there are too few"
    variance = float(np.mean(draws**2))
    kurtosis = float(np.mean(draws**4)) / variance**2
    stack = draws.reshape(len(draws), draws.shape[1] if draws.ndim > 1 else 1, -1)
    reasons = {
        "their mean is not zero": abs(draws.mean()) > _SIGMAS * math.sqrt(variance / count),
        "every one has a mean of its own": _has_means(draws, variance),
        "a few are far larger than the others": kurtosis > 3.0 + _SIGMAS * math.sqrt(24.0 / count),
        "their variance differs from row to row": _rows_differ(stack, variance, kurtosis),
        "their largest singular value is not that of independent numbers": _stands_out(
            stack[0], variance
        ),
    }
    return next((why for why, found in reasons.items() if found), "")


def _has_means(draws: np.ndarray, variance: float) -> bool:
    many, entries = len(draws), draws[0].size
    means = float(np.sum(draws.mean(axis=0) ** 2)) * many / variance
    return many > 1 and means > entries + _SIGMAS * math.sqrt(2.0 * entries) + _SIGMAS**2


def _rows_differ(stack: np.ndarray, variance: float, kurtosis: float) -> bool:
    for axis in (1, 2):
        table = np.moveaxis(stack, axis, 0).reshape(stack.shape[axis], -1)
        if min(table.shape) < 2:
            continue
        spread = np.mean(table**2, axis=1) / variance - 1.0
        unit = spread**2 * table.shape[1] / max(kurtosis - 1.0, 0.1)
        if unit.mean() > 1.0 + _SIGMAS * math.sqrt((2.0 + 12.0 / table.shape[1]) / len(table)):
            return True
    return False


def _stands_out(table: np.ndarray, variance: float) -> bool:
    """Whether the largest singular value is above that of independent numbers."""
    if min(table.shape) < 8:
        return False
    rows, columns = table.shape
    return _largest_singular(table) > _singular_edge(rows, columns, variance)


def _largest_singular(table: np.ndarray) -> float:
    """From below, by power iteration: enough to see what stands out."""
    v = np.random.default_rng(0).normal(size=table.shape[1])
    size = 0.0
    for _ in range(20):
        v = table.T @ (table @ (v / np.linalg.norm(v)))
        size = float(np.linalg.norm(v))
    return math.sqrt(size)


def _singular_edge(rows: int, columns: int, variance: float) -> float:
    """The edge of the spectrum of independent entries, and six times its fluctuation."""
    a, b = math.sqrt(rows), math.sqrt(columns)
    largest = (a + b) ** 2 + 6.0 * (a + b) * (1.0 / a + 1.0 / b) ** (1.0 / 3.0)
    return math.sqrt(variance * largest)
