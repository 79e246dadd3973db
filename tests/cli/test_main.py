"""`whydeep`: help, version, and both ways to start it."""

import subprocess
import sys

import pytest
import typer.testing

import whydeep
from whydeep.cli import app
from whydeep.cli._options import number_list
from whydeep.errors import InputError

runner = typer.testing.CliRunner()


def test_version():
    result = runner.invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"whydeep {whydeep.__version__}\n")


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["verify", "--help"]])
def test_help_says_what_there_is(arguments):
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0
    assert "verify" in result.stdout


def test_help_of_verify_names_exit_statuses():
    assert "Exit status" in runner.invoke(app, ["verify", "--help"]).stdout


HEAVY = ("jax", "numpy", "scipy", "sklearn", "xarray", "plotly")


def test_help_imports_nothing_heavy():
    code = f"""
import sys
sys.argv = ["whydeep", "verify", "--help"]
from whydeep.cli import main
try:
    main()
except SystemExit:
    pass
print("loaded:", [name for name in {HEAVY} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("loaded: []\n")


def test_the_module_starts_the_same_program():
    done = subprocess.run(
        [sys.executable, "-m", "whydeep", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"whydeep {whydeep.__version__}\n"


@pytest.mark.parametrize(
    ("text", "convert", "expected"),
    [
        ("2", float, 2.0),
        (" 2 , 3 ", float, [2.0, 3.0]),
        ("64,32", int, [64, 32]),
        ("critical", float, "critical"),
    ],
)
def test_numbers_are_read_one_or_several(text, convert, expected):
    assert number_list("--x", text, convert, ("critical",)) == expected


@pytest.mark.parametrize("text", ["", "a", "1,", "1;2", "critical,2", "1.5.2"])
def test_what_is_no_number_is_refused_with_the_option(text):
    with pytest.raises(InputError, match="--x"):
        number_list("--x", text, float, ("critical",))
