"""The machine itself: Python, cores and memory, disks, limits."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from rich.filesize import decimal

from recaption.doctor.finding import Finding, error, ok, warning
from recaption.formatting import number_of
from recaption.run import connect

NEWEST = (3, 13)  # tested versions of Python end here; older ones than 3.11 cannot install recaption
OPEN_FILES = 8192  # Ray's daemons and workers hold hundreds of sockets each; Ray itself requests 65536
LITTLE_DISK = 10 * 2**30
SHARED_MEMORY = 2**30  # bytes of a replica's rendered images in Ray's object store
LITTLE_MEMORY = 8 * 2**30
_CGROUP = Path("/sys/fs/cgroup/memory.max")  # cgroup v2: the memory limit of a container


def python(version: tuple[int, int] = sys.version_info[:2], system: str = sys.platform) -> Finding:
    """The interpreter and the system."""
    found = f"{platform.python_version()} on {platform.platform(terse=True)}"
    if version > NEWEST:
        return warning("python", f"{found}, which is not tested", "if something fails, try Python 3.11 to 3.13")
    if system != "linux":
        return warning("python", f"{found}; only Linux is tested", "run on Linux, or in its container (deploy/docker)")
    return ok("python", found)


def cores() -> Finding:
    """Cores and memory that this process may use."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # "max": no limit
        memory = min(memory, int(_CGROUP.read_text()))
    found = f"{number_of(count, 'core')}, {decimal(memory)} of memory"
    if memory < LITTLE_MEMORY:
        return warning("cores", found, "give the machine or the container 8 GB or more, or annotate small shards")
    return ok("cores", found)


def disk(name: str, path: Path, needed: int = 0) -> Finding:
    """Free space and inodes of the disk of `path`, which need not exist yet. `needed` is in bytes, 0 if unknown."""
    existing = path.expanduser().absolute()
    while True:
        try:
            free, stat = shutil.disk_usage(existing).free, os.statvfs(existing)
            break
        except (FileNotFoundError, NotADirectoryError):  # or gone again: another check creates it and removes it
            existing = existing.parent
    found, todo = f"{decimal(free)} free at {path}", "free some space, or use another disk"
    if stat.f_files and stat.f_favail < 10_000:
        return error(name, f"{found}, but inodes for only {stat.f_favail:,} more files", "remove files, or " + todo)
    if needed > free:
        return warning(name, f"{found}; the dataset may need {decimal(needed)}, as the source does", todo)
    if free < LITTLE_DISK:
        return error(name, found, todo) if free < 2**30 else warning(name, found, todo)
    return ok(name, found)


def temporary() -> Finding:
    """The folder for Ray's sockets, logs and spilled objects."""
    name, (_, folder) = "temporary files", connect.temporary_folder()
    if not connect.cluster_address():
        connect.check_temporary_folder()
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    found, usage = disk(name, folder), shutil.disk_usage(existing)
    if found.status == "ok" and usage.free < 0.05 * usage.total:
        todo = "free some space: Ray stops using a disk that is 95 % full"
        return warning(name, f"{found.found}, less than 5 % of the disk", todo)
    return found


def open_files() -> Finding:
    """The limit on open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited, wanted = resource.RLIM_INFINITY, 65536
    if soft == unlimited or soft >= OPEN_FILES:
        return ok("open files", "no limit" if soft == unlimited else f"{soft:,} allowed")
    todo = f"ulimit -n {wanted} before the run"
    if hard != unlimited and hard < wanted:
        todo = f"raise the hard limit to {wanted} (/etc/security/limits.conf, docker run --ulimit nofile={wanted})"
    limit = "none" if hard == unlimited else f"{hard:,}"
    return warning("open files", f"only {soft:,} allowed (hard limit {limit})", todo)


def shared_memory(replicas: int = 1, path: Path = Path("/dev/shm")) -> Finding:
    """Free space for Ray's object store and vLLM's own queues."""
    if not path.is_dir():
        return warning("shared memory", f"{path} does not exist", "run on Linux; rendering is slow without it")
    free, needed = shutil.disk_usage(path).free, SHARED_MEMORY * min(replicas, 16)
    found = f"{decimal(free)} free in {path}"
    if free < needed:
        found += f", {decimal(needed)} are needed for {number_of(replicas, 'engine')}"
        todo = "docker run --shm-size=8g; on Kubernetes mount an emptyDir with medium: Memory there"
        return warning("shared memory", found, todo)
    return ok("shared memory", found)
