"""Real sets by name and files of every kind; what can't be read is refused, never a traceback."""

import io
import os
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest

from whydeep.data import NAMES, load
from whydeep.data import _load as module
from whydeep.errors import InputError

SHAPES = {  # published sizes
    "digits": (1797, 64, 10),
    "breast_cancer": (569, 30, 2),
    "wine": (178, 13, 3),
    "iris": (150, 4, 3),
    "diabetes": (442, 10, None),
}


def refusal(source, n=None, **options):
    with pytest.raises(InputError) as caught:
        load(source, n, **options)
    error = caught.value
    assert error.received
    assert error.needed
    return error


# --------------------------------------------------------------------------------- by name


@pytest.mark.parametrize("name", SHAPES)
def test_bundled_sets_have_their_published_sizes_and_unit_scale(name):
    rows, columns, classes = SHAPES[name]
    x, y = load(name)
    assert x.shape == (rows, columns)
    assert x.dtype == np.float64
    assert y.shape == (rows,)
    if classes is None:
        assert y.dtype == np.float64
    else:
        assert y.dtype == np.int64
        np.testing.assert_array_equal(np.unique(y), np.arange(classes))
    # A mean of `columns` squares, a root and a division: a few roundings each.
    np.testing.assert_allclose((x**2).mean(axis=1), 1, rtol=8 * np.finfo(float).eps)


@pytest.mark.parametrize("name", SHAPES)
def test_without_scaling_the_rows_are_those_of_scikit_learn(name):
    from sklearn import datasets

    x, y = load(name, scale=False)
    bunch = getattr(datasets, f"load_{name}")()
    np.testing.assert_array_equal(x, bunch.data)
    np.testing.assert_array_equal(y, bunch.target)


def test_scaling_keeps_the_direction_of_every_row():
    raw, _ = load("wine", scale=False)
    x, _ = load("wine")
    factor = x / raw
    np.testing.assert_allclose(factor, np.broadcast_to(factor[:, :1], raw.shape), rtol=1e-14)
    assert np.all(factor > 0)


def test_four_digits_are_four_different_digits():
    _, y = load("digits", 4)
    assert y.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "wine", "iris"])
@pytest.mark.parametrize("n", [1, 7, 100, None])
def test_classes_come_in_turn_and_each_in_the_order_of_the_source(name, n):
    raw, labels = load(name, scale=False)
    n = len(raw) if n is None else n
    x, y = load(name, n, scale=False)
    queues = {
        c: [row for row, label in zip(raw, labels, strict=True) if label == c] for c in set(labels)
    }
    expected = []
    while len(expected) < n:  # one of each class in turn, by hand
        expected += [(queues[c].pop(0), c) for c in sorted(queues) if queues[c]]
    np.testing.assert_array_equal(x, [row for row, _ in expected[:n]])
    assert y.tolist() == [int(c) for _, c in expected[:n]]


def test_targets_that_are_not_classes_come_in_the_order_of_the_source():
    x, y = load("diabetes")
    x5, y5 = load("diabetes", 5)
    np.testing.assert_array_equal(x5, x[:5])
    np.testing.assert_array_equal(y5, y[:5])


def test_a_seed_draws_rows_without_repetition_and_more_extend_fewer():
    x, y = load("wine", scale=False)
    x9, y9 = load("wine", n=9, seed=3, scale=False)
    x20, y20 = load("wine", n=20, seed=3, scale=False)
    np.testing.assert_array_equal(x20[:9], x9)
    np.testing.assert_array_equal(y20[:9], y9)
    assert len(np.unique(x20, axis=0)) == 20
    pairs = {(*row, label) for row, label in zip(x.tolist(), y.tolist(), strict=True)}
    assert {(*row, label) for row, label in zip(x20.tolist(), y20.tolist(), strict=True)} <= pairs
    assert not np.array_equal(load("wine", n=9, seed=4, scale=False)[0], x9)
    every, _ = load("wine", seed=3, scale=False)
    np.testing.assert_array_equal(np.sort(every, axis=0), np.sort(x, axis=0))


@pytest.mark.parametrize(
    ("name", "rows", "columns"), [("mnist", 20_000, 784), ("mnist1d", 4000, 40)]
)
def test_sets_of_the_data_folder(name, rows, columns, data_dir, monkeypatch):
    monkeypatch.setenv("WHYDEEP_DATA", str(data_dir))
    x, y = load(name, scale=False)
    assert x.shape == (rows, columns)
    assert y.shape == (rows,)
    np.testing.assert_array_equal(np.unique(y), np.arange(10))
    few, labels = load(name, 12)
    assert labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    np.testing.assert_allclose((few**2).mean(axis=1), 1, rtol=8 * np.finfo(float).eps)


def test_the_first_labels_of_mnist_are_the_official_ones(data_dir, monkeypatch):
    monkeypatch.setenv("WHYDEEP_DATA", str(data_dir))
    _, y = load("mnist")
    assert y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]


@pytest.mark.parametrize("name", ["mnist", "mnist1d"])
def test_without_a_data_folder_the_variable_is_named(name, tmp_path, monkeypatch):
    monkeypatch.delenv("WHYDEEP_DATA", raising=False)
    error = refusal(name, 4)
    assert "WHYDEEP_DATA is not set" in error.received
    assert "export WHYDEEP_DATA=" in error.suggestion
    monkeypatch.setenv("WHYDEEP_DATA", str(tmp_path / "nowhere"))
    assert "not a folder" in refusal(name, 4).received
    monkeypatch.setenv("WHYDEEP_DATA", str(tmp_path))
    error = refusal(name, 4)
    assert f"WHYDEEP_DATA={tmp_path}" in error.received
    assert f"{name}/" in error.needed


def test_another_file_of_the_same_name_in_the_data_folder_is_refused(tmp_path, monkeypatch):
    (tmp_path / "mnist1d").mkdir()
    np.savez(tmp_path / "mnist1d" / "mnist1d.npz", images=np.ones((3, 2)))
    monkeypatch.setenv("WHYDEEP_DATA", str(tmp_path))
    assert "arrays x and y" in refusal("mnist1d").needed


@pytest.mark.parametrize("name", ["digit", "MNIST", "cifar10", "", "  ", "mnist-1d"])
def test_an_unknown_name_lists_the_known_ones(name):
    error = refusal(name)
    assert all(known in error.needed for known in NAMES)
    if name in {"digit", "MNIST", "mnist-1d"}:
        assert error.suggestion.startswith("load(")


@pytest.mark.parametrize("source", [None, 3, b"digits", np.ones((2, 2))])
def test_what_is_neither_a_name_nor_a_file_is_refused(source):
    with pytest.raises(InputError, match="by name or from a file"):
        module._read(source)


@pytest.mark.parametrize("n", [0, -1, True, 2.0, "4", float("nan")])
def test_n_and_seed_are_whole_numbers(n):
    with pytest.raises(InputError, match=r"^n (.|\n)*whole number >= 1"):
        load("digits", n=n)
    if n != 0:
        with pytest.raises(InputError, match=r"^seed (.|\n)*whole number >= 0"):
            load("digits", seed=n)


def test_numbers_of_numpy_count_too():
    assert len(load("iris", np.int64(5), seed=np.uint8(1))[0]) == 5


def test_more_rows_than_there_are_is_refused():
    error = refusal("iris", 151)
    assert "n <= 150" in error.needed


def test_importing_the_room_does_not_import_scikit_learn():
    code = "import sys, whydeep.data; print('sklearn' in sys.modules, 'jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


# ----------------------------------------------------------------------------- numpy's files

X = np.array([[3.0, 4.0], [1.0, -1.0], [0.0, 2.0]])


def test_npy_files_hold_the_rows(tmp_path):
    np.save(tmp_path / "a.npy", X.astype(np.float32))
    x, y = load(tmp_path / "a.npy", scale=False)
    np.testing.assert_array_equal(x, X)
    assert y is None
    x, _ = load(str(tmp_path / "a.npy"), 2)
    # 3, 4 has |x|^2 / n_0 = 25 / 2.
    np.testing.assert_allclose(x, [[3 / 12.5**0.5, 4 / 12.5**0.5], [1, -1]], rtol=1e-15)


@pytest.mark.parametrize("key", ["x", "X", "anything"])
def test_npz_files_hold_rows_and_labels(key, tmp_path):
    np.savez(tmp_path / "a.npz", **{key: X, "y": np.array([1, 0, 1], np.uint8), "t": np.ones(5)})
    x, y = load(tmp_path / "a.npz", scale=False)
    np.testing.assert_array_equal(x, X)
    assert y.tolist() == [1, 0, 1]
    x, y = load(tmp_path / "a.npz", 2, scale=False)
    np.testing.assert_array_equal(x, X[[1, 0]])  # one of each class in turn
    assert y.tolist() == [0, 1]


def test_x_is_preferred_to_other_matrices_and_pickled_extras_are_not_touched(tmp_path):
    extras = {"meta": np.array([{}, None], dtype=object), "other": np.ones((2, 2))}
    np.savez(tmp_path / "a.npz", x=X, **extras)
    np.testing.assert_array_equal(load(tmp_path / "a.npz", scale=False)[0], X)


def test_the_format_is_told_by_the_content(tmp_path):
    with (tmp_path / "a.npy").open("wb") as file:
        np.savez(file, x=X)
    np.testing.assert_array_equal(load(tmp_path / "a.npy", scale=False)[0], X)


def test_texts_are_classes_and_real_numbers_are_targets(tmp_path):
    np.savez(tmp_path / "a.npz", x=X, y=np.array(["b", "b", "a"]))
    assert load(tmp_path / "a.npz", 2)[1].tolist() == ["a", "b"]
    np.savez(tmp_path / "a.npz", x=X, y=np.array([2.0, 2.0, 1.0]))
    assert load(tmp_path / "a.npz", 2)[1].tolist() == [2.0, 2.0]
    np.savez(tmp_path / "a.npz", x=X, y=np.eye(3)[:, :2])
    assert load(tmp_path / "a.npz", 2)[1].tolist() == [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("arrays", "word"),
    [
        ({"a": X, "b": X}, "a (3, 2), b (3, 2)"),
        ({"y": np.ones(3)}, "no arrays"),
        ({"a": np.ones(3)}, "a (3,)"),
        ({}, "no arrays"),
    ],
)
def test_npz_files_without_one_clear_matrix_are_refused(arrays, word, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays)
    error = refusal(tmp_path / "a.npz")
    assert word in error.received
    assert "x=x, y=y" in error.suggestion


@pytest.mark.parametrize(
    ("y", "word"),
    [
        (np.ones(2), "do not belong"),
        (np.ones((3, 1, 1)), "do not belong"),
        (np.array(1), "do not belong"),
        (np.array([1.0, np.nan, np.inf]), "not all finite"),
        (np.array([1j, 0, 0]), "neither numbers nor texts"),
    ],
)
def test_labels_that_do_not_fit_are_refused(y, word, tmp_path):
    np.savez(tmp_path / "a.npz", x=X, y=y)
    assert word in refusal(tmp_path / "a.npz").problem


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_pickles_are_refused_and_never_run(suffix, tmp_path):
    trap = tmp_path / "ran"

    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(trap),))

    path = tmp_path / f"a{suffix}"
    content = np.array([[Trap(), 1.0]], dtype=object)
    if suffix == ".npy":
        np.save(path, content)
    else:
        np.savez(path, x=content)
    error = refusal(path)
    assert "pickled" in error.cause
    assert not trap.exists()


def whole_npz():
    file = io.BytesIO()
    np.savez_compressed(file, x=np.random.default_rng(0).normal(size=(50, 50)))
    return file.getvalue()


def header_of(shape):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": "<f8", "fortran_order": False, "shape": shape}
    )
    return file.getvalue()


def zip_without_arrays():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x", b"not an array")
        archive.writestr("other.txt", b"hello")
    return file.getvalue()


def npz_with_a_bad_checksum():
    file = io.BytesIO()
    np.savez(file, x=np.zeros((50, 50)))
    content = bytearray(file.getvalue())
    content[2000] ^= 255
    return bytes(content)


DAMAGED = {
    "empty": b"",
    "text": b"1,2\n3,4\n",
    "half an npz": whole_npz()[:900],
    "npz without its directory": whole_npz()[:-60],
    "garbled npz": whole_npz()[:200] + bytes(400) + whole_npz()[600:],
    "bad checksum": npz_with_a_bad_checksum(),
    "magic alone": b"\x93NUMPY",
    "magic and version": b"\x93NUMPY\x01\x00",
    "unknown version": b"\x93NUMPY\x09\x00\x10\x00" + b" " * 16,
    "header without data": header_of((5, 5)),
    "header of a petabyte": header_of((10**7, 10**7)) + bytes(80),
    "negative shape": header_of((-1, 5)) + bytes(80),
    "overflowing shape": header_of((2**40, 2**40)) + bytes(80),
    "header that is code": b"\x93NUMPY\x01\x00\x12\x00__import__('os')  ",
    "header that is nothing": b"\x93NUMPY\x01\x00\x04\x00((((",
    "zip of other things": zip_without_arrays(),
    "a pickle": b"\x80\x04N.",
}


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_files_are_refused(content, suffix, tmp_path):
    (tmp_path / f"a{suffix}").write_bytes(content)
    assert f"a{suffix}" in refusal(tmp_path / f"a{suffix}").received


@pytest.mark.parametrize(
    ("array", "word"),
    [
        (np.ones((2, 3, 4)), "3 dimensions"),
        (np.ones(4), "one dimension"),
        (np.ones((0, 4)), "empty"),
        (np.array([[1, np.nan]]), "not finite"),
        (np.array([["a"]]), "does not hold numbers"),
        (np.ones((2, 2), complex), "complex"),
        (np.zeros(2, dtype=[("a", "f8")]), "does not hold numbers"),
    ],
)
def test_arrays_in_files_are_checked_like_any_input(array, word, tmp_path):
    np.save(tmp_path / "a.npy", array)
    error = refusal(tmp_path / "a.npy")
    assert word in error.problem
    assert "a.npy" in error.received


def test_rows_of_zeros_are_named_by_their_number_in_the_source(tmp_path):
    x = np.ones((20, 3))
    x[[4, 11]] = 0
    np.save(tmp_path / "a.npy", x)
    error = refusal(tmp_path / "a.npy")
    assert "2 such, row 4, 11 of the source" in error.received
    assert "scale=False" in error.suggestion
    assert load(tmp_path / "a.npy", 4)[0].shape == (4, 3)  # the first four are fine
    assert load(tmp_path / "a.npy", scale=False)[0].shape == (20, 3)
    order = np.random.default_rng(1).permutation(20).tolist()
    first = next(row for row in order if row in {4, 11})
    error = refusal(tmp_path / "a.npy", order.index(first) + 1, seed=1)
    assert f"1 such, row {first} of" in error.received


@pytest.mark.parametrize("factor", [1e200, 1e-200, 5e-324])
def test_scaling_neither_overflows_nor_underflows(factor, tmp_path):
    np.save(tmp_path / "a.npy", factor * np.array([[1.0, -1.0]]))
    np.testing.assert_allclose(load(tmp_path / "a.npy")[0], [[1, -1]], rtol=1e-15)


# ----------------------------------------------------------------------------- comma-separated


def csv_file(folder, text):
    path = folder / "a.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "3,4\n1,-1\n0,2\n",
        "3,4\n1,-1\n0,2",
        "a,b\n3,4\n1,-1\n0,2\n",
        '"a","b"\n"3","4"\n1,-1\n0,2\n',
        "# a,b\n3,4\n1,-1\n0,2\n",
        "\n3,4\n\n1,-1\n  \n0,2\n\n",
        "3, 4\r\n1 ,-1\r\n0,2e0\r\n",
        b"\xef\xbb\xbf3,4\n1,-1\n0,2\n",
    ],
)
def test_csv_files_with_and_without_a_header(text, tmp_path):
    x, y = load(csv_file(tmp_path, text), scale=False)
    np.testing.assert_array_equal(x, X)
    assert y is None


@pytest.mark.parametrize(
    ("column", "labels"),
    [
        (["7", "3", " 7"], [3, 7, 7]),
        (["b", "a", "b"], ["a", "b", "b"]),
        (["0.5", "3", "1"], [0.5, 3.0, 1.0]),
    ],
)
def test_a_csv_column_called_y_holds_the_labels(column, labels, tmp_path):
    lines = [f"{a},{y},{b}" for (a, b), y in zip(X, column, strict=True)]
    x, y = load(csv_file(tmp_path, "\n".join(["a,y,b", *lines])), 3, scale=False)
    assert y.tolist() == labels
    np.testing.assert_array_equal(x, X if isinstance(labels[0], float) else X[[1, 0, 2]])


def test_real_data_survive_a_round_trip_through_pandas(tmp_path, require):
    pandas = require("pandas")
    x, y = load("iris", scale=False)
    frame = pandas.DataFrame(x, columns=["sl", "sw", "pl", "pw"]).assign(y=y)
    frame.to_csv(tmp_path / "iris.csv", index=False)
    again, labels = load(tmp_path / "iris.csv", scale=False)
    np.testing.assert_array_equal(again, x)
    np.testing.assert_array_equal(labels, y)
    frame.to_csv(tmp_path / "iris.csv")
    assert "index=False" in refusal(tmp_path / "iris.csv").cause


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1,2\n3,4\n5\n", ["line 3 has 1 columns, and line 1 has 2"]),
        ("a,b\n\n1,2\n3,4,5\n", ["line 4 has 3 columns, and line 1 has 2"]),
        ("1,2\n3,x\n", ["line 2, column 2", "'x'"]),
        ("a,y,b\n1,0,2\n3,1,x\n", ["line 3, column 3 ('b')", "'x'"]),
        ("a,b\n1,\n", ["line 2, column 2", "a value is missing"]),
        ("1,x\n3,4\n", ["line 1, column 2", "'x'"]),
        ("1;2\n3;4\n", ["';'"]),
        ("1 2\n3 4\n", ["' '"]),
        ("1\t2\n3\t4\n", ["'\\t'"]),
        ("", ["empty"]),
        ("\n\n", ["empty"]),
        ("a,b\n", ["nothing below"]),
        ("y,y\n1,2\n", ["two columns are called y"]),
        ('1,"2\n3,4\n', ["comma-separated"]),
        (b"1,2\n\xff\xfe,3\n", ["UTF-8"]),
        (b"1,2\n1,\x003\n", ["a.csv"]),
        ("1," + "2" * 200_000 + "\n", ["field larger"]),
        ("1,nan\n", ["1 NaN", "x[0, 1]"]),
        ("1,1e999\n", ["1 infinite"]),
        ("y\n1\n2\n", ["empty"]),
        ("a,y\n1,nan\n2,0.5\n", ["not all finite"]),
    ],
)
def test_csv_files_that_can_not_be_read_say_where(text, words, tmp_path):
    message = str(refusal(csv_file(tmp_path, text)))
    assert "a.csv" in message
    assert all(word in message for word in words), message


# --------------------------------------------------------------------------------- no such file


def test_a_missing_file_names_those_that_could_be_meant(tmp_path):
    np.save(tmp_path / "digits.npy", X)
    error = refusal(tmp_path / "digit.npy")
    assert "no such file" in error.problem.lower()
    assert error.suggestion == str(tmp_path / "digits.npy")
    assert "no folder" in refusal(tmp_path / "nowhere" / "a.npy").cause
    assert "not a folder" in refusal(tmp_path / "digits.npy" / "a.npy").cause


def test_relative_names_say_where_they_start(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(tmp_path) in refusal("a.csv").cause
    np.save("a.npy", X)
    assert load("a.npy")[0].shape == (3, 2)


def test_folders_and_devices_are_not_files(tmp_path):
    (tmp_path / "a.npz").mkdir()
    assert "folder" in refusal(tmp_path / "a.npz").problem
    assert "folder" in refusal(tmp_path).problem
    os.mkfifo(tmp_path / "a.npy")
    assert "not a plain file" in refusal(tmp_path / "a.npy").problem


@pytest.mark.parametrize("name", ["a.txt", "a.pkl", "a.mat", "a.csv.gz", "a"])
def test_other_extensions_are_refused(name, tmp_path):
    (tmp_path / name).write_text("1,2")
    error = refusal(tmp_path / name)
    assert ".npy, .npz or .csv" in error.needed
    assert "extension" in error.cause


@pytest.mark.parametrize("name", ["\0.npy", "a" * 5000 + ".npy"])
def test_impossible_names_are_refused(name, tmp_path):
    problem = refusal(tmp_path / name).problem
    assert problem in {"There is no such file.", "This is not the name of a file."}


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv"])
def test_a_file_that_may_not_be_read_is_refused(suffix, tmp_path, monkeypatch):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"1,2\n")

    def forbidden(*_, **__):  # by hand: the superuser may read everything
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", forbidden)
    error = refusal(path)
    assert "can't be opened" in error.problem
    assert error.cause == "Permission denied"


def test_a_column_called_Y_holds_the_labels_too(tmp_path):
    (tmp_path / "a.csv").write_text("p,Y,q\n1,0,2\n3,1,4\n")
    x, y = load(tmp_path / "a.csv", scale=False)
    assert x.tolist() == [[1, 2], [3, 4]]
    assert y.tolist() == [0, 1]
    (tmp_path / "b.csv").write_text("y,Y\n1,0\n")
    with pytest.raises(InputError, match="two columns are called y"):
        load(tmp_path / "b.csv")


def test_a_missing_label_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("p,y\n1,0\n3,\n")
    with pytest.raises(InputError, match="line 3, column 2"):
        load(tmp_path / "a.csv")


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_garbage_is_not_called_pickled(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"\x00\x01garbage" * 40)
    with pytest.raises(InputError, match="holds no plain arrays") as caught:
        load(path)
    assert "pickled" not in str(caught.value)
    np.save(tmp_path / "b.npy", np.array([None, 1]), allow_pickle=True)
    with pytest.raises(InputError, match="pickled"):
        load(tmp_path / "b.npy")


def bomb(path, shape, there):
    """An archive of kilobytes whose array has this shape, of which so many bytes are there."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w", force_zip64=True) as member,
    ):
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(member, header)
        for _ in range(there >> 20):
            member.write(bytes(1 << 20))


def test_an_archive_that_would_not_fit_into_memory_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("whydeep.memory.available", lambda: 100 << 20)
    bomb(tmp_path / "a.npz", (1 << 16, 1 << 10), 64 << 20)
    assert (tmp_path / "a.npz").stat().st_size < 1 << 20
    tracemalloc.start()
    with pytest.raises(InputError, match="does not fit into memory"):
        load(tmp_path / "a.npz")
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_header_that_declares_more_than_there_is_is_not_believed(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix == ".npz":
        bomb(path, (1 << 40, 1 << 10), 0)
    else:
        with path.open("wb") as file:
            header = {"descr": "<f8", "fortran_order": False, "shape": (1 << 40, 1 << 10)}
            np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(InputError, match="its header declares"):
        load(path)
