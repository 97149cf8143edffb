"""The shipped spaCy pipeline, and others: with more components, or of another language."""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.tokens import Doc
from spacy.training import Example

from recaption.annotate import Annotator
from recaption.annotate.spacy_tagger import SHIPPED, Tagger, _without_torch
from recaption.config import Annotate
from recaption.errors import ConfigError
from recaption.types import Caption

Make = Callable[..., Caption]

_PLACE = "VERB ADP DET NOUN PUNCT"
GERMAN = [
    ("Zwei braune Hunde liegen auf einer Bank .", f"NUM ADJ NOUN {_PLACE}", "zwei braun Hund liegen auf ein Bank ."),
    ("Eine alte Frau sitzt vor dem Haus .", f"DET ADJ NOUN {_PLACE}", "ein alt Frau sitzen vor der Haus ."),
    ("Der Himmel ist blau .", "DET NOUN AUX ADJ PUNCT", "der Himmel sein blau ."),
    ("Rote Autos stehen auf der Straße .", f"ADJ NOUN {_PLACE}", "rot Auto stehen auf der Straße ."),
]


@pytest.fixture(scope="module")
def german(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline like spaCy's German ones: a tag set of its language, universal parts of speech, lemmas."""
    nlp = spacy.blank("de")
    for part in ("morphologizer", "trainable_lemmatizer"):
        nlp.add_pipe(part, config={"min_tree_freq": 1} if part == "trainable_lemmatizer" else {})
    examples = []
    for text, pos, lemmas in GERMAN:
        words = text.split()
        number = ["Number=Plur" if word in ("Hunde", "Autos") else "" for word in words]
        gold = {"words": words, "pos": pos.split(), "morphs": number, "lemmas": lemmas.split()}
        examples.append(Example.from_dict(Doc(nlp.vocab, words=words), gold))
    optimizer = nlp.initialize(lambda: examples)
    rng = random.Random(0)
    for _ in range(40):
        rng.shuffle(examples)
        nlp.update(examples, sgd=optimizer)
    path = tmp_path_factory.mktemp("german") / "de_tiny"
    nlp.to_disk(path)
    return path


def test_another_language_is_tagged_by_universal_parts_of_speech(german: Path, make: Make) -> None:
    annotator = Annotator(Annotate(spacy_model=str(german)))
    text = (
        "Zwei braune Hunde liegen auf einer Bank. Eine alte Frau sitzt vor dem Haus. Rote Autos stehen auf der Straße."
    )
    ((done, english),) = annotator.annotate([[make(text), make("A dog sits on a bench in the park.", 1)]])
    assert done.lang == "de"
    found = [(tag.lemma, tag.attributes, tag.plural) for sub in done.sub_captions for tag in sub.objects]
    assert found == [
        ("hund", ("braune",), True),
        ("bank", (), False),
        ("frau", ("alte",), False),
        ("haus", (), False),
        ("auto", ("rote",), True),
        ("straße", (), False),
    ]
    assert english.lang == "en" and not any(sub.tags for sub in english.sub_captions), "the pipeline cannot tag English"
    assert all(sub.weight == 1.0 for sub in english.sub_captions), "tags do not count"


def test_an_english_caption_has_flags_without_an_english_pipeline(german: Path, make: Make) -> None:
    ((done,),) = Annotator(Annotate(spacy_model=str(german))).annotate(
        [[make("There isn't a cloud in the sky today.")]]
    )
    assert [(sub.is_negation, sub.is_meta, sub.tags) for sub in done.sub_captions] == [(True, False, ())]


def test_an_english_pipeline_with_more_components_gives_the_same(tmp_path: Path, make: Make) -> None:
    """A pipeline like en_core_web_sm: a tagger with Penn tags, and components that are not needed and not run."""
    nlp: Any = spacy.load(SHIPPED)
    nlp.add_pipe("sentencizer", first=True)
    nlp.add_pipe("attribute_ruler")
    nlp.add_pipe("entity_ruler")
    nlp.to_disk(tmp_path / "en_like")
    annotator = Annotator(Annotate(spacy_model=str(tmp_path / "en_like")))
    images = [[make("The image shows two brown dogs on a wooden bench. There are no people.")]]
    assert annotator.annotate(images) == Annotator(Annotate()).annotate(images)
    assert annotator._tagger.nlp.pipe_names == ["tagger"]


def test_the_words_of_the_shipped_pipeline_have_the_attributes_that_its_model_reads() -> None:
    tagger, plain = Tagger(None), spacy.load(SHIPPED)
    columns = [node.attrs["columns"] for node in plain.get_pipe("tagger").model.walk() if "columns" in node.attrs]
    (doc, expected) = (nlp.make_doc("Zyxwv 42 co-owners don't x@y.org; CAFÉS") for nlp in (tagger.nlp, plain))
    assert columns
    assert all((doc.to_array(names) == expected.to_array(names)).all() for names in columns)


def test_tokens_do_not_depend_on_the_batch() -> None:
    tagger = Tagger(None)
    texts = [f"A {colour} dog {i} sits on a bench." for i in range(300) for colour in ("red", "")]
    assert list(tagger.tokens(texts)) == [tokens for text in texts for tokens in tagger.tokens([text])]


def test_the_shipped_pipeline_is_small_and_states_its_licence() -> None:
    files = [path for path in SHIPPED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 15e6
    assert Tagger(None).nlp.meta["license"] == "CC BY-SA 4.0"
    assert "CC BY-SA 4.0" in (SHIPPED / "README.md").read_text("utf-8")


def test_offsets_are_right_where_lower_case_has_another_length(make: Make) -> None:
    text = "İstanbul İ. A red dog sits."
    ((done,),) = Annotator(Annotate()).annotate([[make(text)]])
    tags = [tag for sub in done.sub_captions for tag in sub.tags]
    assert [text[tag.char_start : tag.char_end] for tag in tags] == [tag.text for tag in tags]
    assert "red dog" in [tag.text for tag in tags]


@pytest.mark.parametrize("name", ["no_such_pipeline", "/no/such/folder"])
def test_an_unknown_pipeline_is_a_config_error(name: str) -> None:
    with pytest.raises(ConfigError, match="neither a folder nor an installed"):
        Annotator(Annotate(spacy_model=name))


def test_a_pipeline_without_tags_is_a_config_error(tmp_path: Path) -> None:
    import spacy

    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(ConfigError, match="neither a tagger with Penn tags"):
        Annotator(Annotate(spacy_model=str(tmp_path / "blank")))


def test_the_shipped_pipeline_loads_without_torch_which_can_be_imported_later() -> None:
    code = (
        "import sys; from recaption.annotate.spacy_tagger import Tagger; Tagger(None);"
        "assert 'torch' not in sys.modules, 'it costs memory and time in each process that annotates';"
        "import torch; assert torch.ones(1).sum() == 1"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_torch_is_hidden_from_the_thread_that_loads_the_tagger_only() -> None:
    found: dict[str, object] = {}

    def look(name: str) -> None:
        try:
            found[name] = importlib.util.find_spec("torch")
        except ModuleNotFoundError as error:
            found[name] = error

    torch = sys.modules.pop("torch", None)  # find_spec does not ask the finders about an imported module
    try:
        with _without_torch():
            look("inside")
            other = threading.Thread(target=look, args=("another thread",))
            other.start()
            other.join()
        look("after")
    finally:
        if torch is not None:
            sys.modules["torch"] = torch
    assert isinstance(found["inside"], ModuleNotFoundError)
    assert isinstance(found["another thread"], ModuleSpec) and isinstance(found["after"], ModuleSpec)
