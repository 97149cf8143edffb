"""Finds the commands that recaption prints and documents, and tells where each ends.

Texts: every string of the package (with `…` for values that are filled in), the docstrings that `--help` prints, code
blocks and code spans of documents, comments of pipelines, prompts and the files of deploy/.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from other_programs import PROGRAMS, Refused, parse
from test_docs import DOCUMENTS, blocks

import recaption
from recaption.cli import command

ROOT = Path(__file__).parent.parent
PACKAGE = Path(recaption.__file__).parent
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9_-]*")
END = ".,;:)"  # of a command in a sentence


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A text of the package or of a document. `whole`: it is one command line or several, not a sentence."""

    where: str
    text: str
    whole: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """A command as it is printed. `words` are those of its arguments; none: the command is only mentioned."""

    where: str
    program: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join((self.program, *self.words))


def _string(node: ast.AST) -> str | None:
    """The text of a string or of a sum of strings; `…` for values."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(_string(v) or "" if isinstance(v, ast.Constant) else _value(v) for v in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _string(node.left), _string(node.right)
        return None if left is None and right is None else f"{'…' if left is None else left}{right or '…'}"
    return None


def _value(node: ast.AST) -> str:
    """`command` is what `command_name` returns: how to call recaption."""
    called = isinstance(node, ast.FormattedValue) and isinstance(node.value, ast.Name) and node.value.id == "command"
    return "recaption" if called else "…"


@cache
def of_package() -> tuple[Text, ...]:
    """Every string of the package but docstrings, and the docstrings of commands."""
    return tuple(_of_package())


def _of_package() -> Iterator[Text]:
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        statements = (node.value for node in ast.walk(tree) if isinstance(node, ast.Expr))
        inner = {id(value) for value in statements if isinstance(value, ast.Constant)}  # docstrings
        for node in ast.walk(tree):  # parents come before their parts
            if id(node) in inner:
                inner |= {id(part) for part in ast.walk(node)}
            elif (text := _string(node)) is not None:
                inner |= {id(part) for part in ast.walk(node)} - {id(node)}
                yield Text(where=f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', 0)}", text=text)
    for name, made in command().commands.items():
        yield Text(where=f"recaption {name} --help", text=made.help or "")


def of_documents() -> Iterator[Text]:
    """Lines of code blocks with commands, and code spans."""
    for path in [*DOCUMENTS, ROOT / "deploy" / "README.md"]:
        text, where = path.read_text("utf-8"), str(path.relative_to(ROOT))
        for block in blocks(text, path):
            if block.kind in ("console", "sh", "bash"):
                joined = block.text.replace("\\\n", " ")
                for line in joined.splitlines():
                    if block.kind != "console" or line.startswith("$ "):
                        yield Text(where=f"{where}:{block.line}", text=line.removeprefix("$ "), whole=True)
        for span in spans(re.sub(r"^( *)(`{3,}|~{3,}).*?^\1\2", "", text, flags=re.DOTALL | re.MULTILINE)):
            yield Text(where=where, text=span, whole=True)


def spans(text: str) -> list[str]:
    """The code spans of a text."""
    found = re.findall(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", text, re.DOTALL)
    return [" ".join(span.split()) for _, span in found]


def of_files() -> Iterator[Text]:
    """Comments of pipelines, prompts and schemas, and the files of deploy/: lines that begin with a command."""
    folders = [(ROOT / name).rglob("*") for name in ("pipelines", "deploy", "prompts")]
    for path in sorted(path for folder in folders for path in folder if path.suffix not in ("", ".json")):
        if path.name == "README.md":
            continue
        for number, line in enumerate(path.read_text("utf-8").replace("\\\n", " ").splitlines(), 1):
            where = f"{path.relative_to(ROOT)}:{number}"
            shown = re.match(r"#\s{2,}(\S.*)|\s*entrypoint: (.+)", line)
            if shown and (shown[1] or shown[2]).split()[0] in PROGRAMS:
                yield Text(where=where, text=shown[1] or shown[2], whole=True)
            else:
                yield Text(where=where, text=line.lstrip("# "))
    for number, line in enumerate((ROOT / "deploy" / "Dockerfile").read_text("utf-8").splitlines(), 1):
        yield Text(where=f"deploy/Dockerfile:{number}", text=line.lstrip("# "), whole=line.startswith("#   "))


def _split(text: str) -> list[str]:
    """Words, with quoted texts in one word and their quotes."""
    return re.findall(r"""(?:"(?:\\.|[^"\\])*"|'[^']*'|[^\s"'])+""", text)


def _is_argument(word: str) -> bool:
    """Whether a word of a sentence cannot be a word of English: it has a placeholder, or the form of a value."""
    bare = word.rstrip(END)
    return bool(re.search(r"…|^[A-Z][A-Z0-9_/]*$|^[\"'].*[\"']$|[/=*{\[]|^-[\w-]|\w_\w|^\d+$", bare))


_NAMED = re.compile(
    r"(?<![\w./\[{'-])(" + "|".join(map(re.escape, PROGRAMS)) + r")(?=[ \t]+[^\s=.]|[;,)]|\.(?:\s|$)|$)", re.MULTILINE
)
NO_WORDS_OF_ENGLISH = frozenset({"hf", "pip", "docker", "kubectl", "sbatch", "nvidia-smi"})
"""Programs whose name in a sentence is always a command."""
NO_COMMANDS = frozenset({"python no-run", "source = raw"})
"""Code spans that begin with the name of a program: the words after a fence of a document, and a condition."""


def commands(text: Text) -> Iterator[Command]:
    """The commands in a text."""
    if text.whole or re.match(r"  recaption |recaption .*  # ", text.text):  # a line of its own, or with a comment
        yield from _of_line(text)
        return
    sentence = text.text
    for span in spans(sentence):
        yield from _of_line(Text(where=text.where, text=span, whole=True))
    sentence = re.sub(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", "`", sentence, flags=re.DOTALL)
    for match in _NAMED.finditer(sentence):
        rest = sentence[match.end() :]
        if match[1] == "recaption":
            yield from _ours(text.where, rest)
        else:
            yield from _other(text.where, match[1], rest)


def _cut(rest: str) -> tuple[list[str], str]:
    """The words up to the end of a command in a sentence, as long as they can be arguments, and what follows."""
    words: list[str] = []
    following = _split(rest)
    for n, word in enumerate(following):
        option = words[-1] if words and words[-1].startswith("-") and "=" not in words[-1] else None
        if not (_is_argument(word) or option):
            return words, " ".join(following[n:])
        ended = word[-1] in END and not word.endswith("…")
        words.append(word.rstrip(END) if ended else word)
        if ended:
            return words, " ".join(following[n + 1 :])
    return words, ""


def _ours(where: str, rest: str) -> Iterator[Command]:
    found = re.match(r"\s+([a-z]+)\b", rest)
    if found is None or found[1] not in command().commands:
        option = re.match(r"\s+(--[a-z-]+)", rest)
        if option:
            yield Command(where=where, program="recaption", words=(option[1],))
        return
    if rest[found.end() : found.end() + 1] in tuple(END):
        yield Command(where=where, program="recaption", words=(found[1],))
        return
    words, _ = _cut(rest[found.end() :])
    flags = {flag: p for p in command().commands[found[1]].params for flag in p.opts}
    while len(words) > 1 and words[-1][0] != "-" and getattr(flags.get(words[-2]), "is_flag", False):
        words = words[:-1]  # a word of the sentence after an option without a value
    yield Command(where=where, program="recaption", words=(found[1], *words))


def _other(where: str, program: str, rest: str) -> Iterator[Command]:
    """The longest line that the program takes, of words that can be arguments; then of the words that follow."""
    words: list[str] = []
    candidates: list[list[str]] = []
    for word in _split(rest):
        ended = word[-1] in END and not word.endswith("…")
        words.append(word.rstrip(END) if ended else word)
        candidates.append(list(words))
        if ended:
            break
    best: list[str] | None = None
    for tried in [[], *candidates]:
        try:
            parse(program, tried)
        except Refused:
            continue
        if best is None or "--" in tried or all(map(_is_argument, tried[len(best) :])):
            best = tried
    first = candidates[0][0] if candidates else ""
    if best or (best is not None and program in NO_WORDS_OF_ENGLISH):
        yield Command(where=where, program=program, words=tuple(best))
    elif OPTION.match(first) or (program in NO_WORDS_OF_ENGLISH and re.fullmatch(r"[a-z]+", first)):
        yield Command(where=where, program=program, words=tuple(candidates[-1]))


def _of_line(text: Text) -> Iterator[Command]:
    """The simple commands of a line, split as a shell does; without environment and comments."""
    simple: list[str] = []
    for word in [*_split(re.sub(r"\s#.*", "", text.text)), ";"]:
        if set(word) <= set(";&|"):
            while simple and re.match(r"[A-Z_]+=", simple[0]):
                simple.pop(0)
            if simple:
                yield from _simple(text.where, simple)
            simple = []
        else:
            simple.append(word)


def _simple(where: str, words: list[str]) -> Iterator[Command]:
    program = words[0]
    if " ".join(words) in NO_COMMANDS:
        return
    if len(words) == 1 and program != "nvidia-smi":
        return
    if program in PROGRAMS or any(OPTION.match(word) for word in words[1:]):
        yield Command(where=where, program=program, words=tuple(words[1:]))


@cache
def everything() -> tuple[Text, ...]:
    """All texts."""
    return (*of_package(), *of_documents(), *of_files())
