"""The dataset card, its front matter, and text of users, models and the web inside Markdown."""

from __future__ import annotations

import json
import re
import tarfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from recaption import schema
from recaption.write import card
from recaption.write.card import code, fenced, front_matter, plain, size_category, table

GOLDEN = Path(__file__).parent.parent / "golden/output/builds"
HOSTILE = "# x\n---\nevil: [1\n<script>a</script> ![i](http://x) | c ``` \u2028---\u2028 {{ x }}"


@pytest.fixture(params=["sidecar", "webdataset", "parquet"])
def manifest(request: pytest.FixtureRequest) -> Any:
    return json.loads((GOLDEN / request.param / "manifest.json").read_bytes())


def split(text: str) -> tuple[dict[str, Any], str]:
    head = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    assert head
    return yaml.safe_load(head[1]), text[head.end() :]


def said(manifest: Any, **more: Any) -> Any:
    changed = deepcopy(manifest)
    changed["provenance"]["card"] = more
    return changed


def test_a_card_has_the_facts_of_the_manifest(manifest: Any) -> None:
    head, body = split(card.render(manifest))
    assert head["pretty_name"] == "golden" and head["size_categories"] == ["n<1K"]
    assert head["license"] == "apache-2.0" and "language" not in head
    for said in (
        "images in 20 = ok 15 + partial 1 + rejected 3 + excluded 1",
        "short: asked 17 = answered 16 + rejected 1",
        "13 images are `train`; 3 are held out as `val`",
        "| `decontaminated` | the image | 1 |",
        "| `empty_answer` | short | 1 |",
        "| `golden` | `example/golden` | `0123456789abcdef` | dtype `float32` |",
        "Describe the image.\n\nSay what is there.",
        "Suggested policy: `weighted`, with k `8`, max_merge `3`, p_raw `0.1`.",
    ):
        assert said in body


def test_a_card_says_that_the_suggested_policy_is_an_opinion(manifest: Any) -> None:
    opinion = "These values are an opinion; no measurement with photographs supports them."
    assert opinion not in card.render(manifest)  # older manifests do not say
    for basis, expected in (("opinion", True), ("pipeline", False)):
        body = card.render(manifest | {"sampling": manifest["sampling"] | {"basis": basis}})
        assert (opinion in body) is expected and "basis" not in body


def test_a_card_lists_either_tars_or_parquet_files(manifest: Any) -> None:
    head, _ = split(card.render(manifest))
    found = {config["config_name"]: config["data_files"] for config in head["configs"]}
    paths = [file["path"] for files in found.values() for file in files]
    assert len({path.rpartition(".")[2] for path in paths}) == 1
    build = GOLDEN / manifest["format"]
    counts = {
        info["config_name"]: {s["name"]: s["num_examples"] for s in info["splits"]} for info in head["dataset_info"]
    }
    assert {name: [file["split"] for file in files] for name, files in found.items()} == {
        name: list(splits) for name, splits in counts.items()
    }
    assert all(list(build.glob(path)) for path in paths)
    if manifest["format"] == "webdataset":
        assert counts == {"default": {"train": 13, "validation": 3}}
    else:
        assert counts["captions"] == {"full": 46} and counts["rejects"] == {"full": 5}


def test_hostile_texts_cannot_change_the_markup(manifest: Any) -> None:
    changed = said(
        manifest, description=HOSTILE, license=HOSTILE, source=HOSTILE, source_license=HOSTILE, citation=HOSTILE
    )
    changed["provenance"]["models"]["golden"] |= {"model": HOSTILE, "commit": HOSTILE}
    changed["provenance"]["prompts"]["describe_long"]["text"] = HOSTILE
    text = card.render(changed)
    assert text.splitlines()[0] == "---"
    head, body = split(text)
    assert head["license"] == HOSTILE and set(head) == set(split(card.render(manifest))[0])
    parser = MarkdownIt("commonmark").enable("table")
    tokens, before = parser.parse(body), parser.parse(split(card.render(manifest))[1])
    inline = {child.type for token in tokens for child in token.children or []}
    assert inline <= {"text", "text_special", "code_inline", "softbreak"}
    assert not {"html_block", "hr"} & {token.type for token in tokens}
    titles = [[t.type for t in some].count("heading_open") for some in (tokens, before)]
    assert titles[0] == titles[1] == 6
    assert HOSTILE.replace("\u2028", " ") + "\n" in [t.content for t in tokens if t.type == "fence"]


def test_the_length_does_not_depend_on_the_number_of_shards(manifest: Any) -> None:
    many = {**manifest, "shards": manifest["shards"] * 1000}
    assert abs(len(card.render(many)) - len(card.render(manifest))) < 200


def test_missing_facts_are_left_out(manifest: Any) -> None:
    bare = {**manifest, "provenance": {}}
    head, body = split(card.render(bare))
    assert "license" not in head and "No licence is given" in body and "The images come from" not in body
    replayed = deepcopy(bare)
    for generation in replayed["generations"]:
        generation |= {"column": "caption_llava", "prompt": None, "sampling": None}
    head, body = split(card.render(replayed))
    assert "synthetic" not in head["tags"] and "column `caption_llava` of the source" in body
    assert "written by models" not in body


def test_a_generation_by_rules_has_no_requests(manifest: Any) -> None:
    rules = deepcopy(manifest)
    rules["generations"][0] |= {"asked": 0, "answered": 0, "rejected": 0}
    assert f"{rules['generations'][0]['id']}: no requests\n" in card.render(rules)
    assert "no requests" not in card.render(manifest)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("data/cc3m/{00000..00575}.tar", "data/cc3m/{00000..00575}.tar"),
        ("/home/somebody/data/cc3m/*.tar", "cc3m/*.tar"),
        ("~/cc3m/*.tar", "cc3m/*.tar"),
        ("s3://bucket/cc3m/*.tar", "s3://bucket/cc3m/*.tar"),
        ("https://me:secret@host.org/a.parquet?sig=x", "https://host.org/a.parquet"),
    ],
)
def test_a_card_has_no_private_part_of_a_path(manifest: Any, path: str, shown: str) -> None:
    manifest["provenance"] |= {"source": path}
    manifest["provenance"]["models"]["golden"]["model"] = path
    body = card.render(manifest)
    assert f"The images come from `{shown}`." in body and f"| `golden` | `{shown}` |" in body
    assert "somebody" not in body and "secret" not in body


def test_a_build_without_usable_images_has_no_configs(manifest: Any) -> None:
    for shard in manifest["shards"]:
        for file in shard["files"]:
            file["rows"] = 0 if file["table"] != "rejects" else file["rows"]
    head = yaml.safe_load(front_matter(manifest).strip("-\n"))
    names = [config["config_name"] for config in head.get("configs", [])]
    assert names == ([] if manifest["format"] == "webdataset" else ["rejects"])


def test_features_of_passed_through_images_have_all_suffixes(manifest: Any) -> None:
    head = yaml.safe_load(front_matter({**manifest, "images": "passthrough"}).strip("-\n"))
    names = [feature["name"] for info in head["dataset_info"] for feature in info.get("features", [])]
    assert names == (
        ["jpg", "png", "webp", "txt", "json", "__key__", "__url__"] if "webdataset" in head["tags"] else []
    )


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def test_the_features_of_tars_have_every_field() -> None:
    """`datasets` drops what they do not name, without a word."""
    kind = pa.struct(list(schema.sample(["clip"], ["long", "short"])))
    seen = 0
    for path in (GOLDEN / "webdataset/data").rglob("*.tar"):
        with tarfile.open(path) as tar:
            samples = [json.load(tar.extractfile(m)) for m in tar if m.name.endswith(".json")]  # type: ignore[arg-type]
        assert without_nulls(pa.array(samples, kind).to_pylist()) == without_nulls(samples)
        seen += len(samples)
    assert seen == 16


@pytest.mark.parametrize(
    ("rows", "name"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (99_999, "10K<n<100K"), (10**9, "1B<n<10B"), (10**12, "n>1T")],
)
def test_size_categories_are_those_of_the_hub(rows: int, name: str) -> None:
    assert size_category(rows) == name


CONTROL = "[\x00-\x08\x0b-\x1f\x7f\u0085\u2028\u2029]"
TEXTS = st.text(st.sampled_from(list("ab 1.-+=#*_`~<>[]()!|\\&;$@:/\n\r\x00\u2028\t")) | st.characters(), max_size=40)


def parse(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").enable("strikethrough").parse(text)


def folded(text: str) -> str:
    return " ".join(re.sub(CONTROL, " ", text).split())


@given(TEXTS)
@example("# heading")
@example("1. list")
@example("1) list")
@example("- rule\n---")
@example("=== ")
@example("<script>alert(1)</script> ![x](http://x) | cell")
@example("a\\\nb &amp; &#35;")
def test_plain_text_is_escaped(text: str) -> None:
    tokens = parse(f"{plain(text)}\n")
    if not folded(text):
        assert tokens == []
        return
    assert [t.type for t in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    children = tokens[1].children or []
    assert {child.type for child in children} <= {"text", "text_special"}
    assert "".join(child.content for child in children) == folded(text)


@given(TEXTS)
@example("`")
@example("a ``` b")
@example("\\")
@example("` `")
def test_a_code_span_has_the_given_text(text: str) -> None:
    (inline,) = [t for t in parse(f"x {code(text)} y") if t.type == "inline"]
    spans = [child for child in inline.children or [] if child.type == "code_inline"]
    if folded(text):
        assert [span.content.strip(" ") for span in spans] == [folded(text).replace("|", "\\|")]
    assert {child.type for child in inline.children or []} <= {"text", "code_inline"}


@given(TEXTS)
@example("```\nout\n```")
@example("~~~~\n````")
@example("    indented")
def test_a_text_cannot_end_its_fence(text: str) -> None:
    tokens = parse(f"before\n\n{fenced(text)}\n\nafter\n")
    around = ["paragraph_open", "inline", "paragraph_close"]
    assert [t.type for t in tokens] == [*around, "fence", *around]
    (fence,) = [t for t in tokens if t.type == "fence"]
    assert fence.content == re.sub(CONTROL, " ", text.replace("\r\n", "\n").replace("\r", "\n")) + "\n"


@given(TEXTS, TEXTS)
def test_a_text_cannot_leave_its_cell(left: str, right: str) -> None:
    tokens = parse(table(["a", "b:"], [[code(left), plain(right)]]))
    assert [t.type for t in tokens].count("tr_open") == 2
    cells = [tokens[i + 1] for i, t in enumerate(tokens) if t.type == "td_open"]
    assert len(cells) == 2
    assert folded(right) == "".join(child.content for child in cells[1].children or [])


def test_numbers_are_aligned_to_the_right() -> None:
    assert table(["name", "rows:"], [["a", "1"]]) == "| name | rows |\n| --- | ---: |\n| a | 1 |"
