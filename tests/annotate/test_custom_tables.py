"""Custom tables: in the annotator, in a build, and invalid classes."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar
from weakref import WeakSet

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from writing import write_manifest, write_shard

from recaption.annotate import Annotator, Token
from recaption.config import Annotate
from recaption.errors import ConfigError
from recaption.inspect import connect
from recaption.io.store import LocalStore
from recaption.schema import check_version
from recaption.types import Caption, Record, SubCaption
from recaption.write import publish

Make = Callable[..., Caption]


class Verbs:
    """Every verb with its place in the caption."""

    name = "verbs"
    version = "1"
    columns = pa.schema([pa.field("verb", pa.string()), pa.field("char_start", pa.int32())])

    def rows(self, sub: SubCaption, words: Sequence[Token], caption: Caption) -> Iterator[dict[str, Any]]:
        for word in words:
            if word.tag.startswith("VB"):
                assert caption.text[word.start : word.end].lower() == word.text
                yield {"verb": word.text, "char_start": word.start}


class Silent(Verbs):
    name = "silent"

    def rows(self, sub: SubCaption, words: Sequence[Token], caption: Caption) -> Iterator[dict[str, Any]]:
        return iter(())


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """An importable module, like a user's package."""
    made = ModuleType("my_annotators")
    made.Verbs, made.Silent = Verbs, Silent  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_annotators", made)
    return made


CAPTION = Caption(caption_id="", generation="raw", source="raw", granularity="raw", text="")
SAMPLING = {"policy": "weighted", "k": 8, "max_merge": 3, "p_raw": 0.1}
NAMES = ("my_annotators:Verbs", "my_annotators:Silent")


def test_rows_refer_to_the_sub_captions_of_the_same_pass(module: ModuleType, make: Make) -> None:
    annotator = Annotator(Annotate(tables=NAMES))
    made = annotator.annotate_with_tables([[make("A dog sits. Two cats run.")]])
    tables = made.tables
    assert not made.failures and made.images == Annotator(Annotate()).annotate([[make("A dog sits. Two cats run.")]])
    assert tables["verbs"].to_pylist() == [
        {"sub_id": "k/long/0#0", "key": "k", "verb": "sits", "char_start": 6},
        {"sub_id": "k/long/0#1", "key": "k", "verb": "run", "char_start": 21},
    ]
    assert tables["silent"].num_rows == 0
    check_version(tables["verbs"].schema, "verbs")
    assert annotator.provenance()["table.verbs"] == "1"


def built(out: Path, settings: Annotate, texts: dict[str, str]) -> Path:
    """A published build of images with these keys and texts."""
    annotator, store = Annotator(settings), LocalStore(str(out))
    captions = [[replace(CAPTION, caption_id=f"{key}/raw/0", text=text)] for key, text in texts.items()]
    made = annotator.annotate_with_tables(captions)
    records = [
        Record(key=key, source_key=key, shard="00000", row=row, sha256=f"{row:064x}", status="ok", captions=done)
        for row, (key, done) in enumerate(zip(texts, made.images, strict=True))
    ]
    entry = write_shard(store, "builds/b", "00000", records, list, format="sidecar", custom_tables=made.tables)
    write_manifest(
        store,
        "builds/b",
        **{"name": "n", "build": "b", "format": "sidecar", "image_mode": "jpeg", "shards": [entry]},
        **{"generations": [], "require": [], "primary": [], "sampling": SAMPLING},
    )
    publish(store, "b")
    return out


def test_a_build_has_the_tables_and_they_can_be_queried(module: ModuleType, tmp_path: Path) -> None:
    out = built(tmp_path / "out", Annotate(tables=NAMES), {"b": "A dog sits.", "a": "Two cats run."})
    table = pq.read_table(next((out / "builds").glob("*/verbs/*.parquet")))
    assert table["key"].to_pylist() == ["a", "b"], "sorted by key"
    with connect(str(out)) as connection:
        joined = "SELECT key, verb FROM verbs JOIN sub_captions USING (sub_id, key) ORDER BY 1"
        assert connection.execute(joined).fetchall() == [("a", "run"), ("b", "sits")]
        assert connection.execute("SELECT count(*) FROM silent").fetchall() == [(0,)]
    (build,) = (out / "builds").iterdir()
    with duckdb.connect() as plain:
        plain.execute(f"SET file_search_path = '{build}'")
        sql = (build / "views.sql").read_text("utf-8")
        plain.execute(sql[sql.index('CREATE OR REPLACE VIEW "verbs"') :])
        assert plain.execute("SELECT count(*) FROM verbs").fetchall() == [(2,)]
    card = (build / "README.md").read_text("utf-8")
    assert "| `verbs/` | a custom table | 2 | 1 |" in card and "path: verbs/*.parquet" in card
    assert '"verbs-files"' in (build / "croissant.json").read_text("utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "tags"}, "has the table name 'tags', which is taken"),
        ({"name": "ppl"}, "has the table name 'ppl', which is taken"),
        ({"name": "../x"}, "lower-case letters, digits and _"),
        ({"name": "triples"}, "has the table name 'triples', which is taken. Choose another than"),
        ({"columns": pa.schema([pa.field("key", pa.string())])}, "has the column key, which recaption adds"),
        ({"columns": None}, "columns \\(a pyarrow.Schema\\)"),
        ({"version": 2}, "needs a name and a version \\(strings\\)"),
        ({"__init__": lambda self: 1 / 0}, "cannot be instantiated: ZeroDivisionError"),
    ],
)
def test_an_invalid_class_is_a_config_error(module: ModuleType, change: dict[str, Any], message: str) -> None:
    module.Verbs = type("Odd", (Verbs,), change)  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=message):
        Annotator(Annotate(tables=NAMES[:1]))


class Picky(Verbs):
    """Returns one row per sub-caption, and those of the class attribute `odd` for a sub-caption with "zebra"."""

    columns = pa.schema([pa.field("verb", pa.string(), nullable=False)])
    odd: Callable[[], list[Any]]

    def rows(self, sub: SubCaption, words: Sequence[Token], caption: Caption) -> Iterator[dict[str, Any]]:
        yield {"verb": words[0].text}
        if "zebra" in sub.text:
            yield from type(self).odd()


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda: [{"verb": 3}], "ArrowTypeError"),
        (lambda: [{"noun": "dog"}], "DatasetError: table verbs: a row has noun; its columns are"),
        (lambda: [None], "TypeError"),
        (lambda: [{"verb": "\ud83d"}], "UnicodeEncodeError"),
        (lambda: [{}], "DatasetError: table verbs: a row has no verb, and that column is not nullable"),
    ],
)
def test_a_table_that_fails_on_a_caption_has_no_rows_for_it(
    module: ModuleType, make: Make, odd: Callable[[], list[Any]], message: str
) -> None:
    module.Verbs = type("Odd", (Picky,), {"odd": staticmethod(odd)})  # type: ignore[attr-defined]
    texts = ("A dog sits.", "A cat lies. A zebra stands.", "A cow runs.")
    images = [[make(text, n) for n, text in enumerate(texts)]]
    made = Annotator(Annotate(tables=NAMES)).annotate_with_tables(images)
    assert made.images == Annotator(Annotate()).annotate(images)
    assert made.tables["verbs"]["sub_id"].to_pylist() == ["k/long/0#0", "k/long/2#0"]
    (failure,) = made.failures
    assert (failure.caption_id, failure.table) == ("k/long/1", "verbs") and failure.error.startswith(message)


class Circular(Verbs):
    """Makes a reference cycle for every sub-caption."""

    alive: ClassVar[WeakSet[Any]] = WeakSet()
    most: ClassVar[int] = 0

    def rows(self, sub: SubCaption, words: Sequence[Token], caption: Caption) -> list[dict[str, Any]]:
        class Node:
            pass

        self.alive.add(Node)  # a class refers to itself
        Circular.most = max(Circular.most, len(self.alive))
        return []


def test_reference_cycles_are_collected_during_the_pass(module: ModuleType, make: Make) -> None:
    module.Verbs = Circular  # type: ignore[attr-defined]
    gc.collect()
    Annotator(Annotate(tables=NAMES[:1])).annotate([[make(f"A dog {n}.")] for n in range(5_000)])
    assert 0 < Circular.most <= 1_100, "at most those of one zone"
    assert len(Circular.alive) == 0


def test_a_table_can_be_named_like_a_keyword_of_sql(module: ModuleType, tmp_path: Path) -> None:
    module.Verbs = type("Order", (Verbs,), {"name": "order"})  # type: ignore[attr-defined]
    out = built(tmp_path / "out", Annotate(tables=NAMES[:1]), {"a": "Two cats run."})
    with connect(str(out)) as connection:
        assert connection.execute('SELECT verb FROM "order"').fetchall() == [("run",)]


def test_two_tables_with_one_name_are_a_config_error(module: ModuleType) -> None:
    with pytest.raises(ConfigError, match="has the table name 'verbs', which is taken"):
        Annotator(Annotate(tables=(NAMES[0], NAMES[0])))


@pytest.mark.parametrize("name", ["no_such_module:Verbs", "my_annotators:Nouns"])
def test_a_class_that_cannot_be_imported_is_a_config_error(module: ModuleType, name: str) -> None:
    with pytest.raises(ConfigError, match=r"annotate\.tables: .* cannot be imported"):
        Annotator(Annotate(tables=(name,)))
