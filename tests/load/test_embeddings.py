"""recaption.load.embeddings, on a build whose embeddings a tiny dual encoder made."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
from small_output import answer_all, build_all, pipeline_data, write_source
from tiny_models import make_tiny_dual_encoder

from recaption.engine import EngineSpec, Request, build
from recaption.engine.completion import complete
from recaption.errors import DatasetError, UserError
from recaption.io.store import LocalStore
from recaption.load import StoredEmbeddings
from recaption.output.answers import read_answers
from recaption.tasks.output import Output
from recaption.types import Sampling
from recaption.validate import validate_output

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning")


def pipeline(folder: Path, model: Path, **task: Any) -> dict[str, Any]:
    data = pipeline_data(folder)
    data["models"]["clip"] = {
        "engine": "dual_encoder",
        "model": str(model),
        "dtype": "float32",
        "engine_args": {"threads": 1},
    }
    data["generate"].append({"id": "similar", "model": "clip", "task": "score", "over": "long", **task})
    return data


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_dual_encoder(tmp_path_factory.mktemp("clip"), "clip")


@pytest.fixture(scope="module")
def out(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedded")
    write_source(folder, shards=2, per_shard=3)
    build_all(answer_all(pipeline(folder, model, of=["sub_captions"], embed=["images", "captions", "sub_captions"])))
    return folder / "out"


def test_images_captions_and_sub_captions_have_embeddings(out: Path, model: Path) -> None:
    stored = StoredEmbeddings(str(out))
    assert (stored.generation, stored.shards) == ("similar", ("00000", "00001"))
    for shard in stored.shards:
        found = stored.of(shard)
        subs = pq.read_table(out / f"dataset/sub_captions/{shard}.parquet").to_pylist()
        captions = pq.read_table(out / f"dataset/captions/{shard}.parquet").to_pylist()
        rows = [row for row in [*captions, *subs] if row["generation"] == "long"]
        texts = {row.get("sub_id") or row["caption_id"]: row["text"] for row in rows}
        images = set(pq.read_table(out / f"dataset/images/{shard}.parquet")["key"].to_pylist())
        assert set(found) == images | set(texts)
        assert found.vectors.dtype == np.float16 and found.vectors.shape == (len(found), 24)
        assert np.linalg.norm(found.vectors.astype(np.float32), axis=1) == pytest.approx(1, abs=2e-3)
        for row in pq.read_table(out / f"dataset/scores/{shard}.parquet").to_pylist():
            cosine = found[row["key"]].astype(np.float32) @ found[row["sub_id"]].astype(np.float32)
            assert cosine == pytest.approx(row["score"], abs=2e-3)
    (text,) = {text for id, text in texts.items() if id.endswith("0/long/0#0") and id.startswith("cat10")}
    request = Request(prompt=text, sampling=Sampling(max_tokens=1), output=Output(scores=True))
    assert found["cat10/long/0#0"] == pytest.approx(asked(model, request), abs=1e-3)


def asked(model: Path, request: Request) -> Any:
    async def ask() -> Any:
        engine = build(EngineSpec(engine="dual_encoder", model=str(model), dtype="float32"))
        await engine.start()
        try:
            return (await complete(engine, request)).scores
        finally:
            await engine.stop()

    return asyncio.run(ask())


def test_numpy_alone_reads_them(out: Path) -> None:
    rows = np.load(out / "dataset/embeddings/similar/00000.npy", mmap_mode="r")
    row_of = {id.decode(): row for row, id in enumerate(rows["id"])}
    vector = rows["embedding"][row_of["cat00"]]
    assert isinstance(rows, np.memmap) and vector.dtype == np.float16
    assert (vector == StoredEmbeddings(str(out)).of("00000")["cat00"]).all()


def test_torch_takes_them_without_a_copy(out: Path) -> None:
    import torch

    vectors = StoredEmbeddings(str(out)).of("00000").vectors
    assert torch.from_numpy(np.array(vectors)).shape == vectors.shape
    assert vectors.strides[0] % 2 == 0 and vectors.ctypes.data % 2 == 0


def test_the_answers_keep_them_and_the_build_is_valid(out: Path) -> None:
    assert list(validate_output(str(out))) == []
    (file,) = (out / "answers").glob("similar-*/00000.parquet")
    answers = read_answers(LocalStore(out), str(file.relative_to(out)))
    kept = [answer for answer in answers if answer.embedding is not None]
    assert {answer.unit.partition("/")[0] for answer in kept if answer.unit} == {"embedding:image", "embedding:long"}
    assert {len(answer.embedding or b"") for answer in kept} == {48}
    assert orjson.loads(kept[0].value or "") == {"is_cut": False}
    manifest = orjson.loads((out / "dataset/manifest.json").read_bytes())
    assert manifest["embeddings"] == ["similar"]
    assert "embeddings" not in (out / "dataset/views.sql").read_text()


def test_what_is_not_stored_is_an_error(out: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="generation other has none; those of similar are stored"):
        StoredEmbeddings(str(out), "other")
    with pytest.raises(DatasetError, match="cannot be read"):
        StoredEmbeddings(str(out)).of("00009")
    write_source(tmp_path, shards=1, per_shard=1)
    build_all(answer_all(pipeline_data(tmp_path)))
    with pytest.raises(UserError, match="has no embeddings: set `embed`"):
        StoredEmbeddings(str(tmp_path / "out"))
