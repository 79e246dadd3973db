"""`whydeep list` and `whydeep run`: statuses, output, the page, and refusals."""

import importlib
import json

import pytest
import typer.testing

from whydeep.cli import app
from whydeep.experiments import EXPERIMENTS, Check, Curve, Findings, Panel

runner = typer.testing.CliRunner()


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """An experiment that draws nothing, in place of one that does; gives its measured number."""
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module("whydeep.experiments.ntk_depth")
    measured = {"value": 1.0}

    def find(seed, effort):
        curves = (
            Curve("law <b>", [1, 2], [1.0, 2.0], series=1),
            Curve("seen", [1, 2], [1.1, 1.9], "measured", [0.1, 0.1], 1),
        )
        panel = Panel("A picture", "two curves", "x", "y", curves, log_x=True)
        check = Check("a number", 1.0, measured["value"], 0.01 / effort**0.5)
        return Findings((check,), (panel,), f"seed {seed}", ("a note",))

    monkeypatch.setattr(module, "find", find)
    return measured


def test_list_names_every_experiment():
    shown = runner.invoke(app, ["list"])
    listed = json.loads(runner.invoke(app, ["list", "--json"]).stdout)
    assert shown.exit_code == 0
    assert [e["name"] for e in listed] == list(EXPERIMENTS)
    assert all(name in shown.stdout for name in EXPERIMENTS)


@pytest.mark.parametrize(("value", "status"), [(1.0, 0), (1.2, 1)])
def test_run_tells_the_verdict_and_writes_a_page(quick, tmp_path, value, status):
    quick["value"] = value
    result = runner.invoke(app, ["run", "ntk-depth", "--seed", "7"])
    assert result.exit_code == status
    page = (tmp_path / "ntk-depth.html").read_text(encoding="utf-8")
    assert "a number" in result.stdout
    assert "whydeep run ntk-depth" in page
    assert "a note" in page
    assert "law <b>" not in page  # escaped


@pytest.mark.usefixtures("quick")
def test_json_is_one_document(tmp_path):
    result = runner.invoke(app, ["run", "ntk-depth", "--json", "--no-report"])
    document = json.loads(result.stdout)
    assert document["verdict"] == "agrees"
    assert document["exit_status"] == result.exit_code == 0
    assert document["curves"][1]["error"] == [0.1, 0.1]
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "arguments",
    [("none",), ("ntk-depth", "--seed", "-1"), ("ntk-depth", "--effort", "0"),
     ("ntk-depth", "--out", "no/such/folder.html")],
)  # fmt: skip
def test_bad_input_is_refused_in_words(tmp_path, arguments):
    result = runner.invoke(app, ["run", *arguments])
    assert result.exit_code == 2
    assert "received" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())
