"""What every command has in common: ranges of options, errors in their words, pipes, interrupts."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import typer.testing

from whydeep.cli import app
from whydeep.cli._options import FEWEST_DRAWS, FEWEST_TRAINED, in_options
from whydeep.errors import InputError

runner = typer.testing.CliRunner()
WHYDEEP = [sys.executable, "-m", "whydeep"]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--depth", "0"), ("--depth", "10000000"), ("--n", "0"), ("--draws", "63"),
        ("--draws", "-1"), ("--ntk-draws", "0"), ("--tensor-draws", "1"),
        ("--differential-draws", "1"), ("--seed", "-1"), ("--seed", str(2**64)), ("--rungs", "1"),
        ("--rungs", "99"), ("--order", "2"), ("--alpha", "0"), ("--alpha", "1"),
        ("--alpha", "nan"), ("--resolution", "5"), ("--resolution", "0"), ("--resolution", "nan"),
        ("--sampler", "none"), ("--dtype", "float16"), ("--parameterization", "mup"),
        ("--weight-var", "-1"), ("--weight-var", "nan"), ("--weight-var", "1,inf"),
        ("--bias-var", "-0.1"), ("--weight-lr", "-1"), ("--bias-lr", "inf"), ("--width", "0"),
        ("--width", "8,-8"), ("--activation", "nonsense"), ("--observables", "nonsense"),
        ("--data", "/nowhere/x.npy"), ("--out", "/dev/null"), ("--out", "/nowhere/page.html"),
        ("--out", "a" * 300),
    ],
)  # fmt: skip
@pytest.mark.parametrize("training", [False, True])
def test_options_out_of_range_are_refused_by_their_names(option, value, training):
    if training and option in {"--out", "--observables"}:
        return  # --training takes neither
    words = ["verify", "--json", option, value, *(["--training"] if training else [])]
    result = runner.invoke(app, words)
    assert result.exit_code == 2, result.output
    error = json.loads(result.stdout)["error"]
    said = " ".join(error.values())
    name = option.removeprefix("--").replace("-", "_")
    assert f"{name}=" not in said
    assert "whydeep." not in said
    if option not in {"--activation", "--observables", "--data"}:
        assert option in said


@pytest.mark.parametrize(
    ("option", "value"),
    [("--effort", "0"), ("--effort", "nan"), ("--seed", "-1"), ("--out", "/dev/null")],
)
def test_run_refuses_the_same(option, value):
    result = runner.invoke(app, ["run", "ntk-depth", "--json", option, value])
    assert result.exit_code == 2
    assert option in " ".join(json.loads(result.stdout)["error"].values())


def test_fewest_draws_are_those_of_the_library():
    from whydeep.comparison.training import TrainingPlan
    from whydeep.ensemble import FEWEST_DRAWS as fewest  # noqa: N811

    assert fewest == FEWEST_DRAWS
    TrainingPlan(draws=FEWEST_TRAINED)
    with pytest.raises(InputError):
        TrainingPlan(draws=FEWEST_TRAINED - 1)


@pytest.mark.parametrize(
    ("given", "spoken"),
    [
        ("draws=3, seed=0", "--draws 3, --seed 0"),
        ("scale=False leaves the rows as they are", "--no-scale leaves the rows as they are"),
        ("x.reshape(3, 4)", "a file whose rows are flat: one row an input"),
        ("numpy.asarray(x, dtype=float)", ""),
        ("numpy.save(file, x)", "numpy.save(file, x)"),
        ("whydeep list", "whydeep list"),
        ("numbers of your own, such as weight_var=1.0, bias_var=0.1: finite",
         "numbers of your own, such as --weight-var 1.0, --bias-var 0.1: finite"),
    ],
)  # fmt: skip
def test_advice_is_given_in_the_words_of_the_command_line(given, spoken):
    assert in_options(InputError("No.", suggestion=given)).suggestion == spoken


@pytest.mark.parametrize("words", [["list"], ["list", "--json"], ["--help"], ["verify", "--help"]])
def test_a_reader_who_leaves_changes_no_exit_status(words):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*WHYDEEP, *words], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_interrupt_has_a_document(monkeypatch):
    def interrupted(*_args, **_how):
        raise KeyboardInterrupt

    monkeypatch.setattr("whydeep.comparison.verify", interrupted)
    result = runner.invoke(app, ["verify", "--json", "--no-report", "--n", "2"])
    assert result.exit_code == 130
    assert json.loads(result.stdout)["error"]["type"] == "Interrupted"


@pytest.mark.parametrize("wait", [0.08, 0.15, 0.3])
def test_an_early_interrupt_is_no_traceback(wait):
    # From the first line of whydeep's own on: what Python does before is not ours.
    # What starts a job in the background may ignore interrupts, and a process inherits that.
    lines = (
        "import runpy, signal, sys",
        "signal.signal(signal.SIGINT, signal.default_int_handler)",
        "print(flush=True)",
        "sys.argv = ['whydeep', 'verify', '--json']",
        "runpy.run_module('whydeep', run_name='__main__')",
    )
    process = subprocess.Popen(
        [sys.executable, "-c", "; ".join(lines)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.readline()
    time.sleep(wait)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert json.loads(out)["error"]["type"] == "Interrupted"
