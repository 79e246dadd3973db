"""Interrupted training goes on where it was, bit by bit; what does not fit is refused."""

import json

import numpy as np
import pytest

import whydeep.network as nw
from whydeep.ensemble.training import _run as runs
from whydeep.ensemble.training import train
from whydeep.ensemble.training._checkpoint import Checkpoint
from whydeep.errors import InputError

RANDOM = np.random.default_rng(2)
X, Y = RANDOM.normal(size=(6, 3)), RANDOM.normal(size=6)
NET = nw.mlp(1, 5, "tanh")
OPTIONS = {
    "draws": 5, "seed": 3, "steps": 12, "step": 0.05, "batch": 2, "optimizer": "adam",
    "observables": ("outputs", "ntk_change"), "costly_draws": 2, "record": [1, 2, 10],
}  # fmt: skip


def same(one, two):
    assert set(one) == set(two)
    for name in one:
        np.testing.assert_array_equal(one.samples[name], two.samples[name])


class Interrupted(Exception):  # noqa: N818 -- stands for a killed process
    pass


@pytest.mark.parametrize("files", [1, 2, 7, 20])
def test_an_interrupted_run_ends_as_if_it_had_not_been(tmp_path, monkeypatch, files):
    whole = train(NET, X, Y, **OPTIONS)
    monkeypatch.setattr(runs, "_SECONDS_BETWEEN_FILES", 0.0)  # a file after every call
    monkeypatch.setattr(runs, "_FIRST_STEPS", 3)
    written = []
    save = Checkpoint.save

    def failing(self, block, saved):
        if len(written) == files:
            raise Interrupted
        written.append(saved.done)
        save(self, block, saved)

    monkeypatch.setattr(Checkpoint, "save", failing)
    with pytest.raises(Interrupted):
        train(NET, X, Y, **OPTIONS, checkpoint=tmp_path, threads=2)
    assert len(written) == files
    assert files < 7 or not set(written) <= {0, 1, 2, 10, 12}  # in the middle, too
    monkeypatch.setattr(Checkpoint, "save", save)
    same(train(NET, X, Y, **OPTIONS, checkpoint=tmp_path), whole)


def test_what_is_kept_is_not_trained_again(tmp_path, monkeypatch):
    whole = train(NET, X, Y, **OPTIONS, checkpoint=tmp_path)
    monkeypatch.setattr(runs._Block, "_advance", None)
    same(train(NET, X, Y, **OPTIONS, checkpoint=tmp_path), whole)


def test_more_steps_and_more_networks_continue_a_run(tmp_path):
    train(NET, X, Y, **OPTIONS | {"steps": 5, "draws": 2, "record": [1, 2]}, checkpoint=tmp_path)
    longer = OPTIONS | {"record": [1, 2, 5, 10]}
    same(train(NET, X, Y, **longer, checkpoint=tmp_path), train(NET, X, Y, **longer))
    shorter = OPTIONS | {"steps": 10, "draws": 3, "record": [1, 5]}
    same(train(NET, X, Y, **shorter, checkpoint=tmp_path), train(NET, X, Y, **shorter))
    with pytest.raises(InputError, match="not recorded at these steps"):
        train(NET, X, Y, **OPTIONS | {"record": [7]}, checkpoint=tmp_path)


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("seed", {"seed": 4}),
        ("step", {"step": 0.06}),
        ("optimizer", {"optimizer": "sgd"}),
        ("batch", {"batch": None}),
        ("dtype", {"dtype": "float64"}),
        ("observables", {"observables": ("outputs",)}),
        ("y", {"y": Y + 1}),
        ("network", {"network": nw.mlp(1, 6, "tanh")}),
        ("compiled program", {"network": nw.mlp(1, 5, "tanh", weight_lr=0.3)}),
    ],
)
def test_another_training_is_refused(tmp_path, what, change):
    train(NET, X, Y, **OPTIONS | {"draws": 2}, checkpoint=tmp_path)
    given = {"network": NET, "x": X, "y": Y, **OPTIONS, "draws": 2} | change
    with pytest.raises(InputError, match="of another training") as caught:
        train(**given, checkpoint=tmp_path)
    assert what in caught.value.received


def test_files_are_no_pickles_and_broken_ones_are_named(tmp_path):
    train(NET, X, Y, **OPTIONS | {"draws": 2}, checkpoint=tmp_path)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["draws-0000000.npz", "draws-0000001.npz", "training.json"]
    assert json.loads((tmp_path / "training.json").read_text())["seed"] == "3"
    broken = tmp_path / names[1]
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(InputError, match="can't be read") as caught:
        train(NET, X, Y, **OPTIONS | {"draws": 2}, checkpoint=tmp_path)
    assert names[1] in caught.value.received


def test_a_folder_without_its_settings_is_refused(tmp_path):
    (tmp_path / "draws-0000000.npz").write_bytes(b"")
    with pytest.raises(InputError, match="not what was trained"):
        train(NET, X, Y, **OPTIONS, checkpoint=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't be made"):
        train(NET, X, Y, **OPTIONS, checkpoint=tmp_path / "file")
