"""Checks of source, prompts, output and build, each with a good and a bad state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from s3_server import S3Server, needs_s3

from recaption import config
from recaption.doctor import pipeline as parts
from recaption.doctor.finding import Check, Finding, examine, exit_code
from recaption.io.store import ObjectStore


def pipeline(source: str, out: str = "out", **changes: Any) -> config.Pipeline:
    return config.validate(
        {
            "name": "p",
            "source": {"path": source},
            "models": {"m": {"engine": "openai", "model": "org/name", "engine_args": {"base_url": "http://x/v1"}}},
            "generate": [{"id": "long", "model": "m", "prompt": "describe_long"}],
            "output": {"path": out},
        }
        | changes
    )


def looked(look: Callable[[], Any]) -> Finding:
    """The last finding of a check; an exception is a finding, too."""
    return examine([Check("it", look, "hint")], seconds=600)[-1]


def test_unused_files_and_columns_of_the_source_are_warnings(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    for name in ("a.jpg", "b.txt"):
        (tmp_path / "s" / name).write_bytes(b"x")
    (tmp_path / "s" / "metadata.jsonl").write_text('{"file_name": "a.jpg", "alt": "x"}\n')
    source, files, columns, _ = parts.source(pipeline(str(tmp_path / "s")), tmp_path / "p.yaml")
    assert source.status == "ok" and source.found.startswith("folder, 1 shard,")
    assert (files.status, files.found) == ("warning", "not used: files that are not images: 1 .txt")
    assert columns.status == "warning" and "columns that may hold captions: alt" in columns.found
    assert exit_code([source, files, columns]) == 0


def test_prompts_need_the_columns_that_they_use(make_source: Callable[..., Path], tmp_path: Path) -> None:
    prompt = tmp_path / "p.md"
    prompt.write_text("---\nid: p\nversion: 1\ngranularity: short\n---\nTitle {{ title }}: one sentence, please.\n")
    given = pipeline(
        f"{make_source(shards=2, per_shard=2)}/*.tar", generate=[{"id": "long", "model": "m", "prompt": str(prompt)}]
    )
    source, prompts = parts.source(given, tmp_path / "pipelines" / "p.yaml")
    assert source.status == "ok" and "2 shards, the first is 00000.tar; columns" in source.found
    assert (prompts.status, prompts.found) == ("ok", "p (uses title)")
    prompt.write_text("---\nid: p\nversion: 1\ngranularity: short\n---\nBy {{ author }}.\n")
    found = looked(lambda: parts.source(given, tmp_path / "p.yaml"))
    assert (found.status, found.fault) == ("error", "input")
    assert "uses author, which the source lacks; its columns are" in found.found


def test_a_generation_from_a_column_needs_the_column(make_source: Callable[..., Path], tmp_path: Path) -> None:
    def from_column(column: str) -> config.Pipeline:
        return pipeline(
            f"{make_source(shards=1, per_shard=2)}/*.tar",
            models={"m": {"engine": "column"}},
            generate=[{"id": "long", "model": "m", "column": column}],
        )

    assert looked(lambda: parts.source(from_column("title"), tmp_path)).found == "column title"
    found = looked(lambda: parts.source(from_column("tytle"), tmp_path))
    assert found.status == "error" and "no column 'tytle'" in found.found


def test_a_missing_source_is_an_input_error(tmp_path: Path) -> None:
    found = looked(lambda: parts.source(pipeline(f"{tmp_path}/*.tar"), tmp_path))
    assert (found.status, found.fault, found.todo) == ("error", "input", "hint") and "no file matches" in found.found
    assert looked(lambda: parts.build(pipeline(f"{tmp_path}/none"))).status == "skipped"


def test_the_probe_of_an_output_leaves_nothing_behind(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    assert parts.output(pipeline("x", str(out))).status == "ok"
    assert list(tmp_path.iterdir()) == []
    out.mkdir(parents=True)
    assert parts.output(pipeline("x", str(out))).status == "ok"
    assert list(out.iterdir()) == []


def test_an_output_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    found = looked(lambda: parts.output(pipeline("x", str(tmp_path / "file" / "out"))))
    assert (found.status, found.fault) == ("error", "input") and "--set output.path" in found.todo, "as in a run"
    assert parts.output(pipeline("x", "memory://x/y")).fault == "input"
    assert looked(lambda: parts.output(pipeline("x", "nosuch://x/y"))).fault == "input"


@needs_s3
def test_an_output_on_s3_needs_conditional_writes(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = s3.bucket()
    found = parts.output(pipeline("x", url))
    assert found.status == "ok" and found.found == f"{url} can be written, with conditional writes"
    assert s3.requests["DELETE"] + s3.requests["POST"] >= 1, "the probe is gone"
    monkeypatch.setattr(ObjectStore, "refuses_existing", lambda store, path: False)
    found = parts.output(pipeline("x", url))
    assert found.status == "warning" and "no conditional writes" in found.found and "--takeover" in found.todo
    found = parts.output(pipeline("x", "s3://no-such-bucket-at-all/out"))
    assert (found.status, found.fault) == ("error", "input") and "AWS_ENDPOINT_URL" in found.todo
    s3.fault = lambda method, path: "refuse"
    found = looked(lambda: parts.output(pipeline("x", url)))
    assert found.status == "error" and found.todo


def test_the_disk_needs_the_size_of_the_source_if_images_are_copied(
    make_source: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed_bytes: list[int] = []
    monkeypatch.setattr(parts, "disk", lambda name, path, needed: needed_bytes.append(needed) or [])
    source = f"{make_source(shards=2, per_shard=2)}/*.tar"
    size = sum(file.stat().st_size for file in (tmp_path / "source").iterdir())
    for output in ({"path": str(tmp_path)}, {"path": str(tmp_path), "format": "webdataset"}):
        parts.disk_of_output(pipeline(source, output=output))
    parts.disk_of_output(pipeline(f"{tmp_path}/none/*.tar", str(tmp_path)))
    assert needed_bytes == [0, size, 0], "a sidecar contains no images"
    assert parts.disk_of_output(pipeline(source, "s3://bucket/out")) == []


def test_a_build_needs_a_format_and_tokenizers_that_fit(make_source: Callable[..., Path], tmp_path: Path) -> None:
    source = f"{make_source(shards=1, per_shard=2)}/*.tar"
    assert looked(lambda: parts.build(pipeline(source))).found == "format sidecar"
    found = looked(lambda: parts.build(pipeline(source, output={"path": "x", "token_ids": ["scene"]})))
    assert found.found == "format sidecar, token ids of scene"
    found = looked(lambda: parts.build(pipeline(source, output={"path": "x", "samples_per_shard": 100})))
    assert (found.status, found.fault) == ("error", "input") and "sidecar" in found.found
