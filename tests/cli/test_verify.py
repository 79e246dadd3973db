"""`whydeep verify`: exit statuses, standard output and error, and what is left on disk."""

import dataclasses
import importlib
import inspect
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import typer.testing

from whydeep.cli import _verify as command
from whydeep.cli import app
from whydeep.theory.finite import predict

# By its full name: `whydeep.comparison` is the function that the package exports.
comparing = importlib.import_module("whydeep.comparison._verify")
# Small enough that a run takes a second; compiled code is shared by all tests of this file.
SMALL = [
    *("--activation", "relu", "--depth", "2", "--width", "16", "--n", "2", "--order", "0"),
    *("--draws", "512", "--ntk-draws", "64", "--resolution", "0.5"),
]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A function: run `whydeep verify` with arguments, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    runner = typer.testing.CliRunner()

    def run(*arguments):
        result = runner.invoke(app, ["verify", *map(str, arguments)])
        unexpected = result.exception is not None and not isinstance(result.exception, SystemExit)
        if unexpected:
            raise result.exception
        return result

    return run


def scaled(name, factor):
    """A planted error: a prediction of which one observable is off by a factor."""

    def wrong(network, inputs, **how):
        right = predict(network, inputs, **how)
        return dataclasses.replace(
            right, arrays={**right.arrays, name: factor * right.arrays[name]}
        )

    return wrong


def test_agreement_is_status_0_and_a_report(run, tmp_path):
    result = run(*SMALL)
    assert result.exit_code == 0
    assert "Theory and measurement agree" in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_planted_error_is_status_1(run, monkeypatch):
    monkeypatch.setattr(comparing, "predict", scaled("ntk", 1.5))
    result = run(*SMALL, "--no-report")
    assert result.exit_code == 1
    assert "Theory and measurement disagree" in result.stdout
    assert "tangent kernel" in result.stdout


def test_what_is_too_noisy_is_status_3(run):
    result = run(*SMALL, "--resolution", 1e-6, "--no-report")
    assert result.exit_code == 3
    assert "Not everything could be resolved" in result.stdout
    assert "draws would resolve" in result.stdout


def test_json_is_one_document_with_everything_in_it(run, tmp_path):
    result = run(*SMALL, "--json", "--out", "other.html", "--seed", 5)
    found = json.loads(result.stdout)
    assert found["exit_status"] == result.exit_code == 0
    assert found["verdict"] == "agrees"
    assert found["report"] == "other.html"
    assert [path.name for path in tmp_path.iterdir()] == ["other.html"]
    assert {m["seed"] for m in found["measurements"]} == {5}
    assert len(found["comparison"]["rows"]) == 8  # 3 layers and all of them, twice
    assert found["network"]["widths"] == [16, 16]
    assert "--seed 5" in found["command"]


def test_the_command_that_is_told_does_the_same_again(run):
    first = json.loads(run(*SMALL, "--json", "--no-report").stdout)
    words = first["command"].split()
    assert words[:2] == ["whydeep", "verify"]
    second = json.loads(run(*words[2:], "--json", "--no-report").stdout)
    assert second["comparison"] == first["comparison"]
    assert second["command"] == first["command"]


def test_the_full_table_has_a_line_a_row(run):
    compact = run(*SMALL, "--no-report").stdout.splitlines()
    full = run(*SMALL, "--no-report", "--all-layers").stdout.splitlines()
    assert len(full) - len(compact) == 8 - 2


def test_a_missing_observable_is_named(run):
    result = run(
        *SMALL, "--activation", "step", "--weight-var", 1, "--bias-var", 0.1, "--no-report"
    )
    assert result.exit_code == 0
    assert "tangent kernel: none" in result.stdout


def test_observables_are_a_list_with_commas_and_spaces(run):
    tensors = ["--tensor-draws", 128, "--rungs", 2, "--resolution", 1, "--order", 1]
    result = run(*SMALL, *tensors, "--observables", " ntk_F , kernel", "--json", "--no-report")
    found = json.loads(result.stdout)
    assert {row["observable"] for row in found["comparison"]["rows"]} == {"kernel", "ntk_F"}
    assert "--observables ' ntk_F , kernel'" in found["command"]


def test_a_report_of_tensors_has_a_row_for_each(run, tmp_path):
    tensors = ["--tensor-draws", 128, "--rungs", 2, "--resolution", 1, "--order", 1]
    run(*SMALL, *tensors, "--observables", "ntk_A,ntk_B,ntk_D,ntk_F")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for title in ("variance A", "variance B", "with tangent kernel D", "with tangent kernel F"):
        assert title in page


def test_an_observable_that_does_not_exist_is_status_2(run):
    result = run(*SMALL, "--order", 1, "--observables", "ntk_C", "--no-report")
    assert result.exit_code == 2
    assert "ntk_C" in result.stderr


def test_with_tensors_the_network_is_shallow_and_narrow_unless_told(monkeypatch):
    seen = {}
    monkeypatch.setattr(command, "_network", lambda given: seen.update(given) or 1 / 0)
    for names, expected in (("all", (2, "16")), ("kernel", (8, None)), ("kernel,ntk_A", (2, "16"))):
        with pytest.raises(ZeroDivisionError):
            typer.testing.CliRunner().invoke(
                app, ["verify", "--observables", names, "--no-report"], catch_exceptions=False
            )
        assert (seen["depth"], seen["width"]) == expected


def test_numbers_one_a_layer():
    given = {
        "activation": "relu", "depth": 2, "width": "16,24", "weight_var": "2,1.5,2",
        "bias_var": "0,0.1,0", "weight_lr": "1,1,3", "bias_lr": None, "parameterization": "ntk",
    }  # fmt: skip
    network = command._network(given)
    assert network.widths == (16, 24)
    assert [d.weight_var for d in network.dense] == [2, 1.5, 2]
    assert [d.bias_var for d in network.dense] == [0, 0.1, 0]
    assert network.learning_rates(5) == ((0, 1), (0.1, 1), (0, 3))
    assert "--width 16,24 --weight-var 2,1.5,2" in command._command(
        dict.fromkeys(inspect.signature(command.verify).parameters) | given, network, 4
    )


def test_the_default_width_grows_with_the_depth():
    given = dict.fromkeys(("width", "weight_lr", "bias_lr"))
    given |= {"activation": "relu", "depth": 3, "weight_var": "critical", "bias_var": "critical"}
    assert command._network(given | {"parameterization": "ntk"}).widths == (48, 48, 48)


@pytest.fixture
def files(tmp_path):
    """Files of inputs, good and bad."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "nan.csv").write_text("1,2\n3,nan\n")
    (folder / "ragged.csv").write_text("1,2\n3\n")
    (folder / "words.csv").write_text("a,b\nc,d\n")
    (folder / "one.csv").write_text("1,2\n")
    np.save(folder / "empty.npy", np.zeros((0, 3)))
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        "--data data/nan.csv",
        "--data data/ragged.csv",
        "--data data/words.csv",
        "--data data/empty.npy",
        "--data data/missing.csv",
        "--data nothing",
        "--data data/one.csv --n 2",
        "--n 0",
        "--weight-var -1",
        "--weight-var abc",
        "--weight-var nan",
        "--weight-var 1,2",
        "--weight-var 1,,2",
        "--bias-var inf",
        "--weight-lr x",
        "--bias-lr -1",
        "--width 0",
        "--width 16.5",
        "--width 8,8,8",
        "--depth 0",
        "--depth two",
        "--activation foo",
        "--activation leaky_relu(a)",
        "--parameterization odd",
        "--draws 3",
        "--ntk-draws 3",
        "--rungs 1",
        "--order 2",
        "--seed -1",
        "--sampler magic",
        "--dtype float16",
        "--alpha 0",
        "--resolution -1",
        "--out nowhere/report.html",
        "--out data",
        "--unknown",
    ],
)
def test_bad_input_is_status_2_with_a_reason_and_no_traceback(run, files, monkeypatch, arguments):
    def too_late(*_args, **_how):
        raise AssertionError("it was refused only after the measurement had begun")

    monkeypatch.setattr(comparing, "measure", too_late)
    result = run(*SMALL, *arguments.split())
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr) > 20
    assert "Traceback" not in result.stderr
    assert not list(files.parent.glob("*.html"))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused_first(run, tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    assert run(*SMALL, "--out", folder / "report.html").exit_code == 2


def test_with_json_a_refusal_is_a_document_too(run):
    result = run(*SMALL, "--json", "--weight-var", "abc")
    error = json.loads(result.stdout)["error"]
    assert result.exit_code == 2
    assert error["type"] == "InputError"
    assert "--weight-var" in error["problem"]
    assert "--weight-var" in result.stderr


def test_by_default_four_inputs_or_all_where_there_are_fewer(files):
    assert command._inputs("digits", None, 4, scale=True).shape == (4, 64)
    one = str(files / "one.csv")
    np.testing.assert_allclose(command._inputs(one, None, 4, scale=False), [[1, 2]])
    np.testing.assert_allclose((command._inputs(one, None, 4, scale=True) ** 2).mean(), 1)


def test_defaults_are_those_of_the_library():
    assert (command._DRAWS, command._NTK_DRAWS) == (comparing.DRAWS, comparing.NTK_DRAWS)
    assert command._TENSOR_DRAWS == comparing.TENSOR_DRAWS
    assert command._DIFFERENTIAL_DRAWS == comparing.DIFFERENTIAL_DRAWS


# In a shell's background job the interrupt is ignored, which this undoes.
START = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from whydeep.cli import main
os.chdir(sys.argv.pop(1))
main()
"""


def start(folder, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", START, str(folder), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )


def test_an_interrupt_leaves_a_line_and_no_file(tmp_path):
    arguments = "--activation relu --depth 2 --width 16 --n 2 --order 0 --draws 100000000"
    with start(tmp_path, "verify", *arguments.split()) as process:
        for line in process.stderr:  # the line of a phase that takes longer than two seconds
            if "measuring" in line:
                break
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert error.strip() == "whydeep: interrupted; nothing was written"
    assert list(tmp_path.iterdir()) == []


def test_bad_usage_with_json_is_a_document(tmp_path):
    with start(tmp_path, "verify", "--depth", "two", "--json") as process:
        out, error = process.communicate(timeout=60)
    assert process.returncode == 2
    assert json.loads(out)["error"]["type"] == "UsageError"
    assert "--depth" in error
