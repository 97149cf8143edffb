"""The command lines of other programs that recaption prints: the program's own parser where it is installed, else a
strict stand-in with the options that its documentation has.

`parse` raises Refused for a line that the program would not take. Placeholders (`…`, `MODEL`) are values.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


class Refused(Exception):
    """The program does not take these arguments."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StandIn:
    """Options with the pattern of their value ("": a flag), the least and the most further words, and their pattern."""

    options: Mapping[str, str] = field(default_factory=dict)
    words: tuple[int, int] = (0, 0)
    form: str = r".+"
    source: str = ""  # the documentation

    def __call__(self, words: Sequence[str]) -> None:
        left, rest = list(words), []
        while left:
            word = left.pop(0)
            name, equals, value = word.partition("=")
            if word.startswith("-") and len(word) > 1:
                if name not in self.options:
                    raise Refused(f"there is no option {name}")
                form = self.options[name]
                if form:
                    if not equals:
                        if not left:
                            raise Refused(f"{name} needs a value")
                        value = left.pop(0)
                    if not re.fullmatch(form, value) and not is_placeholder(value):
                        raise Refused(f"{name} does not take {value!r}")
                elif equals:
                    raise Refused(f"{name} takes no value")
            else:
                rest.append(word)
        least, most = self.words
        if not least <= len(rest) <= most:
            raise Refused(f"{len(rest)} words, {least} to {most} are allowed")
        for word in rest:
            if not re.fullmatch(self.form, word) and not is_placeholder(word):
                raise Refused(f"{word!r} is not allowed")


def is_placeholder(word: str) -> bool:
    """Whether the reader puts a value in its place."""
    return "…" in word or word == "$@" or bool(re.fullmatch(r"[A-Z][A-Z0-9_/]*", word))


def _ray(words: Sequence[str]) -> None:
    """Ray's own parser. What follows `--` is another command: see `inner`."""
    from ray.scripts.scripts import cli

    group: Any = cli
    left = list(words)
    if left in (["--version"], ["--help"]):
        return
    while hasattr(group, "commands"):
        if not left or left[0] not in group.commands:
            raise Refused(f"ray has no command {left[:1]}")
        group = group.commands[left.pop(0)]
    if left:  # else the subcommand alone is named
        _click(group, left)


def _click(command: Any, words: Sequence[str]) -> None:
    try:
        with redirect_stderr(StringIO()), redirect_stdout(StringIO()):
            command.make_context("x", list(words))
    except Exception as error:
        if "--help" in words:
            return
        raise Refused(str(getattr(error, "message", error))) from error


def _hf(words: Sequence[str]) -> None:
    """The Hub's own parser."""
    from huggingface_hub.cli.hf import app

    group: Any = app
    left = list(words)
    while hasattr(group, "list_commands"):
        if not left:
            raise Refused("hf needs a command")
        found = group.get_command(type(group).context_class(group), left.pop(0))
        if found is None:
            raise Refused("hf has no such command")
        group = found.materialize() if hasattr(found, "materialize") else found  # commands are imported when used
    _click(group, left)


@contextmanager
def _without_distutils_hook() -> Iterator[None]:
    """setuptools hooks into the import of pip: it forgets an imported distutils, with a warning. Any test may have
    imported that before."""
    finders = list(sys.meta_path)
    sys.meta_path[:] = [finder for finder in finders if type(finder).__module__ != "_distutils_hack"]
    try:
        yield
    finally:
        sys.meta_path[:] = finders


def _pip(words: Sequence[str]) -> None:
    """pip's own parser, and what `pip install` does with each requirement before it looks it up."""
    from packaging.requirements import InvalidRequirement, Requirement

    with _without_distutils_hook():
        from pip._internal.commands import commands_dict, create_command

    if not words or words[0] not in commands_dict:
        raise Refused(f"pip has no command {words[:1]}")
    try:
        with redirect_stderr(StringIO()):
            options, found = create_command(words[0]).parse_args(list(words[1:]))
    except SystemExit as error:
        raise Refused("pip does not take this") from error
    if words[0] in ("install", "uninstall"):
        if not found and not getattr(options, "requirements", None):
            raise Refused("a requirement is missing")
        for one in found:
            try:
                ok = is_placeholder(one) or re.match(r"\.(\[|$)|/", one) or Requirement(one)
            except InvalidRequirement as error:
                raise Refused(str(error)) from error
            if re.search(r"recaption|\.\[", one) and ok and (extras := re.search(r"\[(.+)\]", one)) and "…" not in one:
                unknown = set(extras[1].split(",")) - known_extras()
                if unknown:
                    raise Refused(f"recaption has no extra {', '.join(unknown)}")


@cache
def known_extras() -> frozenset[str]:
    import tomllib

    with (ROOT / "pyproject.toml").open("rb") as file:
        return frozenset(tomllib.load(file)["project"]["optional-dependencies"])


MODULES: Mapping[str, StandIn] = {
    "spacy": StandIn(words=(2, 2), form=r"download|[a-z]\w+", source="https://spacy.io/api/cli#download"),
    "vllm.entrypoints.openai.api_server": StandIn(
        options={"--model": r".+", "--port": r"\d+"}, source="https://docs.vllm.ai/en/latest/cli/serve.html"
    ),
    "pip": StandIn(),
    "recaption": StandIn(),
}


def _python(words: Sequence[str]) -> None:
    if len(words) >= 2 and words[0] == "-m" and words[1] in MODULES:
        if words[1] == "pip":
            _pip(words[2:])
        elif words[1] != "recaption":
            MODULES[words[1]](words[2:])
        return
    scripts = {words[0]} & {one.split()[1] for one in start_commands() if one.startswith("python ")} if words else set()
    if not scripts or len(words) > 1:
        raise Refused("no such module or script")


@cache
def start_commands() -> frozenset[str]:
    """Of trainers: `trainer_starts` runs them with all arguments."""
    from trainer_starts import starts

    return frozenset(start for start, _ in starts().values()) | {"deepspeed fgclip/train/train_mem.py"}


def _start(program: str) -> Callable[[Sequence[str]], None]:
    def check(words: Sequence[str]) -> None:
        if " ".join((program, *words)) not in start_commands():
            raise Refused("it starts no trainer in the table of docs/training.md")

    return check


def _make(words: Sequence[str]) -> None:
    text = (ROOT / "Makefile").read_text("utf-8")
    goals = [word for word in words if "=" not in word]
    variables = {word.partition("=")[0] for word in words if "=" in word}
    if words and words[0] == "bench":
        _bench([word for one in words if one.startswith("ARGS=") for word in shlex.split(one[5:])])
    unknown = [goal for goal in goals if not re.search(rf"^{re.escape(goal)}:", text, re.MULTILINE)]
    unknown += [name for name in variables if not re.search(rf"^{name}\s*\?=", text, re.MULTILINE)]
    if unknown or not goals:
        raise Refused(f"make has no {', '.join(unknown) or 'goal'}")


def _bench(words: Sequence[str]) -> None:
    """The parser of scripts/bench, whose main function makes it."""
    source = (ROOT / "scripts" / "bench" / "__main__.py").read_text("utf-8")
    options = {flag for flag in re.findall(r'add_argument\(\s*"(--[a-z-]+)"', source)}
    names = re.findall(r'^    "(\w+)": \w+\.measure', source, re.MULTILINE)
    StandIn(options=dict.fromkeys(options, r".+"), words=(0, 9), form="|".join(names))(words)


def _groups(**made: StandIn) -> Callable[[Sequence[str]], None]:
    """A program with subcommands; `_` in a name is a space."""

    def check(words: Sequence[str]) -> None:
        for name, parser in made.items():
            path = name.split("_")
            if list(words[: len(path)]) == path:
                parser(words[len(path) :])
                return
        raise Refused(f"no subcommand {words[:1]}")

    return check


_SBATCH = {"--nodes": r"\d+", "--gpus-per-node": r"\d+", "--cpus-per-task": r"\d+"}


def _sbatch(words: Sequence[str]) -> None:
    """Options, the script, which must exist, and its arguments."""
    for n, word in enumerate(words):
        if not word.startswith("-"):
            if not (ROOT / word).is_file():
                raise Refused(f"there is no {word}")
            StandIn(options=_SBATCH, source="https://slurm.schedmd.com/sbatch.html")(words[:n])
            return
    raise Refused("the script is missing")


def _sudo(words: Sequence[str]) -> None:
    if list(words[:2]) != ["apt-get", "install"] or len(words) < 3 or any(word.startswith("-") for word in words[2:]):
        raise Refused("only apt-get install PACKAGE…")


def _source(words: Sequence[str]) -> None:
    if list(words) != [".venv/bin/activate"]:
        raise Refused("only .venv/bin/activate")


_DOCKER_RUN = {"--gpus": r"all|\d+", "--shm-size": r"\d+[kmg]", "--ulimit": r"\w+=[\d…]+", "--ipc": r"host"}

PROGRAMS: Mapping[str, Callable[[Sequence[str]], None] | None] = {
    "recaption": None,  # test_printed_commands runs them
    "ray": _ray,
    "hf": _hf,
    "pip": _pip,
    "python": _python,
    "torchrun": _start("torchrun"),
    "deepspeed": _start("deepspeed"),
    "make": _make,
    "vllm": _groups(
        serve=StandIn(
            options={
                **{"--help": "", "--generation-config": r"vllm|auto"},
                **{"--max-logprobs": r"-?\d+", "--max-model-len": r"\d+"},
            },
            words=(0, 1),
            source="https://docs.vllm.ai/en/latest/cli/serve.html",
        )
    ),
    "docker": _groups(
        run=StandIn(
            options=_DOCKER_RUN, words=(0, 9), source="https://docs.docker.com/reference/cli/docker/container/run/"
        ),
        build=StandIn(
            options={"-f": r"deploy/Dockerfile", "-t": r"[\w./:-]+"},
            words=(1, 1),
            form=r"\.",
            source="https://docs.docker.com/reference/cli/docker/buildx/build/",
        ),
    ),
    "kubectl": _groups(
        apply=StandIn(options={"-f": r"deploy/kuberay-rayjob\.yaml"}),
        create_secret_generic=StandIn(options={"--from-literal": r"\w+=.*"}, words=(1, 2)),
        create_configmap=StandIn(options={"--from-file": r"pipeline\.yaml|deploy/kuberay-run\.sh"}, words=(1, 1)),
    ),
    "sbatch": _sbatch,
    "ssh": StandIn(options={"-L": r"\d+:[\w.]+:\d+"}, words=(1, 1), source="man ssh"),
    "sudo": _sudo,
    "source": _source,
    "unset": StandIn(words=(1, 1), form=r"[A-Z_]+"),
    "ulimit": StandIn(options={"-n": r"\d+"}),
    "df": StandIn(options={"-h": ""}, words=(0, 1), form=r"/.*"),
    "nvidia-smi": StandIn(),
    "tail": StandIn(options={"-f": ""}, words=(1, 1)),
    "jq": StandIn(options={"-c": ""}, words=(1, 2), source="https://jqlang.org/manual/"),
    "duckdb": StandIn(
        options={"-init": r"[\w./]+\.sql", "-c": r".+"}, source="https://duckdb.org/docs/stable/clients/cli/arguments"
    ),
    "cd": StandIn(words=(1, 1)),
}
"""By the name of the program. A command of a program that is not here fails: add its parser, or a stand-in written from
its documentation."""


def parse(program: str, words: Sequence[str]) -> None:
    """Raises Refused for a line that the program does not take."""
    check = PROGRAMS.get(program)
    assert check is not None, f"no parser for {program}"
    try:
        bare = [" ".join(shlex.split(word)) for word in words]
    except ValueError as error:
        raise Refused(str(error)) from error
    check(["x" if word == "…" and program in ("pip", "hf") else word for word in bare])


def inner(program: str, words: Sequence[str]) -> list[str] | None:
    """The command that another program runs: after `--`, or the arguments of deploy/slurm.sh."""
    if program == "ray" and "--" in words:
        return list(words[list(words).index("--") + 1 :])
    if program == "sbatch":
        script = next(n for n, word in enumerate(words) if not word.startswith("-"))
        return ["recaption", "run", *words[script + 1 :]]
    return None
