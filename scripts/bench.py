#!/usr/bin/env python3
"""What recaption costs on top of its engine: the same questions to the bare engine, then through `recaption generate`.

The bare engine has them in memory and keeps nothing; recaption reads shards, renders, retries and puts every answer.
Both count from the engine's start to the last answer, with the engine's own start left out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tarfile
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from recaption.config import Pipeline, load
from recaption.demo.shards import write_shards
from recaption.engine import Engine, Request, build
from recaption.generate.plan import ModelPlan, make_plan
from recaption.progress import Display
from recaption.run import run


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """How fast answers came: `seconds` without the engine's start."""

    what: str
    answers: int
    output_tokens: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.answers / self.seconds


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("pipeline", nargs="?", default="demo", help="default: demo, on rendered scenes")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as of recaption run")
    parser.add_argument("--scenes", type=int, default=400, metavar="N", help="of the demo pipeline; default: 400")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = [f"output.path={folder}/out"]
        if arguments.pipeline == "demo":
            write_shards(f"{folder}/scenes", n=arguments.scenes)
            settings.append(f"source.path={folder}/scenes/*.tar")
        pipeline, path = load(arguments.pipeline, (*settings, *arguments.set))
        console = Console()
        bare = [asyncio.run(ask_bare(model, pipeline)) for model in make_plan(pipeline, path).models if model.engine]
        with Display(console, quiet=True) as display:
            outcome = run(pipeline, path, display, half="generate")
    through = Rate(
        what="recaption generate",
        answers=outcome.answered,
        output_tokens=outcome.output_tokens,
        seconds=outcome.seconds,
    )
    alone = Rate(
        what="the engine alone",
        answers=sum(rate.answers for rate in bare),
        output_tokens=sum(rate.output_tokens for rate in bare),
        seconds=sum(rate.seconds for rate in bare),
    )
    show(console, alone, through)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(alone), asdict(through)], indent=1) + "\n", "utf-8")
    return 0


async def ask_bare(model: ModelPlan, pipeline: Pipeline) -> Rate:
    """All questions of one model to its engine and nothing else, `capacity` at a time."""
    assert model.engine is not None
    requests = [
        Request(
            image=image, sha256=str(n), prompt=question.prompt.fill_in(columns), sampling=question.generation.sampling
        )
        for n, (image, columns) in enumerate(samples(pipeline))
        for question in model.questions
        if question.prompt and question.generation.sampling
    ]
    engine = build(model.engine)
    await engine.start()
    try:
        started = time.monotonic()
        tokens = await in_flight(engine, requests)
        seconds = time.monotonic() - started
    finally:
        await engine.stop()
    return Rate(what=model.name, answers=len(requests), output_tokens=tokens, seconds=seconds)


async def in_flight(engine: Engine, requests: list[Request]) -> int:
    """Output tokens of all `requests`."""
    places = asyncio.Semaphore(engine.capacity)
    spec = engine.renderer()
    renderer = spec.build() if spec else None

    async def ask(request: Request) -> int:
        async with places:
            work = await asyncio.to_thread(renderer.render, request) if renderer else request
            return (await engine.generate(work)).output_tokens

    return sum(await asyncio.gather(*map(ask, requests)))


def samples(pipeline: Pipeline) -> list[tuple[bytes, dict[str, str]]]:
    """Image and columns of every sample of a source made of tars."""
    found = []
    for path in sorted(Path(pipeline.source.path).parent.glob("*.tar")):
        with tarfile.open(path) as tar:
            members = {member.name: member for member in tar.getmembers()}
            for name in members:
                if name.endswith(".jpg"):
                    read = {
                        end: tar.extractfile(m) for end in ("jpg", "txt") if (m := members.get(f"{name[:-3]}{end}"))
                    }
                    content = {end: file.read() for end, file in read.items() if file}
                    columns = {pipeline.source.raw_caption or "caption": content.get("txt", b"").decode()}
                    found.append((content["jpg"], columns))
    if not found:
        raise SystemExit(f"bench: no images in {pipeline.source.path}; it reads a folder of tars with .jpg members")
    return found


def show(console: Console, alone: Rate, through: Rate) -> None:
    table = Table("", "answers", "seconds", "answers/s", "tokens/s")
    for rate in (alone, through):
        columns = (f"{rate.seconds:.1f}", f"{rate.per_second:.1f}", f"{rate.output_tokens / rate.seconds:.0f}")
        table.add_row(rate.what, str(rate.answers), *columns)
    console.print(table)
    console.print(f"recaption gets {through.per_second / alone.per_second:.0%} of the bare engine's rate")


if __name__ == "__main__":
    sys.exit(main())
