"""What memory is free: the least of the machine's and of every control group's that the process is in."""

from pathlib import Path

import pytest

from spillover.llm import free_memory as free

GB = 10**9


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 16 GB free that has no control groups yet."""
    (tmp_path / "meminfo").write_text("MemTotal: 31250000 kB\nMemAvailable: 15625000 kB\n")
    monkeypatch.setattr(free, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(free, "_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(free, "_MOUNT", tmp_path / "mount")
    return tmp_path


def group(folder: Path, names: tuple[str, str, str], limit: str, taken: int, cached: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{taken}\n")
    uses = {"active": cached // 4, "inactive": cached - cached // 4}
    lines = (f"{names[2]}{use}_file {size}\n" for use, size in uses.items())
    (folder / "memory.stat").write_text("".join(("anon 5\n", *lines)))


SECOND, FIRST = (free._VERSIONS[controllers] for controllers in ("", "memory"))


def test_without_groups_it_is_the_machines(machine: Path) -> None:
    assert free.free_memory() == 16 * GB


def test_a_containers_limit_counts_less_what_it_takes_and_could_not_give_up(machine: Path) -> None:
    (machine / "cgroup").write_text("0::/\n")
    group(machine / "mount", SECOND, str(4 * GB), 3 * GB, GB)
    assert free.free_memory() == 2 * GB


def test_a_limit_above_counts_as_well(machine: Path) -> None:
    (machine / "cgroup").write_text("0::/slurm/job/step\n")
    group(machine / "mount" / "slurm", SECOND, "max", 20 * GB, 0)
    group(machine / "mount" / "slurm" / "job", SECOND, str(8 * GB), 2 * GB, 0)
    group(machine / "mount" / "slurm" / "job" / "step", SECOND, "max", 2 * GB, 0)
    assert free.free_memory() == 6 * GB


def test_the_first_version_has_a_tree_for_memory(machine: Path) -> None:
    (machine / "cgroup").write_text("5:cpu,cpuacct:/a\n4:memory:/a\n0::/\n")
    group(machine / "mount" / "memory", FIRST, str(2**63 - 4096), 20 * GB, 0)
    group(machine / "mount" / "memory" / "a", FIRST, str(3 * GB), 2 * GB, GB)
    assert free.free_memory() == 2 * GB


def test_a_group_named_as_the_host_does_is_looked_for_at_the_top(machine: Path) -> None:
    (machine / "cgroup").write_text("4:memory:/docker/0123abcd\n")
    group(machine / "mount" / "memory", FIRST, str(3 * GB), GB, 0)
    assert free.free_memory() == 2 * GB


def test_a_machine_with_more_limit_than_memory_has_its_memory(machine: Path) -> None:
    (machine / "cgroup").write_text("0::/\n")
    group(machine / "mount", SECOND, str(64 * GB), 0, 0)
    assert free.free_memory() == 16 * GB


def test_over_its_limit_nothing_is_free(machine: Path) -> None:
    (machine / "cgroup").write_text("0::/\n")
    group(machine / "mount", SECOND, str(GB), 2 * GB, 0)
    assert free.free_memory() == 0


def test_where_nothing_says_it_is_not_known(machine: Path) -> None:
    (machine / "meminfo").unlink()
    assert free.free_memory() is None
