"""Prompts: front matter, filling in, and what is said of broken ones."""

from __future__ import annotations

import hashlib
import pickle
import re
from pathlib import Path

import pytest

from recaption import prompt
from recaption.errors import ConfigError, RequestError

HEAD = "---\nid: p\nversion: 1\ngranularity: long\n---\n"


def write(folder: Path, text: str) -> str:
    file = folder / "p.md"
    file.write_text(text, "utf-8")
    return str(file)


def test_a_prompt_is_filled_in_with_columns(tmp_path: Path) -> None:
    loaded = prompt.load(
        write(tmp_path, HEAD + "Title: {{ title }}.\n{% if tags %}Tags: {{ tags | join(', ') }}{% endif %}\n")
    )
    assert loaded.columns == {"title", "tags"}
    assert loaded.missing({"title"}) == ["tags"]
    assert loaded.fill_in({"title": "Ünïcode {{ x }}", "tags": ["a", "b"]}) == "Title: Ünïcode {{ x }}.\nTags: a, b"


def test_the_source_of_a_prompt_is_not_part_of_its_identity(tmp_path: Path) -> None:
    plain = prompt.load(write(tmp_path, HEAD + "Describe it.\nsource: of the text")).sha256
    for head in (
        HEAD.replace("version", "source: A paper (arXiv:2304.08485), its appendix.\nversion"),
        HEAD.replace("long\n", "long\nsource: A model card.\n"),
    ):
        assert prompt.load(write(tmp_path, head + "Describe it.\nsource: of the text")).sha256 == plain
    assert prompt.load(write(tmp_path, HEAD + "Describe it.")).sha256 != plain


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "source",
    [
        "source: A paper.",
        "source:  A paper,\n  its appendix.",
        "source: >\n  A paper,\n\n  its appendix.",
        "source : A",
    ],
)
def test_a_source_may_have_several_lines_and_any_line_ends(tmp_path: Path, source: str, end: str) -> None:
    def sha256(head: str) -> str:
        (tmp_path / "p.md").write_bytes(f"{head}Describe it.".replace("\n", end).encode())
        return prompt.load(str(tmp_path / "p.md")).sha256

    plain = sha256(HEAD)
    for place in ("id: p", "version: 1", "granularity: long"):
        assert sha256(HEAD.replace(place, f"{place}\n{source}")) == plain
    noted = "notes: |\n  source: of the notes\n"
    assert sha256(HEAD.replace("version", f"{noted}version")) != plain


def test_each_shipped_prompt_for_captions_names_what_it_follows() -> None:
    pages = (Path(__file__).parent.parent / "docs" / "pipelines.md").read_text("utf-8")
    table = pages.split("These shipped prompts make captions", 1)[1].split("\n\n", 2)[1]
    names = re.findall(r"`(\w+)`", " ".join(row.split("|")[1] for row in table.splitlines()[2:]))
    assert len(names) > 15
    for name in names:
        text = prompt.load(name).path.read_text("utf-8").split("\n---", 1)[0]
        assert re.search(r"arXiv[: ]\d{4}\.\d{5}|huggingface\.co/", text), name


def test_a_used_prompt_can_be_pickled(tmp_path: Path) -> None:
    loaded = prompt.load(write(tmp_path, HEAD + "Title: {{ title }}."))
    assert loaded.fill_in({"title": "a"}) == "Title: a."
    sent = pickle.loads(pickle.dumps(loaded))
    assert sent == loaded and sent.fill_in({"title": "b"}) == "Title: b."


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ v | tojson }}", None),
        ("{{ v | round(2) }}", float("nan")),
        ("{{ 'a' if v in 'abc' }}", " "),
        ("{{ v | sort }}", ["a", None]),
        ("{{ v | sum }}", [1, None]),
    ],
)
def test_an_absent_value_in_a_python_function_is_named_as_one(tmp_path: Path, template: str, value: object) -> None:
    loaded = prompt.load(write(tmp_path, HEAD + template))
    with pytest.raises(RequestError, match="it uses a value that is null, missing or blank for this image"):
        loaded.fill_in({"v": value})


def test_the_hash_is_that_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + "x")
    renamed = Path(path).read_bytes().replace(b"granularity", b"kind")  # the key of schema 1.2
    assert prompt.load(path).sha256 == hashlib.sha256(renamed).hexdigest()


@pytest.mark.parametrize(
    "columns",
    [{}, {"title": None}, {"title": 3}],
    ids=["missing", "none", "wrong type"],
)
def test_a_value_of_the_wrong_type_is_a_request_error(tmp_path: Path, columns: dict) -> None:
    loaded = prompt.load(write(tmp_path, HEAD + "{{ title.upper() }}"))
    with pytest.raises(RequestError, match="prompt p cannot be filled in"):
        loaded.fill_in(columns)


@pytest.mark.parametrize("caption", [None, "", " ", "\u200b", "\ufeff \u2060", "\x07"])
@pytest.mark.parametrize("template", ["{% if caption %}{{ caption }}{% endif %}", "{{ caption or '' }}"])
def test_a_prompt_without_visible_text_is_a_request_error(tmp_path: Path, template: str, caption: str | None) -> None:
    loaded = prompt.load(write(tmp_path, HEAD + template))
    with pytest.raises(RequestError, match="prompt p cannot be filled in: the text is empty"):
        loaded.fill_in({"caption": caption})
    assert loaded.fill_in({"caption": "\u200b\U0001f431"}) == "\u200b\U0001f431"


@pytest.mark.parametrize("text", ["{# later #}", "{{ '' }}", "{{ ' ' }}", "{% if false %}a{% endif %}", "\u200b"])
def test_a_prompt_that_is_always_empty_is_a_config_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"p\.md gives an empty text for every image"):
        prompt.load(write(tmp_path, HEAD + text))


def test_answers_to_an_empty_prompt_are_still_found(tmp_path: Path) -> None:
    """Earlier versions sent it; its answers are paid for."""
    loaded = prompt.load(write(tmp_path, HEAD + "{% if n == 1 %}One.{% endif %}"))
    assert loaded.fill_in_as_before({"n": 2}) == ""
    assert loaded.fill_in_as_before({"n": 1}) is None


@pytest.mark.parametrize(
    "template", ["{{ ''.__class__.__mro__ }}", "{{ x.__init__.__globals__ }}", "{{ cycler.__init__.__globals__ }}"]
)
def test_a_template_cannot_access_python_objects(tmp_path: Path, template: str) -> None:
    loaded = prompt.load(write(tmp_path, HEAD + "a" + template))
    with pytest.raises(RequestError):
        loaded.fill_in({"x": "y"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no front matter", "has no front matter"),
        ("---\nid: [\n---\nx", "not YAML"),
        ("---\nid: p\nversion: 1\ngranularity: huge\n---\nx", "granularity"),
        ("---\nid: p\nversion: 1\ngranularity: long\nfoo: 1\n---\nx", "foo"),
        (HEAD + "a\n{{ b", "line 2"),
        (HEAD + "  \n", "no text"),
    ],
)
def test_an_invalid_prompt_is_a_config_error(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        prompt.load(write(tmp_path, text))


def test_a_path_has_priority_over_a_name_and_a_folder_over_shipped_prompts(tmp_path: Path) -> None:
    assert prompt.load("describe_long").id == "describe_long"
    (tmp_path / "describe_long.md").write_text(HEAD + "mine")
    assert prompt.load("describe_long", tmp_path).template == "mine"
    with pytest.raises(ConfigError, match=r"'nope' not found.*Known names: .*describe_short"):
        prompt.load("nope", tmp_path)


@pytest.mark.parametrize(
    ("text", "columns", "before"),
    [
        ("Named {{ caption }}.", {"caption": None}, "Named None."),
        ("Named {{ caption }}.", {"caption": "  "}, "Named   ."),
        ("Named {{ caption }}.", {"caption": float("nan")}, "Named nan."),
        ('{{ caption or "none" }}', {"caption": " \n"}, ""),
        ('{{ caption | default("x") }} {{ caption is none }}', {"caption": None}, "None True"),
        ('{{ tags | join(", ") }} {{ tags }}', {"tags": ["a", None]}, "a, None ['a', None]"),
        ("{{ page.title }}", {"page": {"title": None}}, "None"),
        ("{% for tag in tags %}{{ tag }} {% endfor %}", {"tags": ["a", None]}, "a None"),
    ],
)
def test_absent_values_give_the_text_of_earlier_versions(tmp_path: Path, text: str, columns: dict, before: str) -> None:
    """Answers to these texts are stored and paid for."""
    assert prompt.load(write(tmp_path, HEAD + text)).fill_in_as_before(columns) == before


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("Named {{ caption }}.", {"caption": "a dog"}),
        ("Named {{ caption }}.", {}),
        ("Named {{ caption }}.", {"caption": "a dog", "url": None}),
    ],
)
def test_texts_that_are_unchanged_or_were_never_sent_have_no_earlier_text(
    tmp_path: Path, text: str, columns: dict
) -> None:
    assert prompt.load(write(tmp_path, HEAD + text)).fill_in_as_before(columns) is None


@pytest.mark.parametrize("kind", ["structured", "brief", "with_alt_text", "with_text", "plainly"])
def test_captions_prompts_name_their_source_and_need_no_value(kind: str) -> None:
    loaded = prompt.load(f"describe_{kind}")
    head = loaded.path.read_text("utf-8").split("---")[1]
    assert "arXiv:" in head or "huggingface.co/" in head
    assert loaded.id == f"describe_{kind}" and loaded.granularity in ("long", "short")
    assert not loaded.is_empty({"caption": None})


def test_alt_text_is_optional_and_limited() -> None:
    loaded = prompt.load("describe_with_alt_text")
    assert loaded.columns == {"caption"}
    without = loaded.fill_in({})
    assert "text" not in without and all(without == loaded.fill_in({"caption": c}) for c in (None, "", " \n"))
    filled = loaded.fill_in({"caption": "Ada Lovelace by Chalon"})
    assert filled.startswith(without) and "\nAda Lovelace by Chalon\n" in filled and "do not copy" in filled
    assert len(loaded.fill_in({"caption": "word " * 9000})) < len(filled) + 1100
