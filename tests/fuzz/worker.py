"""Fuzzed calls in a process of their own: ``python -m tests.fuzz.worker SEED FIRST LAST``.

One line of JSON a call goes to standard output: its number, what was called with what, and what
came of it. A call depends on the seed and its number only.
"""

import dataclasses
import json
import os
import sys
import traceback
import warnings

import numpy as np

# Fields whose documentation says what a NaN in them means.
SAID = {"margin", "residual", "cosine", "pieces", "kernel", "correlation", "xi_kernel",
        "xi_correlation", "measured", "vertex_slope"}  # fmt: skip

TOLD = " networks "  # "3 of 4 networks have diverged ...": the promised RuntimeWarning of train


def name_of(number):
    """Which public callable a call is of: each in turn."""
    from tests.fuzz.calls import CALLS

    names = sorted(CALLS)
    return names[number % len(names)]


def make(seed, number):
    """The name, the function and the arguments of one call, some of them replaced."""
    from tests.fuzz.calls import CALLS
    from tests.fuzz.hostile import HOSTILE

    rng = np.random.default_rng([seed, number])
    name = name_of(number)
    function, args, kwargs = CALLS[name]()
    places = [*range(len(args)), *kwargs]
    args, kwargs, changed = list(args), dict(kwargs), []
    few = 1 if rng.random() < 0.75 else 2
    for place in rng.permutation(len(places))[:few]:
        which = int(rng.integers(len(HOSTILE)))
        value = HOSTILE[which]()
        key = places[place]
        (kwargs if isinstance(key, str) else args)[key] = value
        changed.append([key, which])
    return name, function, args, kwargs, changed


def judge(name, function, args, kwargs):  # noqa: PLR0911 -- a verdict a line
    """What came of a call: "ok", "refused", or what is wrong with it, and its words."""
    from whydeep.errors import WhydeepError

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = function(*args, **kwargs)
        except WhydeepError as error:
            said = str(error)
            if len(said) > 4500 or not error.problem:
                return "words", said[:300]
            return "refused", said
        except Exception as error:  # noqa: BLE001
            frames = traceback.extract_tb(error.__traceback__)
            last = [f"{os.path.basename(f.filename)}:{f.lineno} {f.name}" for f in frames[-4:]]  # noqa: PTH119
            if allowed(name, error, frames):
                return "refused", str(error)
            return "raw", f"{type(error).__name__}: {str(error)[:200]} @ {' < '.join(last[::-1])}"
    told = [w for w in caught if issubclass(w.category, UserWarning) or TOLD in str(w.message)]
    leaks = [w for w in caught if issubclass(w.category, (RuntimeWarning, DeprecationWarning))
             and "whydeep" not in str(w.message) and w not in told]  # fmt: skip
    worded = bool(told)
    if leaks:
        return "leak", f"{leaks[0].category.__name__}: {str(leaks[0].message)[:200]}"
    place = first_nan(result)
    if place is not None and not worded:
        return "nan", place
    return "ok", ""


def allowed(name, error, frames):
    """Errors of other classes that are promised: scikit-learn's words, Python's of a signature."""
    said = str(error)
    where = frames[-1].filename
    if "Regressor" in name or "Classifier" in name:
        return "/sklearn/" in where and isinstance(error, (ValueError, TypeError)) and bool(said)
    own = "/whydeep/" in where and "/site-packages/" not in where
    return name.endswith("[]") and isinstance(error, KeyError) and own and len(said) > 20


def first_nan(value, depth=0):  # noqa: C901, PLR0911 -- a kind of value a branch
    """Where a result holds a NaN, or None."""
    if depth > 4 or isinstance(value, (str, bytes, type)):
        return None
    if isinstance(value, float):
        return "a NaN" if value != value else None  # noqa: PLR0124
    if dataclasses.is_dataclass(value):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return first_nan(fields, depth + 1)
    if isinstance(value, dict):
        for key, item in value.items():
            if key in SAID:
                continue
            found = first_nan(item, depth + 1)
            if found:
                return f"{key}: {found}"
        return None
    if isinstance(value, (tuple, list)):
        for item in value[:20]:
            found = first_nan(item, depth + 1)
            if found:
                return found
        return None
    try:
        array = np.asarray(value)
        if array.dtype.kind == "f" and np.isnan(array).any():
            return f"{int(np.isnan(array).sum())} NaN of {array.size}"
    except Exception:  # noqa: BLE001
        return None
    return None


def main():
    """Run the calls FIRST to LAST - 1 of a seed."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    seed, first, last = map(int, sys.argv[1:4])
    real, sys.stdout = sys.stdout, sys.stderr  # a hostile `print` must not write between the lines
    for number in range(first, last):
        real.write(json.dumps({"make": number, "name": name_of(number)}) + "\n")
        real.flush()
        name, function, args, kwargs, changed = make(seed, number)
        real.write(json.dumps({"begin": number, "name": name, "changed": changed}) + "\n")
        real.flush()
        outcome, words = judge(name, function, args, kwargs)
        real.write(json.dumps({"end": number, "outcome": outcome, "words": words}) + "\n")
        real.flush()


if __name__ == "__main__":
    main()
