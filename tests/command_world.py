"""Runs commands of recaption as they are printed, in a folder with what they need.

Engines that need a GPU, a download or a server are replaced by the embedded models; nothing else of a command changes
but placeholders, and paths and numbers that only exist elsewhere (`WORDS`). Runs use this process instead of Ray.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
import yaml
from hub_server import TOKEN, hub_server
from local_run import local_runs
from other_programs import is_placeholder
from samples import jpeg, sample, write_tar
from typer.exceptions import TyperException

from recaption.cli import command, main
from recaption.probe.settings import parse_policy
from recaption.resources import shipped

KEYS = ("000000003", "000000012", "000000123", "000000124")
SCENE = "{engine: transformers, model: scene, dtype: float32, max_model_len: 512}"
MODELS: Mapping[str, tuple[str, ...]] = {
    "flair": (f"models.qwen={SCENE}",),
    "openai": (),  # its server is `chat_server`
    "verify-demo": ("source.path=data/cc3m/*.tar",),
    "demo": ("source.path=data/cc3m/*.tar",),
    "judge": ('models.judge={engine: "recaption.engine.scene_judge:SceneJudge", model: scene}',),
}
"""Settings added to a shipped pipeline, by its name."""
WORDS: Mapping[str, str] = {
    "{00000..00575}": "{00000..00001}",  # the source has two shards
    "s3://bucket": "bucket",
    "/shared/out": "shared/out",
    "/config/pipeline.yaml": "demo",
    "--b fixed": "--b short",
}
"""What stands in a printed command for what exists in this folder."""
FILLED: Mapping[str, str] = {
    "out": "out/filled",
    "outs": "out/filled",
    "path": "out/filled",
    "a": "out/filled",
    "b": "out/other",
    "other": "out/other",
    "others": "out/other",
    "pipeline": "demo",
    "pipeline_file": "base.yaml",
    "preset": "demo",
    "generation": "long",
    "generation_a": "long",
    "generation_b": "short",
    "folder": "new",
    "destination": "new",
    "to": "flair",
    "name": "flair",
    "key": KEYS[0],
    "sql": "SELECT count(*) FROM images",
    "reasons": "refusal",
    "repository": "lab/captions",
    "urls": "urls.parquet",
    "file": "new.parquet",
    "prompts": "describe_long,describe_short",
    "token_prices": "0.4,1.6",
    "mapping": "caption=long",
    "overrides": "output.holdout.fraction=0.25",
    "images": "jpg",
}
"""A value for each argument and option, where a command has a placeholder."""
OUTPUTS = ("out", "outs", "path", "a", "b", "other", "others")
"""Arguments and options that name an output which exists."""
INSTEAD: Mapping[str, Callable[..., Any]] = {
    # These need weights of open_clip, a GPU or 20 minutes; tests/probe runs them on small models.
    "recaption.probe.command.outputs": lambda outs, compared, *_: _policies(compared),
    "recaption.probe.command.export_arms": lambda outs, compared, *_: _policies(compared),
    "recaption.probe.command.demo": lambda *_: 0,
    # It needs servers; tests/source/download runs it.
    "recaption.source.download.job.download": lambda *_, **__: SimpleNamespace(lines=lambda: []),
}
"""What is not run: the functions that a command calls with everything that it was given."""
NEW = {("compare", "out"), ("init", "folder"), ("download", "out"), ("export", "destination"), ("probe", "folder")}
"""Those that name a new folder, by their command."""
BEFORE: Mapping[str, tuple[str, ...]] = {
    "out/photos": ("run", "column", "--set", "source.path=photos", "--set", "generate.0.column=caption", "--set",
                   "output.path=out/photos"),
}  # fmt: skip
"""How an output is made, if it is no copy of the base."""
ENDS: Mapping[str, frozenset[int]] = {
    "compare": frozenset({0, 1}),  # 1: no verdict, with so few images
    "validate --workers": frozenset({1}),  # fewer tars than loading processes
    "status --watch": frozenset({2}),  # needs a terminal
}
"""Exit codes other than 0 of a command, or of one with an option, and why they are right here."""


@dataclass(kw_only=True)
class World:
    """`folder` is the current one. `base` is a finished output, of which others are copies."""

    folder: Path
    base: Path
    chat: str = ""  # the URL of a chat server
    made: int = 0
    ran: set[str] = field(default_factory=set)

    def enter(self, name: str, patch: pytest.MonkeyPatch) -> None:
        """Work in a folder of its own, with the same sources."""
        place = self.folder / re.sub(r"\W", "_", name)
        if not place.exists():
            place.mkdir()
            for one in self.base.iterdir():
                (shutil.copytree if one.is_dir() else shutil.copy2)(one, place / one.name)
        patch.chdir(place)

    def run(self, words: Sequence[str]) -> tuple[int, str, str]:
        """Exit code, what the command printed, and the command that ran."""
        argv = self.prepared(unquoted(words))
        said, wrong = StringIO(), StringIO()
        with redirect_stdout(said), redirect_stderr(wrong):
            if argv[0] == "build":  # as its document has it: of a run that has finished
                own = ("--prune", "--again")
                plain = [word for word in argv[1:] if word not in own and not word.startswith("source.exclude=")]
                assert main(["generate", *_paired(plain)]) == 0, wrong.getvalue()
            code = main(argv)
        return code, said.getvalue() + wrong.getvalue(), shlex.join(["recaption", *argv])

    def prepared(self, words: list[str]) -> list[str]:
        """The arguments for this folder. Raises AssertionError if there is no value for a placeholder."""
        for before, after in WORDS.items():
            words = "\0".join(words).replace(before.replace(" ", "\0"), after.replace(" ", "\0")).split("\0")
        if words == ["COMMAND", "--help"]:
            words = ["run", "--help"]
        made = command().commands.get(words[0])
        if made is None or "--help" in words:
            return words
        name, rest, given = words[0], words[1:], dict[str, list[str]]()
        arguments = [p for p in made.params if p.param_type_name == "argument"]
        flags = {flag: p for p in made.params for flag in (*p.opts, *p.secondary_opts) if flag.startswith("-")}
        positions: list[tuple[Any, str]] = []
        options: list[str] = []
        while rest:
            word = rest.pop(0)
            option, equals, value = word.partition("=")
            if option in flags and word.startswith("-"):
                param: Any = flags[option]
                options.append(option)
                if getattr(param, "is_flag", False):
                    assert not equals, f"{option} takes no value"
                    continue
                value = value if equals else (rest.pop(0) if rest else "…")
                options.append(self.value(param.name, value, name))
                given.setdefault(param.name, []).append(options[-1])
                if param.name == "ask" and rest and not rest[0].startswith("-"):
                    options.append(KEYS[0] if is_placeholder(rest[0]) else rest[0])
                    rest.pop(0)
            elif word.startswith("-") and len(word) > 1:
                options.append(word)  # the command refuses it
            else:
                at = arguments[min(len(positions), len(arguments) - 1)]
                positions.append((at, self.value(at.name, word, name)))
        if "preset" in given and any(word == FILLED["pipeline"] for _, word in positions):
            positions = [(param, "seeds/flair" if param.name == "pipeline" else word) for param, word in positions]
        if name == "validate" and "name" in given:
            positions = [(param, self.export(given["name"][0], word)) for param, word in positions]
        return [name, *(value for _, value in positions), *options, *self.added(name, positions, given)]

    def value(self, param: str, word: str, name: str) -> str:
        """A value for an argument; outputs that it names are made."""
        part = re.search(r"\b[A-Z]{3,}\d?\b", word) if param in (*OUTPUTS, "pipeline") else None
        if is_placeholder(word) or part:
            assert param in FILLED, f"no value for {param} of recaption {name}: add one to FILLED"
            self.made += 1
            word = FILLED[param]
            if (name, param) in NEW:
                word = f"new-{self.made}"
            elif param == "repository":
                word += str(self.made)
        if param in OUTPUTS and (name, param) not in NEW and "*" not in word and not Path(word).exists():
            if word in BEFORE:
                assert main(list(BEFORE[word])) == 0
            elif not (name == "probe" and word == "demo") and not word.startswith("exports/"):
                Path(word).parent.mkdir(parents=True, exist_ok=True)
                shutil.copytree(self.base / "base-output", word, symlinks=True)
        return word

    def export(self, name: str, place: str) -> str:
        """An export in a format, for what checks it; it exists if its document has made it before."""
        if place != FILLED["path"]:
            return place
        self.made += 1
        assert main(["export", str(self.base / "base-output"), f"new-{self.made}", "--to", name]) == 0
        return f"new-{self.made}"

    def added(self, name: str, positions: list[tuple[Any, str]], given: Mapping[str, list[str]]) -> list[str]:
        """Settings with which a pipeline runs here."""
        pipeline = next((value for param, value in positions if param.name == "pipeline"), "")
        stem = "judge" if name == "compare" and "preset" not in given else Path(pipeline).stem
        if "preset" in given or not (pipeline or name == "compare"):
            return []
        settings = list(MODELS.get(stem, ()))
        if pipeline.startswith("seeds/"):
            settings = self.embedded(pipeline)
        elif stem == "openai":
            settings = [f"models.qwen.engine_args.base_url={self.chat}", "models.qwen.model=m"]
        elif stem == "review":
            settings = [f"models.reader.engine_args.base_url={self.chat}", "models.reader.model=m"]
        named = [one.partition("=")[0] for one in given.get("overrides", ())]
        settings = [one for one in settings if one.partition("=")[0] not in named]
        if stem in ("flair", "openai") and "source.path" not in named:
            settings.append("source.path=data/cc3m/*.tar")
        return [word for one in settings for word in ("--set", one)]

    def embedded(self, pipeline: str) -> list[str]:
        """The embedded model for each model of a pipeline."""
        text = (shipped("pipelines") / f"{pipeline}.yaml").read_text("utf-8")
        models = yaml.safe_load(text)["models"]
        return [f"models.{name}={SCENE}" for name, model in models.items() if model["engine"] != "column"]


def _policies(compared: Any) -> int:
    for text in compared.policies:
        parse_policy(text)
    return 0


def parsed(words: Sequence[str]) -> None:
    """Give the arguments to the command's own parser, with values in place of placeholders.

    Raises AssertionError if it refuses them. Where options are named without an argument, what is required is added.
    """
    name, rest = words[0], unquoted(words[1:])
    made = command().commands.get(name)
    if made is None:  # recaption --version
        assert name in ("--help", "--version", "--install-completion", "COMMAND"), f"there is no command {name}"
        return
    arguments = [p for p in made.params if p.param_type_name == "argument"]
    flags: dict[str, Any] = {flag: p for p in made.params for flag in (*p.opts, *p.secondary_opts)}
    left, argv, positions, given = list(rest), list[str](), 0, set[str]()
    while left:
        word = left.pop(0)
        option, equals, value = word.partition("=")
        if word.startswith("-") and len(word) > 1:
            argv.append(word)
            param = flags.get(option)
            if param is not None and not getattr(param, "is_flag", False) and not equals:
                given.add(param.name)
                value = left.pop(0) if left else "…"
                filled = is_placeholder(value) or re.fullmatch(r"[A-Z]+,[A-Z,…]+", value)
                argv.append(FILLED.get(param.name, value) if filled else value)
                if param.name == "ask" and left and not left[0].startswith("-"):
                    argv.append(left.pop(0))
        else:
            at = arguments[min(positions, len(arguments) - 1)] if arguments else None
            argv.append(FILLED[at.name] if at is not None and is_placeholder(word) else word)
            positions += 1
    if not positions:
        for param in made.params:
            if param.required and param.name not in given:
                value = FILLED[param.name]
                argv = [value, *argv] if param.param_type_name == "argument" else [*argv, param.opts[0], value]
        order = [FILLED[p.name] for p in arguments if p.required]
        argv = [*order, *argv[len(order) :]]
    try:
        made.make_context(name, argv)
    except typer.Exit:  # --help
        return
    except TyperException as error:
        raise AssertionError(f"recaption {shlex.join([name, *argv])}: {error.format_message()}") from error


def _paired(words: list[str]) -> list[str]:
    """Without a `--set` that lost its value."""
    made: list[str] = []
    for word in words:
        if made and made[-1] == "--set" and (word == "--set" or "=" not in word):
            made.pop()
        made.append(word)
    return made[:-1] if made and made[-1] == "--set" else made


def write_sources(folder: Path) -> None:
    """Sources in the forms that the documents name: tars, Parquet, images with texts, and a list of URLs."""
    for part, keys in enumerate((KEYS[:2], KEYS[2:])):
        for name in ("cc3m", "mine", "recap"):
            samples = [
                sample(key, jpeg(n + 10 * part), f"alt text of {key}", long_caption="A dog. It runs.")
                for n, key in enumerate(keys)
            ]
            write_tar(folder / "data" / name / f"{part:05d}.tar", samples)
    rows = {
        "key": list(KEYS),
        "image": [{"bytes": jpeg(n), "path": None} for n in range(4)],
        "vlm_caption": ["A dog runs. It is brown."] * 4,
        "caption": ["a dog"] * 4,
    }
    (folder / "data" / "pixelprose").mkdir()
    pq.write_table(pa.table(rows), folder / "data" / "pixelprose" / "00000.parquet")
    (folder / "photos").mkdir()
    for n in range(4):
        (folder / "photos" / f"{n}.jpg").write_bytes(jpeg(n))
    texts = [f"{n}.jpg,A dog number {n} runs. It is brown." for n in range(4)]
    (folder / "photos" / "metadata.csv").write_text("\n".join(["file_name,caption", *texts]))
    (folder / "bucket").mkdir()
    shutil.copytree(folder / "data" / "cc3m", folder / "bucket" / "cc3m")
    pq.write_table(pa.table({"url": ["http://127.0.0.1:9/a.jpg"], "caption": ["a"]}), folder / "urls.parquet")
    base = yaml.safe_load((shipped("pipelines") / "verify-demo.yaml").read_text("utf-8"))
    base["source"]["path"], base["output"]["path"], base["name"] = "data/cc3m/*.tar", "base-output", "base"
    base["output"]["holdout"] = {"fraction": 0.25}
    base["generate"].append({"id": "short", "model": "scene", "prompt": "describe_short"})
    (folder / "base.yaml").write_text(yaml.safe_dump(base))


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """A world, with servers and windows that end at once."""
    base = folder / "base"
    base.mkdir()
    write_sources(base)
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        stack.callback(torch.set_num_threads, threads)
        stack.enter_context(local_runs())
        hub = stack.enter_context(hub_server())
        from huggingface_hub import constants

        patch.setattr(constants, "ENDPOINT", hub.url)
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setenv("HF_TOKEN", TOKEN)
        chat = stack.enter_context(chat_server())
        patch.setattr("recaption.inspect.viewer.server.Server.serve_forever", lambda self, *_: None)
        patch.setattr("recaption.inspect.viewer._has_browser", lambda: False)
        for name, does in INSTEAD.items():
            patch.setattr(name, does)
        patch.chdir(base)
        said = StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            assert main(["run", "base.yaml", "--quiet"]) == 0, said.getvalue()
        yield World(folder=folder, base=base, chat=chat)


def unquoted(words: Sequence[str]) -> list[str]:
    """The words as a shell passes them."""
    return [" ".join(shlex.split(word)) if re.search(r"[\"'\\]", word) else word for word in words]


@contextmanager
def chat_server() -> Iterator[str]:
    """A server of chat completions with one answer, and one for `task: review`; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send({"data": [{"id": "m", "owned_by": "vllm"}]})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            said = '{"empty": [], "repeats": []}' if "response_format" in asked else "A dog runs over the sand."
            choice = {"index": 0, "message": {"content": said}, "finish_reason": "stop"}
            self.send({"choices": [choice], "usage": {"prompt_tokens": 90, "completion_tokens": 7}})

        def send(self, content: object) -> None:
            raw = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()
