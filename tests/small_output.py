"""Outputs of a few images made without Ray, and an engine whose moods a test sets through files."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import yaml
from fake_engine import FakeEngine
from samples import jpeg, sample, write_tar
from writing import write_manifest

from recaption import config, engine
from recaption.annotate import Annotator
from recaption.build import builder
from recaption.build.results import specs_of
from recaption.build.shard import BuildSpec, finish_shard, token_encoders
from recaption.engine.base import Completion, EngineSpec, Rendered, Request
from recaption.generate.plan import Plan, make_plan
from recaption.generate.retry import answer_with_retries, first_attempt
from recaption.io.store import open_store
from recaption.output import answers as parts
from recaption.output.index import load_index
from recaption.output.units import ShardAnswers
from recaption.source import open_source
from recaption.tasks.question import Question, requests
from recaption.types import Answer, Reject
from recaption.write import publish


class MoodyEngine(FakeEngine):
    """FAULTS/refuse-<sha256>: that image is refused; FAULTS/other: it says something else than before."""

    def __init__(self, spec: EngineSpec) -> None:
        super().__init__(spec)
        self._moods = Path(dict(spec.engine_args)["moods"])

    async def generate(self, work: Request | Rendered) -> Completion:
        assert isinstance(work, Request)
        with (self._moods / "asked.txt").open("a") as log:
            log.write(f"{work.sha256} {work.sampling.seed} {work.sampling.temperature} {work.pixel_share}\n")
        said = await super().generate(work)
        text = said.text
        if (self._moods / f"refuse-{work.sha256}").exists():
            text = "I'm sorry, but I can't help with that."
        elif (self._moods / f"other-{work.sha256}").exists():
            text = text.replace("red", "dark red")
        return Completion(text=text, finish_reason="stop", prompt_tokens=20, output_tokens=14)


def pipeline_data(folder: Path, **changes: Any) -> dict[str, Any]:
    """Two questions about the images of `folder`/source, put to a MoodyEngine; the output is `folder`/out."""
    moods = folder / "moods"
    moods.mkdir(exist_ok=True)
    engine_args = {"moods": str(moods)}
    return {
        "name": "small",
        "source": {"path": f"{folder}/source/*.tar"},
        "models": {"moody": {"engine": "small_output:MoodyEngine", "model": "scene", "engine_args": engine_args}},
        "generate": [
            {"id": "long", "model": "moody", "prompt": "describe_long"},
            {"id": "short", "model": "moody", "prompt": "describe_short"},
        ],
        "output": {"path": str(folder / "out")},
    } | changes


def write_source(folder: Path, shards: int = 2, per_shard: int = 4) -> None:
    for shard in range(shards):
        samples = [sample(f"cat{shard}{i}", jpeg(100 * shard + i), f"alt {i}") for i in range(per_shard)]
        write_tar(folder / "source" / f"{shard:05d}.tar", samples)


def build_all(plan: Plan) -> Path:
    """What `recaption build` does with answers that are there, in this process; published, on a local disk."""
    pipeline, store = plan.pipeline, open_store(plan.pipeline.output.path)
    source, holdout = open_source(pipeline.source), pipeline.output.holdout
    format = builder.output_format(pipeline.output, source.kind)
    spec = BuildSpec(
        pipeline=pipeline,
        questions=plan.questions,
        source=source,
        store_url=store.url,
        excluded=frozenset(),
        prefix="builds/b",
        format=format,
    )
    annotator = Annotator(pipeline.annotate)
    built = [finish_shard(spec, shard, len(load_index(store, source, shard)[0]), None) for shard in source.shards()]
    write_manifest(
        store,
        spec.prefix,
        name=pipeline.name,
        build="b",
        format=format,
        image_mode=pipeline.output.images,
        shards=[one.entry for one in built if one.entry],
        generations=[question.generation for question in plan.questions],
        require=pipeline.require,
        primary=pipeline.primary,
        sampling=pipeline.output.sampling.model_dump(mode="json"),
        provenance=builder._provenance(plan, annotator),
        tables=[*specs_of(plan.questions).values(), *annotator.table_specs],
        embeddings=[question.id for question in plan.questions if question.output.embeddings],
        token_ids=[encoder.facts for encoder in token_encoders(pipeline.output.token_ids)],
        holdout=holdout.fraction if holdout else 0.0,
        pixels=builder.pixel_checks(pipeline),
    )
    publish(store, "b")
    return Path(pipeline.output.path) / "builds" / "b"


def answer_all(data: dict[str, Any], *, put_together: bool = True) -> Plan:
    """What `recaption generate` does, in this process; refused images become rejects as they do there."""
    pipeline = config.validate(data)
    plan = make_plan(pipeline)
    store, source = open_store(pipeline.output.path), open_source(pipeline.source)
    store.put("pipeline.yaml", yaml.safe_dump(pipeline.model_dump(mode="json"), sort_keys=False).encode())
    for shard in source.shards():
        images, _ = load_index(store, source, shard)
        for model in plan.models:
            assert model.engine is not None
            asked = engine.build(model.engine)
            for question in (question for question in model.questions if not question.over):
                made = [
                    asyncio.run(answer_with_retries(request, first_attempt(request, image_bytes), asked.generate))
                    for image, image_bytes in source.read([image for image in images if image.reason is None])
                    if isinstance(image_bytes, bytes)
                    for request in requests(question, image)
                ]
                answers = [item for item in made if isinstance(item, Answer)]
                rejects = [item for item in made if isinstance(item, Reject)]
                parts.put_part(store, question, shard.id, "000000.000001-0000", answers, rejects)
                if put_together:
                    parts.compact(store, question, shard.id)
        for model in plan.models:
            for question in (question for question in model.questions if question.over):
                answers, rejects = asyncio.run(
                    _answer_over(model.engine, question, ShardAnswers(store, shard.id), source.read(images))
                )
                parts.put_part(store, question, shard.id, "000000.000001-0000", answers, rejects)
    return plan


async def _answer_over(spec: EngineSpec | None, question: Question, stored: ShardAnswers, images: Any) -> Any:
    """The answers and rejects of a question that reads others."""
    assert spec is not None
    asked = engine.build(spec)
    await asked.start()
    try:
        made = [
            await answer_with_retries(request, first_attempt(request, data), asked.generate)
            for image, data in images
            for request in stored.of(image).state(question).missing
        ]
    finally:
        await asked.stop()
    return [one for one in made if isinstance(one, Answer)], [one for one in made if isinstance(one, Reject)]
