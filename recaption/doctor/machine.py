"""The machine itself: Python, cores and memory, disks, limits."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from recaption.doctor.finding import Finding, error, ok, warning

OLDEST, NEWEST = (3, 11), (3, 13)
"""Python versions that recaption is tested with."""

OPEN_FILES = 8192  # Ray's daemons and workers hold hundreds of sockets each; it asks for 65536 itself
LITTLE_DISK = 10 * 2**30
SHARED_MEMORY = 2**30  # bytes that a replica's rendered images may take in Ray's object store
LITTLE_MEMORY = 8 * 2**30
_CGROUP = Path("/sys/fs/cgroup/memory.max")  # cgroup v2: the memory limit of a container


def python(version: tuple[int, int] = sys.version_info[:2], system: str = sys.platform) -> Finding:
    """The interpreter and the system."""
    found = f"{platform.python_version()} on {platform.platform(terse=True)}"
    allowed = f"{'.'.join(map(str, OLDEST))} to {'.'.join(map(str, NEWEST))}"
    if version < OLDEST:
        return error("python", found, f"install Python {allowed} and recaption into it")
    if version > NEWEST:
        return warning("python", f"{found}, which is not tested", f"if something fails, try Python {allowed}")
    if system != "linux":
        return warning("python", f"{found}; only Linux is tested", "run on Linux, or in its container (deploy/docker)")
    return ok("python", found)


def cores() -> Finding:
    """Cores and memory that this process may use."""
    count, memory = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, _memory()
    found = f"{count} core{'s' * (count != 1)}, {gigabytes(memory)} of memory"
    if memory < LITTLE_MEMORY:
        return warning("cores", found, "give the machine or the container 8 GB or more, or annotate small shards")
    return ok("cores", found)


def _memory() -> int:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # "max": no limit
        total = min(total, int(_CGROUP.read_text()))
    return total


def disk(name: str, path: Path, needed: int = 0) -> Finding:
    """Free space on the disk of `path`, which need not exist yet. `needed` bytes, if known."""
    place = path.expanduser().absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    found = f"{gigabytes(free)} free at {path}"
    stat = os.statvfs(place)
    if stat.f_files and stat.f_favail < 10_000:
        return error(
            name, f"{found}, but inodes for {stat.f_favail:,} more files only", "remove files, or use another disk"
        )
    if needed > free:
        return warning(
            name,
            f"{found}; the dataset may need {gigabytes(needed)}, as the source does",
            "free some space, or use another disk",
        )
    if free < LITTLE_DISK:
        todo = "free some space, or use another disk"
        return error(name, found, todo) if free < 2**30 else warning(name, found, todo)
    return ok(name, found)


def temporary() -> Finding:
    """The folder for Ray's sockets, logs and spilled objects."""
    folder = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    if not os.access(folder, os.W_OK):
        return error("temporary files", f"{folder} cannot be written", "set TMPDIR and RAY_TMPDIR to a writable folder")
    found = disk("temporary files", folder)
    if found.status == "ok":
        usage = shutil.disk_usage(folder)
        if usage.free < 0.05 * usage.total:
            return warning(
                found.name,
                f"{found.found}, less than 5 % of the disk",
                "free some space: Ray stops using a disk that is 95 % full",
            )
    return found


def open_files() -> Finding:
    """The limit on open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited or soft >= OPEN_FILES:
        return ok("open files", "no limit" if soft == unlimited else f"{soft:,} allowed")
    wanted = 65536
    if hard != unlimited and hard < wanted:
        todo = (
            f"have the hard limit raised to {wanted} (/etc/security/limits.conf, docker run --ulimit nofile={wanted})"
        )
        if hard > soft:
            todo = f"ulimit -n {hard} before the run; better, {todo}"
    else:
        todo = f"ulimit -n {wanted} before the run"
    return warning(
        "open files", f"only {soft:,} allowed (hard limit {'none' if hard == unlimited else f'{hard:,}'})", todo
    )


def shared_memory(replicas: int = 1, path: Path = Path("/dev/shm")) -> Finding:
    """Room for Ray's object store and vLLM's own queues."""
    if not path.is_dir():
        return warning("shared memory", f"{path} does not exist", "run on Linux; rendering is slow without it")
    free, needed = shutil.disk_usage(path).free, SHARED_MEMORY * min(replicas, 16)
    found = f"{gigabytes(free)} free in {path}"
    if free < needed:
        return warning(
            "shared memory",
            f"{found}, {gigabytes(needed)} are needed for {replicas} engine{'s' * (replicas != 1)}",
            "docker run --shm-size=8g; on Kubernetes mount an emptyDir with medium: Memory there",
        )
    return ok("shared memory", found)


def gigabytes(size: float) -> str:
    """`512 MB`, `12.5 GB`, `310 GB`."""
    if size < 1e9:
        return f"{size / 1e6:.0f} MB"
    return f"{size / 1e9:.1f} GB" if size < 1e11 else f"{size / 1e9:,.0f} GB"
