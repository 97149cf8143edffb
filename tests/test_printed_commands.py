"""Every command and every option that a message names exists.

All texts of the package are searched, so that a new message is checked, too. What documents print is checked by
test_docs, what exports print by export/test_usage, what `recaption init` prints by cli/test_setup.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest
from trainer_options import OPTIONS

import recaption
from recaption.cli import command

PACKAGE = Path(recaption.__file__).parent
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9_-]*")
OTHERS: Mapping[str, frozenset[str]] = {
    "docker": frozenset({"--gpus", "--ulimit", "--shm-size", "--ipc"}),
    "pip": frozenset({"--force-reinstall", "--upgrade", "--index-url", "--extra-index-url", "--no-deps"}),
    "ray": frozenset({"--address", "--head", "--object-store-memory"}),
    "sd-scripts": frozenset({"--dataset_config"}),
    "tar": frozenset({"--sort"}),
    "hf": frozenset({"--revision"}),
    "vllm": frozenset({"--generation-config", "--help", "--max-logprobs"}),
    "open_clip": frozenset({"--json-text-key", "--json-text-key-probs", "--dataset-resampled", "--dataset-type"}),
}
"""Options of other programs, by the word that the message has to contain, too."""


def texts() -> Iterator[tuple[Path, int, str]]:
    """File, line and text of every string of the package but docstrings; `…` for values that are filled in."""
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
        parts |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                pieces = [str(v.value) if isinstance(v, ast.Constant) else "…" for v in node.values]
                yield path, node.lineno, "".join(pieces)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
                yield path, node.lineno, node.value


@cache
def options() -> dict[str, frozenset[str]]:
    """The options of each command."""
    return {
        name: frozenset(flag for p in made.params for flag in (*p.opts, *p.secondary_opts))
        for name, made in command().commands.items()
    }


def problems(text: str, trainers: bool = False) -> list[str]:
    """What a message names that does not exist. `trainers`: it may name options of trainers."""
    if re.fullmatch(r"--\S+", text) and not trainers:
        return []  # an argument of a command that runs, no message
    found = []
    known = options()
    ours = frozenset().union(*known.values()) | {"--help", "--version"}
    if trainers:
        ours |= {f"--{option}" for _, names in OPTIONS.values() for option in names}
    for sentence in re.split(r"(?<=[.;:,)])\s|\n", text):
        named = [word for word in re.findall(r"\brecaption ([a-z]+)\b", sentence) if word in known]
        allowed = frozenset().union(*(known[word] for word in named)) if named else ours
        for option in OPTION.findall(sentence):
            others = [name for name, flags in OTHERS.items() if option in flags]
            if option not in allowed and not any(re.search(rf"\b{name}\b", text) for name in others):
                found.append(f"{option}, which {' and '.join(named) or 'no command'} has")
    used = re.findall(r"(?:`|(?:with|run|then|[Uu]se) )recaption ([a-z]+)\b", text)
    found += [f"the command {word}" for word in used if word not in known]
    return found


def test_every_command_and_option_in_a_message_exists() -> None:
    wrong = {
        f"{path.relative_to(PACKAGE)}:{line}": found
        for path, line, text in texts()
        if (found := problems(text, path.parent.name == "export"))
    }
    assert not wrong


@pytest.mark.parametrize(
    "text",
    [
        "use recaption frobnicate OUT",
        "Run `recaption status OUT --no-such-option`",
        "run again with --overwrite-it",
        "recaption status OUT --prune removes it",  # an option of another command
    ],
)
def test_what_does_not_exist_is_found(text: str) -> None:
    assert problems(text)


def test_all_messages_are_searched() -> None:
    found = [text for _, _, text in texts()]
    assert sum("recaption " in text for text in found) > 40 and sum(bool(OPTION.search(text)) for text in found) > 60
