"""Runs commands of recaption as they are printed, in a folder with what they need.

Engines that need a GPU, a download or a server are replaced by the embedded models; nothing else of a command changes
but placeholders, and paths and numbers that only exist elsewhere (`WORDS`). Runs use this process instead of Ray.
"""

from __future__ import annotations

import re
import shlex
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hub_server import TOKEN, hub_server
from local_run import local_runs
from other_programs import is_placeholder
from samples import jpeg, sample, write_tar

from recaption.cli import command, main
from recaption.resources import shipped

KEYS = ("000000003", "000000012", "000000123", "000000124")
SCENE = "{engine: transformers, model: scene, dtype: float32, max_model_len: 512}"
MODELS: Mapping[str, tuple[str, ...]] = {
    "flair": (f"models.qwen={SCENE}",),
    "openai": (f"models.qwen={SCENE}",),
    "seeds/dreamlip": (),
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
    "000000123": KEYS[2],
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


@dataclass(kw_only=True)
class World:
    """`folder` is the current one. `base` is a finished output, of which others are copies."""

    folder: Path
    base: Path
    stand_ins: dict[str, int] = field(default_factory=dict)
    made: int = 0

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
        argv = self.prepared([" ".join(shlex.split(word)) for word in words])
        said, wrong = StringIO(), StringIO()
        with redirect_stdout(said), redirect_stderr(wrong):
            if argv[0] == "build":  # as its document has it: of a run that has finished
                plain = [word for word in argv[1:] if word != "--prune" and not word.startswith("source.exclude=")]
                plain = [w for n, w in enumerate(plain) if w != "--set" or plain[n + 1 : n + 2] != ["--set"]]
                main(["generate", *_paired(plain)])
            code = main(argv)
        return code, said.getvalue() + wrong.getvalue(), shlex.join(["recaption", *argv])

    def prepared(self, words: list[str]) -> list[str]:
        """The arguments for this folder. Raises AssertionError if there is no value for a placeholder."""
        for before, after in WORDS.items():
            words = [word.replace(before, after) for word in words]
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
                at = arguments[min(len(positions), len(arguments) - 1)] if arguments else None
                positions.append((at, self.value(at.name if at else "", word, name)))
        mentioned = not positions  # the name of the command and some of its options
        for param in made.params:
            if mentioned and param.required and param.name not in given:
                if param.param_type_name == "argument":
                    positions.append((param, self.value(param.name, "…", name)))
                else:
                    options += [param.opts[0], self.value(param.name, "…", name)]
        return [name, *(value for _, value in positions), *options, *self.added(name, positions, given)]

    def value(self, param: str, word: str, name: str) -> str:
        """A value for an argument; outputs that it names are made."""
        if is_placeholder(word) or (re.search(r"\b[A-Z]{3,}\d?\b", word) and param in (*OUTPUTS, "pipeline")):
            assert param in FILLED, f"no value for {param} of recaption {name}: add one to FILLED"
            word = FILLED[param]
            if param in ("folder", "destination") or (param == "path" and name == "validate"):
                word = self.new(name, param)
        elif re.match(r"…|[A-Z]+/", word):
            word = FILLED.get(param, word)
        if param in OUTPUTS:
            place = Path(word)
            if not place.exists() and "*" not in word and word not in ("demo",):
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copytree(self.base / "base-output", place, symlinks=True)
        return word

    def new(self, name: str, param: str) -> str:
        self.made += 1
        return f"new-{self.made}" if param != "path" else "out/filled"

    def added(self, name: str, positions: list[tuple[Any, str]], given: Mapping[str, list[str]]) -> list[str]:
        """Settings with which a pipeline runs here."""
        pipeline = next((value for param, value in positions if param is not None and param.name == "pipeline"), "")
        stem = "judge" if name == "compare" and "preset" not in given else Path(pipeline).stem
        if pipeline.startswith("seeds/"):
            stem = pipeline
        if "preset" in given or not (pipeline or name == "compare"):
            return []
        settings = list(MODELS.get(stem, ()))
        named = [one.partition("=")[0] for one in given.get("overrides", ())]
        settings = [one for one in settings if one.partition("=")[0] not in named]
        if stem in ("flair", "openai") and "source.path" not in named:
            settings.append("source.path=data/cc3m/*.tar")
        if stem == "seeds/dreamlip":
            settings += self.embedded(pipeline)
        return [word for one in settings for word in ("--set", one)]

    def embedded(self, pipeline: str) -> list[str]:
        """The embedded model for each model of a pipeline."""
        text = (shipped("pipelines") / f"{pipeline}.yaml").read_text("utf-8")
        models = yaml.safe_load(text)["models"]
        return [f"models.{name}={SCENE}" for name, model in models.items() if model["engine"] != "column"]


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
        (folder / "photos" / f"{n}.txt").write_text(f"A dog number {n} runs. It is brown.")
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
        patch.setattr("recaption.inspect.viewer.server.Server.serve_forever", lambda self, *_: None)
        patch.setattr("recaption.inspect.viewer._has_browser", lambda: False)
        patch.chdir(base)
        said = StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            assert main(["run", "base.yaml", "--quiet"]) == 0, said.getvalue()
        yield World(folder=folder, base=base)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
