"""Dependencies point one way: who may import whom, checked on the syntax trees.

A module that is new at the top level has to be given a layer here.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "recaption"

# From the bottom up. A module imports from lower layers and from its own folder; in layers of plain modules (the ones
# marked so) also from each other. An entry of two parts is one module of a folder and goes before the folder's.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("types", "errors"),
    ("supervise", "stdio", "signals", "watch"),  # standard library only
    (
        *(
            "resources",
            "text",
            "quotes",
            "formatting",
            "scrub",
            "problems",
            "tokenids",
            "embeddings",
            "balance",
            "tokenizer",
            "threads",
            "tablefile",
            "guard",
            "language",
        ),
        *("guard", "sandbox", "strictyaml", "section", "legacy", "demo", "__init__"),
    ),
    ("io", "output.paths"),
    ("config", "prompt", "schema", "imagefile", "decode", "models", "output.locate"),
    ("tasks",),
    ("source", "engine", "annotate"),
    ("output",),
    ("generate", "write"),
    ("build",),
    ("export", "validate", "push"),
    ("progress",),
    ("run",),
    ("doctor", "probe", "compare"),
    ("cli", "__main__"),
)
NEIGHBOURS_ALLOWED = {0, 1, 2, 4, 14}
# A trainer needs neither ray nor vllm nor spacy, and a look into a dataset needs nothing of what made it.
SHARED = {"types", "errors", "schema", "text", "threads", "io", "output.paths", "output.locate", "__init__"}
APART = {folder: SHARED | {folder} for folder in ("load", "inspect")}
APART["objectives"] = {"errors", "objectives"}  # torch and nothing else
APART["load"] |= {
    "tokenids",
    "tokenizer",
    "embeddings",
    "balance",
}  # what write and load share, as they share schema: no more than numpy
APART["load"] |= {"decode", "imagefile"}  # which way up an image is; no more than Pillow
APART["inspect"] |= {"embeddings", "balance", "formatting", "tablefile"}  # no more than pyarrow
APART["inspect"] |= {"decode", "imagefile"}  # images are opened in one way, with its limits; no more than Pillow
APART["inspect"] |= {"signals"}  # standard library only

HEAVY = ("torch", "ray", "vllm", "spacy", "duckdb", "pandas", "transformers")
# Who may import these at all …
ONLY_IN = {"vllm": ("engine.vllm",), "ray": ("generate", "build", "run")}
# … and who may do so on import: what is a subclass or a decorated class of theirs.
AT_MODULE_LEVEL = {
    "torch": ("load", "objectives", "probe", "demo", "engine.rows"),
    "transformers": ("demo", "engine.rows"),  # rows: subclasses, and only engine.transformers imports it
    "ray": ("generate", "build", "run"),
    "vllm": ("engine.vllm",),
}
# Loaded by every user, every trainer, and by each start of the command line.
LIGHT = ("recaption", "recaption.cli", "recaption.config", "recaption.schema", "recaption.io.store", "recaption.prompt")


@dataclass(frozen=True, kw_only=True, slots=True)
class Import:
    """`module` (dotted, without the package's own name: "engine.vllm") imports `target`."""

    module: str
    target: str
    line: int
    on_import: bool  # runs when the module is imported: not in a function, not under TYPE_CHECKING

    def __str__(self) -> str:
        return f"recaption/{self.module.replace('.', '/')}.py:{self.line} imports {self.target}"


def imports() -> list[Import]:
    return [
        found for path in sorted(PACKAGE.rglob("*.py")) for found in imports_of(path.read_text("utf-8"), dotted(path))
    ]


def imports_of(source: str, module: str) -> Iterator[Import]:
    """All imports in `source`, nested ones too."""

    def visit(node: ast.AST, on_import: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module=module, target=alias.name, line=node.lineno, on_import=on_import)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: relative imports hide where a name comes from"
            for alias in node.names:  # `from recaption.demo import draw` may name a module
                yield Import(module=module, target=f"{node.module}.{alias.name}", line=node.lineno, on_import=on_import)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for child in node.body:
                yield from visit(child, False)
            for child in node.orelse:
                yield from visit(child, on_import)
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                yield from visit(child, on_import and not inside)

    yield from visit(ast.parse(source), True)


def dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def ours(target: str) -> str | None:
    """ "config" for recaption.config.Pipeline; "__init__" for the package itself; None for someone else's."""
    top, _, rest = target.partition(".")
    if top != "recaption":
        return None
    parts = rest.split(".")
    longest = next((n for n in range(len(parts), 0, -1) if is_module(parts[:n])), 0)
    return ".".join(parts[:longest]) or "__init__"


def is_module(parts: list[str]) -> bool:
    path = PACKAGE.joinpath(*parts)
    return path.with_suffix(".py").is_file() or path.is_dir()


def unit(module: str) -> str:
    """What stands in LAYERS for a module: itself, or its folder."""
    return module if any(module in layer for layer in LAYERS) else module.split(".")[0]


def layer(module: str) -> int | None:
    return next((n for n, names in enumerate(LAYERS) if unit(module) in names), None)


def matches(module: str, places: tuple[str, ...]) -> bool:
    return any(module == place or module.startswith(place + ".") for place in places)


def breach(found: Import) -> str | None:
    """Why an import is not allowed, or None."""
    target = ours(found.target)
    if target is None:
        return None
    if (folder := found.module.split(".")[0]) in APART:
        allowed = APART[folder]
        here = matches(target, tuple(allowed))
        return None if here else f"{found}: {folder} imports only {', '.join(sorted(allowed))}"
    if target.split(".")[0] in APART:
        return (
            None
            if layer(found.module) == len(LAYERS) - 1 or unit(found.module) in ("probe", "compare")
            else f"{found}: only the command line, probe and compare use load, inspect and objectives"
        )
    mine, theirs = layer(found.module), layer(target)
    if mine is None or theirs is None:
        return f"{found}: give {found.module if mine is None else target} a layer in {Path(__file__).name}"
    if theirs < mine or unit(target) == unit(found.module) or (theirs == mine and mine in NEIGHBOURS_ALLOWED):
        return None
    return (
        f"{found}: layer {theirs} ({', '.join(LAYERS[theirs])}) is not below layer {mine} ({', '.join(LAYERS[mine])})"
    )


def test_dependencies_point_one_way() -> None:
    assert [why for found in imports() if (why := breach(found))] == []


def test_every_module_has_a_layer() -> None:
    modules = {dotted(path) for path in PACKAGE.rglob("*.py")}
    assert sorted(m for m in modules if layer(m) is None and m.split(".")[0] not in APART) == []


def test_heavy_libraries_stay_where_they_belong() -> None:
    strays = [
        str(found)
        for found in imports()
        if (places := ONLY_IN.get(found.target.split(".")[0])) and not matches(found.module, places)
    ]
    assert strays == []


def test_heavy_libraries_are_imported_inside_functions() -> None:
    early = [
        str(found)
        for found in imports()
        if (name := found.target.split(".")[0]) in HEAVY
        and found.on_import
        and not matches(found.module, AT_MODULE_LEVEL.get(name, ()))
    ]
    assert early == []


def test_no_import_cycles() -> None:
    graph: dict[str, set[str]] = {}
    for found in imports():
        target = ours(found.target)
        # A folder's __init__ re-exports its modules, which may import the folder's other modules: that is no cycle.
        if found.on_import and target and target != found.module:
            graph.setdefault(found.module, set()).add(target)
    assert cycle(graph) is None


def test_no_cycle_among_packages() -> None:
    """Imports inside functions count too: a folder that needs another at run time depends on it."""
    graph: dict[str, set[str]] = {}
    for found in imports():
        target = ours(found.target)
        mine, theirs = found.module.split(".")[0], (target or "__init__").split(".")[0]
        if theirs not in ("__init__", mine):
            graph.setdefault(mine, set()).add(theirs)
    assert cycle(graph) is None


def cycle(graph: dict[str, set[str]]) -> list[str] | None:
    """Some path that ends where it began, or None."""
    done: set[str] = set()

    def walk(module: str, path: list[str]) -> list[str] | None:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return None
        for target in sorted(graph.get(module, ())):
            if found := walk(target, [*path, module]):
                return found
        done.add(module)
        return None

    return next((found for module in sorted(graph) if (found := walk(module, []))), None)


@pytest.mark.parametrize("module", LIGHT)
def test_importing_is_light(module: str) -> None:
    code = f"import sys, {module}; print(*sorted(set(sys.modules) & set({HEAVY!r})))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout.strip(), result.stderr) == (0, "", "")


@pytest.mark.parametrize("folder", [name for name in APART if (PACKAGE / name).is_dir()])
def test_readers_import_without_what_makes_datasets(folder: str) -> None:
    """The folder imports where ray, vllm, spacy and transformers cannot be imported at all."""
    code = (
        "import sys\n"
        "for name in ('ray', 'vllm', 'spacy', 'transformers'): sys.modules[name] = None\n"
        f"import recaption.{folder}\n"
    )
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("module", "source", "allowed"),
    [
        ("write.tar", "from recaption.io.store import Store", True),
        ("write.tar", "from recaption.write.shard import x", True),
        ("write.tar", "from recaption.generate import parts", False),
        ("engine.base", "def f():\n    from recaption.generate import parts", False),
        ("store", "from recaption.run import run", False),
        ("inspect.views", "from recaption.io.store import Store", True),
        ("load.layout", "from recaption.output.paths import BUILDS", True),
        ("load.layout", "from recaption.output import paths", True),
        ("load.layout", "from recaption.output.locate import locate", True),
        ("load.layout", "from recaption.output.answers import finished", False),
        ("source.keys", "from recaption.output import paths", True),
        ("source.keys", "from recaption.output.answers import finished", False),
        ("inspect.views", "from recaption.schema import TAGS", True),
        ("load.tokens", "from recaption.tokenids import TokenIds", True),
        ("inspect.views", "from recaption.tokenids import TokenIds", False),
        ("run", "from recaption.inspect import connect", False),
        ("cli", "from recaption.inspect import connect", True),
        ("objectives.flair", "from recaption.load import loader", False),
        ("newcomer", "from recaption.types import Image", False),
        ("types", "import numpy", True),
    ],
)
def test_rules_can_fail(module: str, source: str, allowed: bool) -> None:
    (found,) = imports_of(source, module)
    assert (breach(found) is None) == allowed


def test_type_checking_and_functions_do_not_run_on_import() -> None:
    guarded = "if TYPE_CHECKING:\n    import torch\nelse:\n    import numpy\n"
    source = guarded + "def f():\n    import ray\nclass A:\n    import duckdb"
    assert {f.target: f.on_import for f in imports_of(source, "x")} == {
        "torch": False, "numpy": True, "ray": False, "duckdb": True
    }  # fmt: skip


def test_cycles_are_found() -> None:
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert cycle({"a": {"b", "c"}, "b": {"c"}}) is None
