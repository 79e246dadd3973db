"""Everything that holds a matrix of numbers is accepted; everything else is refused in words."""

from fractions import Fraction

import numpy as np
import pytest

from whydeep.data import check_inputs
from whydeep.errors import InputError

ROWS = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]


def refusal(x, name="x"):
    with pytest.raises(InputError) as caught:
        check_inputs(x, name=name)
    error = caught.value
    assert error.received
    assert error.needed
    assert name in error.problem
    return error


def torch_tensor(require):
    return require("torch").tensor(ROWS)


def torch_integers(require):
    return require("torch").tensor(ROWS).int()


def jax_array(require):
    return require("jax.numpy").asarray(ROWS)


def jax_bfloat16(require):
    return require("jax.numpy").asarray(ROWS, dtype="bfloat16")


def pandas_frame(require):
    return require("pandas").DataFrame(ROWS, columns=["a", "b", "c"])


def pandas_whole_numbers_that_may_miss(require):
    return require("pandas").DataFrame(ROWS, columns=["a", "b", "c"]).astype("Int64")


def xarray_array(require):
    return require("xarray").DataArray(ROWS, dims=("sample", "feature"))


MAKERS = {
    "list": lambda _: ROWS,
    "tuple": lambda _: tuple(map(tuple, ROWS)),
    "list of arrays": lambda _: [np.array(row) for row in ROWS],
    "float32": lambda _: np.array(ROWS, np.float32),
    "float16": lambda _: np.array(ROWS, np.float16),
    "long double": lambda _: np.array(ROWS, np.longdouble),
    "uint8": lambda _: np.array(ROWS, np.uint8),
    "big-endian": lambda _: np.array(ROWS, ">f8"),
    "columns first": lambda _: np.asfortranarray(ROWS),
    "every second row": lambda _: np.repeat(ROWS, 2, axis=0)[::2],
    "fractions": lambda _: [[Fraction(v) for v in row] for row in ROWS],
    "nothing masked": lambda _: np.ma.masked_array(ROWS, mask=False),
    "torch": torch_tensor,
    "torch integers": torch_integers,
    "jax": jax_array,
    "jax bfloat16": jax_bfloat16,
    "xarray": xarray_array,
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_whatever_holds_the_same_numbers_becomes_the_same_matrix(make, require):
    x = check_inputs(make(require))
    assert type(x) is np.ndarray
    assert x.dtype == np.float64
    assert x.dtype.isnative
    np.testing.assert_array_equal(x, ROWS)


@pytest.mark.parametrize("make", [pandas_frame, pandas_whole_numbers_that_may_miss])
def test_pandas_frames_are_matrices(make, require):
    np.testing.assert_array_equal(check_inputs(make(require)), ROWS)


def test_a_float64_matrix_comes_back_itself():
    x = np.array(ROWS)
    assert check_inputs(x) is x


def test_booleans_and_whole_numbers_beyond_int64_are_numbers():
    np.testing.assert_array_equal(check_inputs([[True, False]]), [[1.0, 0.0]])
    np.testing.assert_array_equal(check_inputs([[2**70, 1]]), [[2.0**70, 1.0]])


def test_nan_and_infinite_numbers_are_counted_and_the_first_is_shown():
    x = np.ones((5, 4))
    x[3, 2] = np.nan
    x[3, 3] = -np.inf
    x[4, 0] = np.nan
    error = refusal(x, name="x_test")
    assert "2 NaN and 1 infinite of 20 numbers, in 2 rows" in error.received
    assert "x_test[3, 2] = nan" in error.received


def test_infinite_numbers_alone_are_not_called_missing():
    error = refusal([[1.0, np.inf]])
    assert "1 infinite of 2" in error.received
    assert "NaN" not in error.received
    assert "overflow" in error.cause


def test_a_long_double_beyond_float64_is_infinite():
    if np.finfo(np.longdouble).max == np.finfo(np.float64).max:
        pytest.skip("long double is float64 on this machine")
    assert "1 infinite" in refusal(np.array([["1e400", "1"]]).astype(np.longdouble)).received


@pytest.mark.parametrize(
    "x", [[], [[]], [[], []], np.ones((0, 3)), np.ones((3, 0)), np.ones((0, 2, 2))]
)
def test_empty_inputs_are_refused(x):
    assert "empty" in refusal(x).problem


def test_one_dimension_is_refused_with_both_ways_to_make_two_of_it():
    error = refusal(np.ones(7), name="x2")
    assert "x2[None] if it is one input of 7 numbers" in error.suggestion
    assert "x2[:, None] if it is 7 inputs of one number" in error.suggestion
    error = refusal([1.0])
    assert "[x] if it is one input of 1 number," in error.suggestion


@pytest.mark.parametrize("shape", [(2, 3, 4), (5, 1, 8, 8)])
def test_more_dimensions_are_refused_with_the_reshape_that_flattens_them(shape):
    error = refusal(np.ones(shape))
    assert f"{len(shape)} dimensions" in error.problem
    assert f"x.reshape({shape[0]}, {np.prod(shape[1:])})" in error.suggestion


@pytest.mark.parametrize("x", [3.5, 2, np.float64(1.0), np.array(1.0)])
def test_a_single_number_is_refused(x):
    assert "single number" in refusal(x).problem


def test_the_row_of_another_length_is_named():
    error = refusal([[1, 2], [3, 4], [5]])
    assert "row 0 has 2 numbers, row 2 has 1 numbers" in error.received
    assert "row 1 has a single number" in refusal([[1, 2], 3]).received


@pytest.mark.parametrize(
    ("x", "word"),
    [
        (None, "NoneType"),
        ({"a": 1}, "dict"),
        ({1, 2}, "set"),
        ((v for v in (1, 2)), "generator"),
        ([["1", "2"]], "texts"),
        ("digits", "whydeep.data.load('digits')"),
        ([[1, None]], "x[0, 1] is None"),
        ([[1.0, "a"], [2.0, 3.0]], "texts"),
        (np.array([["2020-01-01"]], "datetime64[D]"), "days"),
        (np.zeros(3, dtype=[("a", float), ("b", float)]), "dtype"),
        ([[10**400, 1]], "too large"),
        (np.array([[b"1"]]), "texts"),
    ],
)
def test_what_is_not_a_number_is_refused(x, word):
    error = refusal(x)
    assert "does not hold numbers" in error.problem
    assert word in str(error)


def test_complex_numbers_are_refused_even_if_they_are_real():
    assert "complex" in refusal(np.ones((2, 2), complex)).problem
    assert "complex" in refusal([[1j, 0]]).problem


def test_masked_entries_are_refused():
    error = refusal(np.ma.masked_array(ROWS, mask=[[0, 1, 0], [0, 0, 1]]))
    assert "2 of 6 masked" in error.received


def test_sparse_matrices_are_refused():
    sparse = pytest.importorskip("scipy.sparse")
    for x in (sparse.csr_matrix(ROWS), sparse.coo_array(ROWS)):
        assert refusal(x).suggestion == "x.toarray()"


def test_torch_tensors_that_numpy_cannot_read_say_how_to_convert_them(require):
    torch = require("torch")
    for x in (
        torch.ones(2, 2, requires_grad=True),
        torch.ones(2, 2, dtype=torch.bfloat16),
        torch.ones(2, 2, device="meta"),
    ):
        error = refusal(x)
        assert "x.detach().cpu().float()" in error.suggestion
        assert error.cause


def test_traced_jax_arrays_are_refused(require):
    jax = require("jax")
    with pytest.raises(InputError, match="jit, vmap, grad"):
        jax.jit(check_inputs)(np.ones((2, 2)))


def test_a_frame_with_a_text_column_says_which(require):
    pandas = require("pandas")
    error = refusal(pandas.DataFrame({"height": [1.0, 2.0], "species": ["a", "b"]}))
    assert "column 'species'" in error.suggestion
    assert "x[0, 1] is 'a'" in error.cause


def test_a_dataset_of_xarray_is_refused(require):
    xarray = require("xarray")
    assert refusal(xarray.Dataset({"a": ("k", [1.0, 2.0])})).received.endswith("Dataset")
