"""Interrupted training goes on where it was, bit by bit; what does not fit is refused."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

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


BRIEF = OPTIONS | {"draws": 2, "steps": 2, "record": [1, 2]}


@pytest.fixture
def kept(tmp_path):
    train(NET, X, Y, **BRIEF, checkpoint=tmp_path)
    return tmp_path


@pytest.mark.parametrize("content", ["[]", "3", "null", '{"seed": 3}', "{", "[" * 100_000])
def test_settings_that_are_none_are_refused(kept, content):
    (kept / "training.json").write_text(content)
    with pytest.raises(InputError, match="can't be read") as caught:
        train(NET, X, Y, **BRIEF, checkpoint=kept)
    assert "training.json" in caught.value.received


def test_settings_of_another_kind_are_refused(kept):
    path = kept / "training.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"momentum": "0.9"}))
    with pytest.raises(InputError, match="another training") as caught:
        train(NET, X, Y, **BRIEF, checkpoint=kept)
    assert caught.value.needed == "momentum: 0.9"


WRONG = {
    "done": lambda a: a | {"done": np.array(-1)},
    "steps": lambda a: a | {"steps": a["steps"][::-1]},
    "recorded": lambda a: a | {"steps": a["steps"] + 0.5},
    "shapes": lambda a: a | {"state_0": a["state_0"][:1]},
    "values": lambda a: {n: v for n, v in a.items() if n != "value_loss"},
    "lanes": lambda a: {n: v[:0] if n.startswith("value_") else v for n, v in a.items()},
    "numbers": lambda a: a | {"value_loss": a["value_loss"] * 1.001},
}


# Whoever can sign other numbers of the right kind can train otherwise, too.
@pytest.mark.parametrize(
    ("what", "signed"), [(w, s) for w in WRONG for s in (False, True) if not (s and w == "numbers")]
)
def test_a_file_that_was_changed_is_refused(kept, what, signed):
    # With a digest that is right as well, whatever no such training could have left.
    path = kept / "draws-0000000.npz"
    with np.load(path) as file:
        arrays = WRONG[what](dict(file))
    if signed:
        settings = json.loads((kept / "training.json").read_text())
        del arrays["digest"]
        arrays["digest"] = np.array(Checkpoint(kept, settings)._digest(0, arrays))
    np.savez(path, **arrays)
    with pytest.raises(InputError, match="can't be read") as caught:
        train(NET, X, Y, **BRIEF, checkpoint=kept)
    assert path.name in caught.value.received


def test_a_file_of_other_networks_is_refused(kept):
    (kept / "draws-0000000.npz").replace(kept / "draws-0000001.npz")
    with pytest.raises(InputError, match="not those that were written here"):
        train(NET, X, Y, **BRIEF, checkpoint=kept)


def test_threads_share_a_folder(tmp_path, monkeypatch):
    whole = train(NET, X, Y, **OPTIONS)
    monkeypatch.setattr(runs, "_SECONDS_BETWEEN_FILES", 0.0)
    with ThreadPoolExecutor(4) as pool:
        waiting = [
            pool.submit(train, NET, X, Y, **OPTIONS, checkpoint=tmp_path, threads=2)
            for _ in range(4)
        ]
        for future in waiting:
            same(future.result(), whole)
    assert not list(tmp_path.glob(".*"))


def test_what_killed_processes_left_is_removed(kept):
    child = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    host = os.uname().nodename
    dead = kept / f".draws-0000000.npz.{host}.{child.stdout.strip()}.00"
    living = kept / f".draws-0000000.npz.{host}.{os.getpid()}.00"
    elsewhere = kept / ".draws-0000000.npz.elsewhere.1.00"
    old = kept / ".training.json.elsewhere.1.00"
    for path in (dead, living, elsewhere, old):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    train(NET, X, Y, **BRIEF, checkpoint=kept)
    assert sorted(kept.glob(".*")) == sorted([living, elsewhere])


def test_what_cannot_be_written_is_said(kept):
    (kept / "draws-0000000.npz").unlink()
    (kept / "draws-0000000.npz").mkdir()
    with pytest.raises(InputError, match=r"can't be (read|written)"):
        train(NET, X, Y, **BRIEF, checkpoint=kept)


def test_a_folder_without_its_settings_is_refused(tmp_path):
    (tmp_path / "draws-0000000.npz").write_bytes(b"")
    with pytest.raises(InputError, match="not what was trained"):
        train(NET, X, Y, **OPTIONS, checkpoint=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't be made"):
        train(NET, X, Y, **OPTIONS, checkpoint=tmp_path / "file")
