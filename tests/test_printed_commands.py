"""Every command that recaption prints or documents is run, and every option that a message names exists.

All texts are searched (`printed`), so a new command is found by itself. Those of recaption run in a folder with what
they name (`command_world`), and so do the commands that they print themselves; those of other programs are parsed by
the program, or by a strict stand-in (`other_programs`). Lines that exports print are run by export/test_usage, demos of
systems by seeds/test_demos, and what `recaption init` prints, in a shell and with Ray, by cli/test_setup.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest
from command_world import ENDS, World, parsed, world
from other_programs import PROGRAMS, Refused, inner, parse
from printed import OPTION, PACKAGE, Command, Text, commands, everything, of_package
from systems import NAMES
from systems import options as options_of
from test_docs import DOCUMENTS, ROOT
from trainer_options import OPTIONS

from recaption import config
from recaption.cli import command
from recaption.errors import ConfigError

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
    for text in of_package():
        if not text.where.endswith("--help"):
            name, _, line = text.where.rpartition(":")
            yield PACKAGE / name, int(line), text.text


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
        if (found := problems(text, path.relative_to(PACKAGE).parts[0] == "export"))
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


PAGES = ("package", "README.md")
"""Whose commands run in `make test`: all that the package prints. `make systems` runs those of the other documents."""
BY_HAND = ("CHANGELOG.md",)
"""A document that tells of commands: they are parsed."""


def page_of(where: str) -> str:
    """The document of a text, or package."""
    name = where.partition(":")[0]
    return "package" if name.endswith(".py") or name.endswith("--help") else name


@cache
def found() -> dict[str, list[Command]]:
    """All commands of recaption by document, in order, each once; those within other commands, too."""
    made: dict[str, dict[str, Command]] = {}
    for text in everything():
        for one in commands(text):
            for each in (one, *within(one)):
                if each.program == "recaption" and each.words:
                    made.setdefault(page_of(each.where), {}).setdefault(str(each), each)
    return {page: list(of.values()) for page, of in made.items()}


def within(one: Command) -> list[Command]:
    words = inner(one.program, one.words)
    return [Command(where=one.where, program=words[0], words=tuple(words[1:]))] if words else []


def is_line(one: Command) -> bool:
    """Whether a command has arguments: else it is only mentioned, alone or with some options."""
    return len(one.words) > 1 and not one.words[1].startswith("-")


def in_demos(one: Command) -> bool:
    """Whether seeds/test_demos runs it: the demo of a system, and its export. Raises AssertionError if it does not."""
    name = re.search(r"\bseeds(?:-demo)?/(\w+)", " ".join(one.words[1:2]))
    if name is None or name[1] == "NAME":
        return False
    if one.words[0] == "export":
        assert list(one.words[3:]) == options_of(name[1]), f"test_demos exports with {options_of(name[1])}"
        return True
    return one.words[2:] == ("--preset", "demo") and name[1] in NAMES


def test_other_programs_take_their_lines() -> None:
    wrong = []
    for text in everything():
        for one in commands(text):
            if one.program == "recaption":
                continue
            if one.program not in PROGRAMS:
                wrong.append(f"{one.where}: {one}: no parser for {one.program}: add one to tests/other_programs.py")
                continue
            try:
                parse(one.program, one.words)
            except Refused as error:
                wrong.append(f"{one.where}: {one}: {error}")
    assert not wrong, "\n".join(wrong)


def test_all_commands_are_parsed_with_their_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base.yaml").touch()
    monkeypatch.chdir(tmp_path)
    wrong = []
    for one in (one for page in found().values() for one in page):
        if one.words[0] in command().commands and len(one.words) == 1:
            continue  # the name alone
        try:
            parsed(one.words)
        except AssertionError as error:
            wrong.append(f"{one.where}: {one}: {error}")
    assert not wrong, "\n".join(wrong)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("printed")) as made:
        yield made


def documents() -> list[str]:
    """The documents that can have commands, without reading them."""
    names = [
        str(path.relative_to(ROOT)) for path in [*DOCUMENTS, *ROOT.glob("deploy/*"), *ROOT.glob("pipelines/*.yaml")]
    ]
    return [name for name in names if name not in (*PAGES, *BY_HAND)]


@pytest.mark.filterwarnings("default")  # transformers warns at will
@pytest.mark.parametrize("page", [*PAGES, *(pytest.param(name, marks=pytest.mark.systems) for name in documents())])
def test_the_commands_run(page: str, place: World, monkeypatch: pytest.MonkeyPatch) -> None:
    place.enter(page, monkeypatch)
    wrong, waiting, seen = [], [one for one in found().get(page, []) if is_line(one)], set[str]()
    while waiting:
        one = waiting.pop(0)
        if str(one) in seen or in_demos(one):
            continue
        seen.add(str(one))
        code, said, ran = place.run(one.words)
        ends = [ENDS[end] for end in ENDS if end.split()[0] == one.words[0] and set(end.split()) <= set(one.words)]
        if code not in (ends[0] if ends else {0}):
            wrong.append(f"{one.where}: {one}\n  {ran}\n  exit code {code}: {said[-800:]}")
        waiting += printed_by(one, said)
    assert not wrong, "\n".join(wrong)


def printed_by(one: Command, said: str) -> list[Command]:
    """The commands that a command printed, such as the next ones."""
    lines = (
        re.sub(r"^\S*(?:bin/recaption|python -m recaption)", "recaption", line.strip()) for line in said.splitlines()
    )
    texts = (Text(where=f"printed by {one}", text=line, whole=line.startswith("recaption ")) for line in lines)
    made = [each for text in texts for each in commands(text) if each.program == "recaption" and is_line(each)]
    return [each for each in made if each.words[0] not in ("run", "generate")]  # those run in cli/test_setup


def test_a_document_with_commands_is_among_the_pages() -> None:
    lines = {page for page, of in found().items() if any(map(is_line, of))}
    missing = (
        lines - {*PAGES, *BY_HAND, *documents()} - {page for page in lines if page.startswith(("prompts", "pipelines"))}
    )
    assert not missing, f"no test runs the commands of {missing}"


SOME = {
    "use recaption balance OUT --every": ("balance", "OUT", "--every"),
    "Run `recaption status`": ("status",),
    'All keys: recaption inspect OUT "SELECT key FROM images". Then stop': (
        "inspect",
        "OUT",
        '"SELECT key FROM images"',
    ),
    "then recaption retry OUT --reason REASON; the table": ("retry", "OUT", "--reason", "REASON"),
    "repeat recaption status OUT --json": ("status", "OUT", "--json"),
    "with recaption inspect before you continue": ("inspect",),
}


@pytest.mark.parametrize("text", SOME)
def test_a_command_in_a_sentence_ends_where_it_ends(text: str) -> None:
    (one,) = commands(Text(where="here", text=text))
    assert one.words == SOME[text]


@pytest.mark.parametrize(
    "text",
    [
        "recaption retry OUT",  # without --reason
        "recaption inspect OUT SQL more",
        "recaption compare A --out DIR",
        "recaption export OUT DEST --to flare --images png",
        "recaption report OUT --samples many",
        "recaption balance OUT --every",
    ],
)
def test_a_line_that_its_command_refuses_is_found(text: str) -> None:
    (one,) = commands(Text(where="here", text=text, whole=True))
    with pytest.raises(AssertionError):
        parsed(one.words)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "hf auth signin",
            "hf download",
            "pip instal recaption",
            "pip install 'recaption[nosuch]'",
            "docker run --gpu all",
        ),
        *("ray job submit --adress http://HEAD:8265 -- recaption run flair", "kubectl apply -f deploy/nosuch.yaml"),
        *("sbatch --nodes=4 deploy/nosuch.sh flair", "make nosuch", "make bench ARGS=nosuch", "vllm serve --modell m"),
        *(
            "frobnicate --all",
            "ulimit -n",
            "ssh -L 8080 HOST",
            "python -m nosuch --model m",
            "torchrun nosuch.py --lr 1",
        ),
    ],
)
def test_a_line_that_another_program_refuses_is_found(text: str) -> None:
    (one,) = commands(Text(where="here", text=text, whole=True))
    with pytest.raises((Refused, AssertionError)):
        parse(one.program, one.words)


def test_commands_are_found_in_all_kinds_of_texts() -> None:
    pages = found()
    assert {"package", "README.md", "docs/inspecting.md", "deploy/slurm.sh", "pipelines/flair.yaml"} <= pages.keys()
    said = {str(one) for one in pages["package"]}
    assert {"recaption report …", "recaption run …", "recaption init my-captions"} <= said
    assert sum(is_line(one) for one in pages["package"]) > 15


SET = re.compile(r"--set ([a-z…][\w.…]*?)=")


def test_settings_in_messages_exist() -> None:
    """`--set KEY=`: the key is one of a pipeline."""
    named = {(where, key) for where, _, text in texts() for key in SET.findall(text)}
    named = {(where, re.sub(r"^…\.", "generate.0.", key)) for where, key in named if key.strip("…")}
    assert len({key for _, key in named}) > 3
    wrong = []
    for where, key in sorted(named):
        try:
            config.load("demo", (f"{key}=1",))
        except ConfigError as error:
            if "nknown" in str(error):
                wrong.append(f"{where.relative_to(PACKAGE)}: {error}")
    assert not wrong


FOLDERS: Mapping[str, tuple[str, ...]] = {
    "export": ("export", "validate"),
    "probe": ("probe",),
    "compare": ("compare", "estimate"),
    "inspect": ("inspect", "report"),
    "push.py": ("push",),
    "validate": ("validate", "export", "run"),
}
"""The commands that can print the messages of a part of the package."""


def test_an_option_in_a_message_is_one_of_the_command_that_prints_it() -> None:
    wrong = []
    for path, line, text in texts():
        part = path.relative_to(PACKAGE).parts[0]
        if part not in FOLDERS or re.fullmatch(r"--\S+", text) or re.search(r"\brecaption [a-z]+", text):
            continue
        allowed = frozenset().union(*(options()[name] for name in FOLDERS[part]))
        allowed |= (
            {f"--{option}" for _, names in OPTIONS.values() for option in names} if part == "export" else frozenset()
        )
        for option in OPTION.findall(text):
            others = [name for name, flags in OTHERS.items() if option in flags]
            if option not in allowed and not any(re.search(rf"\b{name}\b", text) for name in others):
                wrong.append(f"{path.relative_to(PACKAGE)}:{line}: {option}")
    assert not wrong


def test_pip_reads_its_lines_whatever_was_imported_before() -> None:
    code = """
import contextlib, other_programs
with contextlib.suppress(ImportError):
    import distutils
other_programs.parse("pip", ["install", "recaption"])
"""
    subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", code], cwd=Path(__file__).parent, check=True)
