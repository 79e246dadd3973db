"""Files written in one step: through links, with their modes, and over nothing but files."""

import os
import stat

import pytest

from whydeep.errors import InputError
from whydeep.publish import publish


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_link_is_written_through(tmp_path):
    real, link, second = (tmp_path / name for name in ("real", "link", "second"))
    real.write_text("old")
    link.symlink_to(real)
    second.symlink_to(link)
    publish(second, "new")
    assert real.read_text() == "new"
    assert second.is_symlink()
    assert link.is_symlink()
    assert {p.name for p in tmp_path.iterdir()} == {"real", "link", "second"}


def test_a_link_to_what_is_not_yet_there_makes_it(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    publish(tmp_path / "link", "new")
    assert (tmp_path / "real").read_text() == "new"
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("bits", [0o600, 0o640, 0o755, 0o666])
def test_a_file_keeps_its_mode(tmp_path, bits):
    path = tmp_path / "page"
    path.write_text("old")
    path.chmod(bits)
    publish(path, "new")
    assert (path.read_text(), mode(path)) == ("new", bits)


def test_a_new_file_has_the_mode_of_new_files(tmp_path):
    (tmp_path / "like").write_text("")
    assert mode(publish(tmp_path / "page", "new")) == mode(tmp_path / "like")


def test_what_is_no_file_that_may_be_written_stays_as_it_is(tmp_path):
    pipe, folder, sealed, circle = (tmp_path / n for n in ("pipe", "folder", "sealed", "circle"))
    os.mkfifo(pipe)
    folder.mkdir()
    sealed.write_text("old")
    sealed.chmod(0o444)
    circle.symlink_to(circle)
    before = {p.name: p.lstat() for p in tmp_path.iterdir()}
    for path in (pipe, folder, sealed, circle, "/dev/null", tmp_path / "nowhere" / "page"):
        with pytest.raises(InputError, match="can't be written"):
            publish(path, "new")
    assert {p.name: p.lstat() for p in tmp_path.iterdir()} == before
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)  # noqa: PTH116
    assert sealed.read_text() == "old"


@pytest.mark.parametrize("path", ["a" * 300, "a\0b", "", " "])
def test_what_is_no_name_of_a_file_is_refused(path):
    with pytest.raises(InputError, match="name of a file"):
        publish(path, "new")
