#!/usr/bin/env python3
"""Run the tests that need no engine and no torch on every supported Python that is on PATH (`make test-pythons`).

Each Python has a virtual environment of its own, `.pythons/3.x`, made once and updated when pyproject.toml or
constraints.txt change. The supported versions are the classifiers of pyproject.toml. Standard library only.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = "run,download"
TOOLS = (
    *("datasets", "hypothesis", "mlcroissant", "moto[server]", "msgspec", "pandas", "pytest"),
    *("pytest-timeout", "s3fs", "simplejpeg", "webdataset"),
)
"""What the tests need beside the extras; constraints.txt has the versions."""
TESTS = (
    *("tests/annotate", "tests/export", "tests/inspect", "tests/source", "tests/validate", "tests/write"),
    *("tests/io", "tests/load/policy", "tests/output"),
    *(f"tests/load/test_{name}.py" for name in ("encoding", "order", "records")),
    *(f"tests/test_{name}.py" for name in ("config", "prompt", "schema", "text")),
    "--ignore=tests/inspect/report/test_browser.py",  # needs Chromium
    "--deselect=tests/write/test_tokens.py::test_full_stops_go_behind_words_not_behind_marks",  # needs torch
    "--deselect=tests/write/test_tokens.py::test_full_stops_come_off_words_not_off_marks",  # needs torch
    "--deselect=tests/write/test_tokens.py::test_clips_ids_are_open_clips",  # needs torch
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--versions", nargs="+", default=supported(), help="default: the classifiers of pyproject.toml")
    parser.add_argument("pytest", nargs="*", help="options and tests for pytest in place of the light ones")
    arguments = parser.parse_args()
    results = {version: run_version(version, arguments.pytest or list(TESTS)) for version in arguments.versions}
    say("; ".join(f"Python {version}: {result}" for version, result in results.items()))
    if all(result == "not found" for result in results.values()):
        say("no supported Python is on PATH: nothing was tested")
        return 1
    return 0 if set(results.values()) <= {"passed", "not found"} else 1


def supported() -> list[str]:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    return re.findall(r'"Programming Language :: Python :: (\d+\.\d+)"', text)


def run_version(version: str, tests: list[str]) -> str:
    """Returns "passed", "failed", "not installed" or "not found"."""
    interpreter = find(version)
    if interpreter is None:
        return "not found"
    python = ROOT / ".pythons" / version / "bin" / "python"
    if not install(interpreter, python):
        return "not installed"
    say(f"Python {version}: testing")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not soak", *tests]
    return "passed" if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0 else "failed"


def find(version: str) -> str | None:
    """The interpreter on PATH that runs and is of that version: pyenv puts commands there that only print an error."""
    for folder in os.get_exec_path():
        path = shutil.which(f"python{version}", path=folder)
        code = f"import sys, ensurepip, venv; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"
        if path and subprocess.run([path, "-c", code], capture_output=True, check=False).returncode == 0:
            return path
    return None


def install(interpreter: str, python: Path) -> bool:
    """Make or update the virtual environment of `python`. Returns whether it worked."""
    digest = hashlib.sha256(repr((EXTRAS, TOOLS)).encode())
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((ROOT / name).read_bytes())
    stamp = python.parent.parent / "installed"
    if python.exists() and stamp.exists() and stamp.read_text("utf-8") == digest.hexdigest():
        return True
    folder = python.parent.parent
    say(f"{interpreter}: installing recaption[{EXTRAS}] and what the tests need into {folder}")
    stamp.unlink(missing_ok=True)
    pip = [str(python), "-m", "pip", "--no-input", "--disable-pip-version-check", "install", "-q"]
    project = ["-c", str(ROOT / "constraints.txt"), "-e", f"{ROOT}[{EXTRAS}]", *TOOLS]
    for command in ([interpreter, "-m", "venv", "--clear", str(folder)], [*pip, *project]):
        if subprocess.run(command, check=False).returncode != 0:
            return False
    stamp.write_text(digest.hexdigest(), "utf-8")
    return True


def say(text: str) -> None:
    print(f"test-pythons: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
