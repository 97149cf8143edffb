"""What the documents show works: commands parse, targets and files exist, YAML validates, Python runs.

Blocks are told apart by the word after the fence:
- `console`: lines that begin with `$ ` are commands, the others output; `sh` and `bash`: every line is a command
- `yaml`: a pipeline, or a piece of one; `python`: run, in a folder where every `out/NAME` that it mentions is the
  golden dataset; `python no-run`: only compiled, and its imports from recaption looked up
- anything else (`text`, `json`, `sql`, …) is left alone

The pages of `docs/` are checked too, and the documentation site is built as `make docs` does, with warnings as errors.
"""

from __future__ import annotations

import ast
import copy
import importlib
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from recaption import config, strictyaml
from recaption.errors import ConfigError
from recaption.resources import find
from recaption.types import REASONS

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCUMENTS = [README, *(p for p in (ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md") if p.is_file())]
DOCUMENTS += sorted(p for folder in ("docs", "schemas") for p in (ROOT / folder).rglob("*.md"))
# The least that validates; a piece of YAML is laid over it.
LEAST: dict[str, Any] = {
    "name": "least",
    "source": {"path": "images"},
    "models": {"m": {"engine": "vllm", "model": "org/name"}},
    "generate": [{"id": "long", "model": "m", "prompt": "describe_long"}],
    "output": {"path": "out/least"},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A fenced block: where it begins (line of its fence), the words after the fence, its text."""

    document: Path
    line: int
    info: tuple[str, ...]
    text: str

    @property
    def kind(self) -> str:
        return self.info[0] if self.info else ""

    def __str__(self) -> str:
        return f"{self.document.name}:{self.line}"


def blocks(text: str, document: Path = README) -> list[Block]:
    """The fenced blocks of Markdown `text`, also indented ones. Raises ValueError for a fence that is never closed."""
    found: list[Block] = []
    fence: re.Match[str] | None = None
    start, inside = 0, list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        mark = re.match(r"( *)(`{3,}|~{3,})(.*)$", line)
        if fence is None:
            if mark:
                fence, start, inside = mark, number, []
        elif mark and mark[2].startswith(fence[2]) and not mark[3].strip():
            info = tuple(fence[3].split())
            found.append(Block(document=document, line=start, info=info, text="\n".join(inside) + "\n"))
            fence = None
        else:
            inside.append(line.removeprefix(fence[1]))
    if fence:
        raise ValueError(f"{document.name}:{start}: the fence is never closed")
    return found


def all_blocks(*kinds: str) -> list[Any]:
    return [
        pytest.param(block, id=str(block))
        for document in DOCUMENTS
        if document.is_file()
        for block in blocks(document.read_text("utf-8"), document)
        if block.kind in kinds
    ]


def commands(block: Block) -> list[list[str]]:
    """The simple commands of a block, words split as a shell would: `a && b | c` are three."""
    text = block.text.replace("\\\n", " ")
    if block.kind == "console":
        text = "\n".join(line[2:] for line in text.splitlines() if line.startswith("$ "))
    found: list[list[str]] = []
    for line in text.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word and set(word) <= set(";&|"):
                found += [words] if words else []
                words = []
            else:
                words.append(word)
    return found


def check_command(words: list[str]) -> None:
    """Raises AssertionError when a `recaption` or `make` command could not work."""
    while words and re.fullmatch(r"\w+=.*", words[0]):  # environment
        words = words[1:]
    name = Path(words[0]).name if words else ""
    if name == "make":
        goals = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
        unknown = set(goals) - set(targets())
        assert not unknown, f"make has no target {', '.join(sorted(unknown))}"
    elif name == "recaption":
        check_recaption(words[1:])


def check_recaption(words: list[str]) -> None:
    import typer
    from typer.exceptions import TyperException

    from recaption.cli import command

    name, *rest = words or ["--help"]
    if name.startswith("-"):  # --help, --version
        return
    assert name in command().commands, f"there is no command {name}"
    try:
        arguments = command().commands[name].make_context(name, rest).params
    except typer.Exit:  # --help
        return
    except TyperException as error:
        raise AssertionError(f"recaption {shlex.join(words)} does not parse: {error}") from error
    pipeline = str(arguments.get("pipeline") or "")
    # A shipped name, or a file in the checkout; anything else with a folder in it is the reader's own.
    if pipeline and ("/" not in pipeline or pipeline.startswith(("pipelines/", "seeds/"))):
        name = str(ROOT / pipeline) if pipeline.startswith("pipelines/") else pipeline
        config.load(name, tuple(arguments.get("overrides") or ()), arguments.get("preset"))


def targets() -> list[str]:
    return re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)


def laid_over(base: Any, piece: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(piece, dict)):
        return piece
    return {**base, **{key: laid_over(base.get(key), value) for key, value in piece.items()}}


def check_yaml(text: str) -> None:
    """Raises ConfigError or AssertionError when `text` is neither a pipeline nor a piece of one."""
    data = strictyaml.read(text, "document")
    assert isinstance(data, dict), "expected a mapping: a pipeline or a piece of one"
    whole = data if "name" in data and "source" in data else laid_over(copy.deepcopy(LEAST), data)
    if "models" in data and "generate" not in data:  # models alone: a generation for each of them
        whole["generate"] = [ask for n, (m, model) in enumerate(data["models"].items()) if (ask := asking(n, m, model))]
    for ask in config.validate(whole).generate:
        if ask.prompt:
            find("prompts", ask.prompt, ".md", ROOT / "prompts")


def asking(n: int, name: str, model: dict[str, Any]) -> dict[str, Any]:
    what = {"column": "caption"} if model.get("engine") == "column" else {"prompt": "describe_long"}
    return {"id": f"g{n}", "model": name, **what}


def check_imports(tree: ast.AST) -> None:
    """Raises where something is imported from recaption that is not there."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "recaption":
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "recaption":
                    importlib.import_module(alias.name)


def golden_dataset() -> Path | None:
    """The dataset of twenty images that the tests keep."""
    return next((p.parent for p in sorted((ROOT / "tests" / "golden").rglob("builds")) if p.is_dir()), None)


def test_there_is_a_readme_that_shows_how_to_begin() -> None:
    assert README.is_file(), "README.md is missing"
    shown = [
        words
        for block in blocks(README.read_text("utf-8"))
        if block.kind in ("console", "sh", "bash")
        for words in commands(block)
    ]
    assert ["make", "demo"] in shown and ["make", "test"] in shown


@pytest.mark.parametrize("block", all_blocks("console", "sh", "bash"))
def test_commands_work(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for words in commands(block):
        check_command(words)


@pytest.mark.parametrize("block", all_blocks("yaml", "yml"))
def test_yaml_validates(block: Block) -> None:
    check_yaml(block.text)


@pytest.mark.parametrize("block", all_blocks("python"))
def test_python_runs(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = ast.parse(block.text, filename=str(block))
    check_imports(tree)
    if "no-run" in block.info:
        return
    mentioned = set(re.findall(r"\bout/[\w-]+", block.text))
    golden = golden_dataset()
    assert golden or not mentioned, f"{block} reads {', '.join(sorted(mentioned))}, and there is no golden dataset"
    for name in mentioned:
        shutil.copytree(str(golden), tmp_path / name, symlinks=True)
    monkeypatch.chdir(tmp_path)
    exec(compile(tree, str(block), "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("document", [pytest.param(p, id=str(p.relative_to(ROOT))) for p in DOCUMENTS if p.is_file()])
def test_links_lead_somewhere(document: Path) -> None:
    text = re.sub(r"^( *)(```|~~~).*?^\1\2", "", document.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    links = re.findall(r"\]\(([^)\s]+)[^)]*\)|(?:src|href)=\"([^\"]+)\"", re.sub(r"`[^`\n]+`", "", text))
    local = [link.partition("#")[0] for pair in links for link in pair if link and not re.match(r"[a-z]+:|#", link)]
    assert [link for link in local if not (document.parent / link).exists()] == []


def test_messages_that_troubleshooting_quotes_exist() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    section = page.partition("## Messages")[2].partition("\n## ")[0]
    quoted = re.findall(r"^\| `(.+?)` \|", section, re.MULTILINE)
    written = messages()
    unknown = [text for text in quoted if not any(quotes(text, message) for message in written)]
    assert len(quoted) > 10 and unknown == ["recaption: command not found"]  # that one is the shell's


def test_troubleshooting_explains_every_reason_of_a_reject() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.+?`) \|", page.partition("## Reject reasons")[2].partition("\n## ")[0], re.MULTILINE)
    explained = re.findall(r"`(\w+)`", " ".join(rows))
    assert len(explained) == len(set(explained)) and set(explained) == REASONS


def messages() -> set[str]:
    """All texts in the code of recaption, with `…` for values that are filled in."""
    found: set[str] = set()
    for path in (ROOT / "recaption").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.add("".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def quotes(text: str, message: str) -> bool:
    """Whether `text` is a part of `message`; `…` in `text` stands for anything."""
    return re.search(".*".join(map(re.escape, text.split("…"))), message, re.DOTALL) is not None


def test_the_readme_is_short() -> None:
    assert len(README.read_text("utf-8").splitlines()) <= 150


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="needs the extra docs")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "--quiet", "docs", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    pages = {path.name: path.read_text("utf-8") for path in (tmp_path / "site").glob("*.html")}
    assert (
        'id="recaption-estimate"' in pages["reference-cli.html"]
        and 'id="outputcard"' in pages["reference-pipeline.html"]
    )
    loaded = r'<(?:script|img|iframe)[^>]*\bsrc="(?:https?:)?//|<link[^>]*rel="stylesheet"[^>]*href="(?:https?:)?//'
    assert [name for name, page in pages.items() if re.search(loaded, page)] == []


def test_links_between_pages_follow_the_source_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    pages = importlib.import_module("pages")
    text = (
        "[a](schemas/README.md#keys) [b](docs/formats.md) [c](https://x.org/y) [d](#e)\n```text\n[f](README.md)\n```\n"
    )
    expected = "[a](on-disk.md#keys) [b](formats.md) [c](https://x.org/y) [d](#e)\n```text\n[f](README.md)\n```\n"
    assert pages.relink(text, ROOT) == expected


@pytest.mark.parametrize(
    "line",
    [
        "$ make dmo",
        "$ recaption rum demo",
        "$ recaption run demo --sett a=b",
        "$ recaption run nosuch",
        "$ ls && make nope",
    ],
)
def test_wrong_commands_are_caught(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = blocks(f"```console\n{line}\n```")
    with pytest.raises((AssertionError, ConfigError)):
        for words in commands(block):
            check_command(words)


@pytest.mark.parametrize(
    "text", ["output: {pth: x}", "- a", "generate: [{id: long, model: m, prompt: nosuch}]", "nme: x"]
)
def test_wrong_yaml_is_caught(text: str) -> None:
    with pytest.raises((AssertionError, ConfigError)):
        check_yaml(text)


@pytest.mark.parametrize("text", ["output: {path: out/x, format: webdataset}", "models: {r: {engine: column}}"])
def test_a_piece_of_a_pipeline_will_do(text: str) -> None:
    check_yaml(text)


def test_wrong_imports_are_caught() -> None:
    with pytest.raises(ImportError):
        check_imports(ast.parse("from recaption.types import NoSuchThing"))


def test_blocks_are_read_as_markdown_means_them() -> None:
    text = "```console\n$ a \\\n  b | c\nout\n```\n\n- x\n  ````python no-run\n  ```\n  y\n  ````\n"
    first, second = blocks(text)
    assert commands(first) == [["a", "b"], ["c"]]
    assert (second.info, second.text, second.line) == (("python", "no-run"), "```\ny\n", 8)
    with pytest.raises(ValueError, match="never closed"):
        blocks("```\nx")
