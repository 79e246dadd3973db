import os

import pytest

from whydeep.memory import available

GIB = 1 << 30
MEMINFO = f"MemTotal: {16 * GIB >> 10} kB\nMemFree: 9 kB\nMemAvailable: {8 * GIB >> 10} kB\n"


@pytest.fixture
def system(tmp_path):
    """Write files of a system whose machine has 8 GiB left; the function says what is available."""

    def write(**files):
        for name, text in ({"proc/meminfo": MEMINFO} | files).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return available(tmp_path)

    return write


def group(folder, limit, used, droppable=0):
    """A control group of the second version."""
    return {
        f"sys/fs/cgroup{folder}/memory.max": f"{limit}\n",
        f"sys/fs/cgroup{folder}/memory.current": f"{used}\n",
        f"sys/fs/cgroup{folder}/memory.stat": f"anon 5\ninactive_file {droppable}\nslab 7\n",
    }


def test_without_control_groups_it_is_what_the_machine_has_left(system):
    assert system() == 8 * GIB


def test_a_smaller_control_group_leaves_less(system):
    own = group("/job/task", 4 * GIB, 3 * GIB, droppable=GIB)
    # 4 GiB, of which 3 are held, one of them files that can be dropped: 2 are left.
    assert system(**{"proc/self/cgroup": "0::/job/task\n"}, **own) == 2 * GIB


def test_a_group_may_not_use_more_than_what_it_is_part_of(system):
    both = group("/job/task", "max", GIB) | group("/job", 3 * GIB, 2 * GIB)
    assert system(**{"proc/self/cgroup": "0::/job/task\n"}, **both) == GIB


def test_a_container_sees_its_own_group_at_the_top(system):
    own = group("", 5 * GIB, GIB)
    assert system(**{"proc/self/cgroup": "0::/of/the/host\n"}, **own) == 4 * GIB


def test_a_larger_or_a_full_control_group(system):
    files = {"proc/self/cgroup": "0::/job\n"}
    assert system(**files, **group("/job", 99 * GIB, GIB)) == 8 * GIB
    assert system(**files, **group("/job", GIB, 2 * GIB)) == 0


@pytest.mark.parametrize(("limit", "left"), [(3 * GIB, 2 * GIB), ((1 << 63) - 4096, 8 * GIB)])
def test_control_groups_of_the_first_version(system, limit, left):
    folder = "sys/fs/cgroup/memory/job"
    files = {
        "proc/self/cgroup": "5:cpu,cpuacct:/other\n4:memory:/job\n0::/\n",
        f"{folder}/memory.limit_in_bytes": f"{limit}\n",
        f"{folder}/memory.usage_in_bytes": f"{2 * GIB}\n",
        f"{folder}/memory.stat": f"inactive_file 3\ntotal_inactive_file {GIB}\n",
    }
    assert system(**files) == left


def test_a_system_that_does_not_say_has_all_of_its_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000}.__getitem__)
    assert available(tmp_path) == 4_096_000
    monkeypatch.delattr(os, "sysconf")
    assert available(tmp_path) > 1 << 60


def test_this_machine_has_some_and_no_more_than_it_has():
    assert 0 < available() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
