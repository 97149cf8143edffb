#!/usr/bin/env python3
"""Write constraints.txt: the installed versions of everything that recaption and its extras lead to (`make lock`).

Followed from pyproject's names through installed packages' requirements, so that other packages of the environment
are left out. Local versions (`+cpu`) are cut off: `torch==2.13.0` admits `2.13.0+cpu`.
"""

from __future__ import annotations

import platform
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
# Which build of these fits depends on torch's build, so scripts/setup.py decides; triton is pinned by CUDA's torch.
UNPINNED = {"recaption", "torchvision", "torchaudio", "torchcodec", "triton", "vllm"}


def main() -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    versions = closure([Requirement(line) for line in wanted])
    lines = [f"{name}=={version}" for name, version in sorted(versions.items()) if name not in UNPINNED]
    header = [
        "# The tested set: `pip install -c constraints.txt …` gives these versions. Written by `make lock` from a",
        f"# .venv whose tests passed: Python {platform.python_version()}, {sys.platform} {platform.machine()}.",
    ]
    (ROOT / "constraints.txt").write_text("\n".join([*header, *lines]) + "\n", "utf-8")
    print(f"constraints.txt: {len(lines)} packages")
    return 0


def closure(wanted: list[Requirement]) -> dict[str, str]:
    """Canonical name → installed version, of `wanted` and all they require here. Not installed: left out."""
    versions: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    todo = [(canonicalize_name(r.name), extra) for r in wanted for extra in ("", *r.extras)]
    while todo:
        name, extra = todo.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            dist = distribution(name)
        except PackageNotFoundError:
            continue
        versions[name] = Version(dist.version).public
        environment: dict[str, str] = {**{k: str(v) for k, v in default_environment().items()}, "extra": extra}
        for requirement in map(Requirement, dist.requires or ()):
            if requirement.marker is None or requirement.marker.evaluate(environment):
                todo += [(canonicalize_name(requirement.name), e) for e in ("", *requirement.extras)]
    return versions


if __name__ == "__main__":
    sys.exit(main())
