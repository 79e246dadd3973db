"""The kinds of argument: what each takes, and in what words it refuses all else."""

import datetime as dt
import fractions
import inspect
import pickle

import numpy as np
import pytest

from whydeep.arguments import (
    COUNT,
    DTYPE,
    FLAG,
    NUMBER,
    POSITIVE,
    SEED,
    array,
    called,
    choice,
    choices,
    count,
    each,
    file_path,
    instance,
    number,
    shown,
    takes,
    text,
)
from whydeep.errors import InputError

HOSTILE = (
    None,
    "",
    "a" * 100_000,
    b"bytes",
    True,
    np.bool_(1),
    10**400,
    -(10**400),
    float("nan"),
    float("inf"),
    1j,
    np.complex64(1),
    dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    np.datetime64("2026-01-01"),
    np.ma.masked,
    np.ma.array(3.0, mask=False),
    np.array([1.0]),
    np.array(object()),
    [1.5],
    [],
    {},
    {1},
    object(),
    len,
    int,
    np,
)


@pytest.mark.parametrize("kind", [NUMBER, POSITIVE, COUNT, SEED, DTYPE], ids=lambda k: k.__name__)
@pytest.mark.parametrize("value", HOSTILE, ids=lambda v: type(v).__name__)
def test_what_is_no_number_and_no_word_is_refused_shortly(kind, value):
    with pytest.raises(InputError) as caught:
        kind("thing", value)
    assert "thing" in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_numbers_of_every_library_are_taken():
    for value in (2, 2.0, np.float32(2), np.int8(2), np.array(2.0), fractions.Fraction(4, 2)):
        found = NUMBER("c", value)
        assert type(found) is float
        assert found == 2.0
    for value in (3, np.int64(3), np.uint8(3), np.array(3)):
        found = COUNT("n", value)
        assert type(found) is int
        assert found == 3


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (number(above=0, below=1), (0.5, 1e-300), (0, 1, -1)),
        (number(least=0, most=1), (0, 1), (-1e-9, 1.1)),
        (number(infinite=True), (float("inf"), -3), (float("nan"), -float("inf"))),
        (count(2), (2, 2**63 - 1), (1, 2**63, -5)),
        (count(0, 7), (0, 7), (8, -1)),
        (FLAG, (True, False, np.bool_(0)), (0, 1, "yes", None)),
        (text, ("", "a"), (b"a", 3, None)),
        (choices("ab"), ("a", ["a", "b"], ("a", "a"), iter("ab")), ("c", ["a", 3], 5, {"a": 1})),
        (each(COUNT), ([1, 2], (), np.array([3])), (3, "12", {1}, [1, 0], np.array(3), iter([1]))),
        (instance(dict, needed="a dict"), ({},), (dict, [], None)),
        (array(dims=2), ([[1, 2]], np.eye(2, dtype="f2")), ([1, 2], [[1, 2], [3]], [[1j]], [])),
        (array(least=0), (3.0, [0, 1]), ([-1.0], [np.nan], ["1"], None, [dt.date(2026, 1, 1)])),
    ],
    ids=range(12),
)  # fmt: skip
def test_each_kind_takes_what_it_says(kind, right, wrong):
    for value in right:
        kind("thing", value)
    for value in wrong:
        with pytest.raises(InputError, match="needed:"):
            kind("thing", value)


@pytest.mark.parametrize("value", [b"x", "", "a\0b", "a" * 300, "é" * 200, 3, None, ["a"], object])
def test_what_is_no_name_of_a_file_is_refused(value):
    with pytest.raises(InputError, match="name of a file"):
        file_path("path", value)


def test_an_option_is_spelled_as_on_the_command_line():
    with pytest.raises(InputError, match="received: --draws 0"):
        COUNT("--draws", 0)


def test_what_has_no_readable_repr_is_shown_all_the_same():
    class Odd:
        def __repr__(self):
            raise RuntimeError

    assert shown(Odd()).startswith("a ")
    assert len(shown(["x" * 10**6])) < 200
    assert shown(10**10_000) == "a huge number"


def test_an_error_of_any_length_is_cut():
    assert len(str(InputError("no", received="x" * 10**6))) < 1500


def test_a_decorated_function_keeps_its_signature_words_and_pickle():
    @takes(first=COUNT, rest=NUMBER, seed=SEED, others=POSITIVE)
    def f(first, *rest, seed=None, **others):
        """Words."""
        return first, rest, seed, others

    assert f(1, 2, 3, seed=4, x=5) == (1, (2.0, 3.0), 4, {"x": 5.0})
    assert f(1)[2] is None
    assert list(inspect.signature(f).parameters) == ["first", "rest", "seed", "others"]
    assert f.__doc__ == "Words."
    with pytest.raises(InputError, match="x is out of range"):
        f(1, x=-1)
    with pytest.raises(TypeError, match="missing 1 required"):
        f()
    assert pickle.loads(pickle.dumps(module_level)) is module_level  # noqa: S301


@takes(n=COUNT)
def module_level(n):
    return n


def test_an_argument_without_a_kind_is_an_error_where_it_is_written():
    with pytest.raises(TypeError, match="b"):
        takes(a=COUNT)(lambda a, b: (a, b))


def test_what_a_users_function_raises_has_words_and_keeps_its_cause():
    with pytest.raises(InputError, match="ZeroDivisionError") as caught, called("loss"):
        _ = 1 / 0
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_refused_choice_is_named_by_its_noun():
    kind = choice("squared", "cross_entropy", other="a function of outputs and targets")
    with pytest.raises(InputError, match="3 is not a loss") as caught:
        kind("loss", 3)
    assert caught.value.needed.endswith("or a function of outputs and targets")
    with pytest.raises(InputError, match="3 is not an observable"):
        choices(("kernel", "ntk"))("observables", ["kernel", 3])


def test_texts_given_as_labels_are_told_how_to_become_numbers():
    with pytest.raises(InputError, match="return_inverse=True") as caught:
        array()("y", ["cat", "dog"])
    assert "Classifier" in caught.value.suggestion
    with pytest.raises(InputError, match="dtype=float"):
        array()("y", ["1", "2"])


def test_a_count_that_is_too_large_says_why():
    with pytest.raises(InputError, match=r"cause: *first order only"):
        count(0, 1, cause="first order only")("order", 2)
