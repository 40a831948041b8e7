"""Memory that a process may still take: what is free on the machine, and in the container that it runs in."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/proc/self/cgroup")
_MOUNT = Path("/sys/fs/cgroup")

_VERSIONS = {
    "": ("memory.max", "memory.current", ""),  # version 2: one tree for everything
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),  # 1: its own
}
"""By the controllers that a line of /proc/self/cgroup names: the files of a control group that hold the most
that it may take and what it takes, and what its memory.stat puts before names to count groups below, too."""


def free_memory() -> int | None:
    """Bytes; None where that is not known (no Linux).

    Docker, Kubernetes and Slurm hold a process to the limit of its control group, or of one above it, and
    kill it beyond; the machine as a whole may have far more.
    """
    return min((*_of_the_machine(), *_of_its_groups()), default=None)


def _of_the_machine() -> Iterator[int]:
    with suppress(OSError, ValueError):
        for line in _MEMINFO.read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                yield 1024 * int(value.split()[0])


def _of_its_groups() -> Iterator[int]:
    """What the group of this process, and each above it, has left; nothing of one without a limit."""
    with suppress(OSError):
        for line in _CGROUP.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in _VERSIONS:
                tree = _MOUNT / controllers
                mine = tree / path.lstrip("/")  # in a container perhaps the host's name of it, and not there
                for group in (mine, *mine.parents):
                    yield from _left(group, *_VERSIONS[controllers])
                    if group == tree:
                        break


def _left(group: Path, limit: str, taken: str, prefix: str) -> Iterator[int]:
    with suppress(OSError, ValueError):  # no such group, or "max": no limit
        most = int((group / limit).read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        cached = sum(int(stat.get(f"{prefix}{use}_file", 0)) for use in ("active", "inactive"))  # given up
        yield max(0, most - int((group / taken).read_text()) + cached)
