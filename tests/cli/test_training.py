"""`whydeep verify --training` on a command line."""

import json

import pytest
from typer.testing import CliRunner

from whydeep.cli import _verify
from whydeep.cli._main import app
from whydeep.comparison import training

SMALL = ["verify", "--training", "--depth", "1", "--width", "16", "--n", "2", "--draws", "512"]


def test_one_document_with_a_status():
    done = CliRunner().invoke(app, [*SMALL, "--json"])
    found = json.loads(done.stdout)
    assert done.exit_code == found["exit_status"] == _verify.STATUS[found["verdict"]]
    assert found["verdict"] != "disagrees"
    assert found["widths"] == [16, 32, 64]
    assert {"claim", "predicted", "measured", "verdict"} <= set(found["rows"][0])
    assert found["catapults"][0]["factor"] < 1 < found["catapults"][-1]["factor"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--draws", "8"], "draws"),
        (["--data", "mnist1d.csv"], "mnist1d.csv"),
        (["--parameterization", "standard"], "ntk"),
    ],
)
def test_what_can_not_be_verified_is_refused(more, said):
    done = CliRunner().invoke(app, [*SMALL, *more, "--json"])
    assert done.exit_code == 2
    assert said in done.stdout + done.stderr


def test_the_default_is_that_of_the_comparison():
    assert training.DRAWS == _verify._TRAINED
