"""An exception in any rule affects only the caption for which it is raised."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import annotation_faults as faults
import pytest
from annotation_faults import ERRORS, PanicException, check, injected

from recaption.annotate import Annotator, spacy_tagger, split
from recaption.annotate.annotator import MAX_CHARACTERS, Annotated
from recaption.config import Annotate
from recaption.demo.scenes import sample_scene
from recaption.text import normalise
from recaption.types import Caption
from training.scene.captions import describe_long

Make = Callable[..., Caption]
TABLE = f"{faults.__name__}:Subjects"

# Together they call every rule.
TEXTS = (
    "The image shows two brown dogs on a wooden bench. There are no cats, and no one is near. The mood is calm.",
    "The sink is made of brushed stainless steel, and its doors are painted pale green. The dogs are big and red.",
    "Sure! Here is a description:\n\n**Foreground:** a T-shirt (white).\n- a 12 oz bottle\n- \"No dogs\" signs 🐶 A "
    "pair of glasses. The artist uses light. She isn't here, e.g. at St. Mary's at 5 p.m. on Main St. The light falls.",
    "Three things: 1. A dog 2. A cat 3. A cow. On the left side, a man reads the newspaper.He smiles. A coffee cup.",
    "Overall, the composition draws the eye. The man bites the dog. The dog bites the man. A square red table, 2010.",
    "一只狗坐着。一只猫。", "Ein Hund sitzt auf der Bank und die Katze ist auf dem Dach.", "1234", "A horse grazes İ",
)  # fmt: skip


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Annotator:
    """An annotator with a vocabulary, a tokenizer and a custom table."""
    labels = tmp_path_factory.mktemp("labels") / "labels.json"
    labels.write_text(json.dumps({"dog": ["cat"], "cup": []}), "utf-8")
    return Annotator(Annotate(vocabulary=str(labels), tokenizers=("scene",), tables=(TABLE,)))


@pytest.fixture(scope="module")
def images() -> list[list[Caption]]:
    """One image per text, and one image with all texts."""
    return [*([_caption(f"k{n}", 0, text)] for n, text in enumerate(TEXTS)), [
        _caption("all", n, text) for n, text in enumerate(TEXTS)
    ]]  # fmt: skip


@pytest.fixture(scope="module")
def clean(configured: Annotator, images: list[list[Caption]]) -> Annotated:
    return configured.annotate_with_tables(images)


def _caption(key: str, n: int, text: str) -> Caption:
    return Caption(caption_id=f"{key}/long/{n}", generation="long", source="m:p", granularity="long", text=text)


def _clear_caches() -> None:
    """Lemmas and stems are cached per process; with empty caches, their rules are called again."""
    for module in faults.RULES:
        for found in list(vars(module).values()):
            if hasattr(found, "cache_clear"):
                found.cache_clear()


@pytest.fixture(scope="module")
def called(configured: Annotator, images: list[list[Caption]]) -> dict[str, int]:
    _clear_caches()
    with injected(lambda name: None, configured) as seen:
        configured.annotate_with_tables(images)
    return dict(seen.calls)


def test_every_module_of_rules_is_called(called: dict[str, int]) -> None:
    tried = {name.partition(".")[0] for name in called}
    wanted = {module.__name__.rpartition(".")[2] for module in (*faults.RULES, *faults.SELECTED_RULES)}
    assert tried >= wanted | {"spacy", "Subjects"}
    assert len(called) > 90


def test_a_rule_that_raises_once_affects_one_caption(
    configured: Annotator, images: list[list[Caption]], clean: Annotated, called: dict[str, int]
) -> None:
    chance = random.Random(0)
    failed: dict[str, int] = {}
    for rule, calls in called.items():
        at, error = chance.randrange(calls), chance.choice(ERRORS)
        left = [at]

        def due(name: str, rule: str = rule, left: list[int] = left, error: type[BaseException] = error) -> Any:
            if name != rule:
                return None
            left[0] -= 1
            return error("injected") if left[0] == -1 else None

        _clear_caches()
        with injected(due, configured):
            made = configured.annotate_with_tables(images)
        failed[rule] = check(configured, images, clean, made)
        assert failed[rule] <= 1
    # after a fault in a batch, its texts are tagged one by one, without a fault
    assert sum(failed.values()) > 0.8 * len(called)


def test_a_rule_that_always_raises_keeps_every_caption(
    configured: Annotator, images: list[list[Caption]], called: dict[str, int]
) -> None:
    for rule in called:
        _clear_caches()
        with injected(lambda name, rule=rule: OSError() if name == rule else None, configured):  # type: ignore[misc]
            made = configured.annotate_with_tables(images)
        assert [len(done) for done in made.images] == [len(image) for image in images]
        assert made.failures or rule.startswith("spacy.make_doc"), rule


def test_all_rules_raising_at_once_keep_every_caption(configured: Annotator, images: list[list[Caption]]) -> None:
    with injected(lambda name: PanicException("injected"), configured):
        made = configured.annotate_with_tables(images)
    for sub in [sub for done in made.images for caption in done for sub in caption.sub_captions]:
        assert sub.is_unparsed and sub.weight == 0 and sub.lang == "und" and sub.n_tokens["scene"] > 0
    assert {failure.error for failure in made.failures} == {"PanicException: injected"}


@pytest.mark.parametrize("count", [150, pytest.param(5_000, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])])
def test_random_faults_affect_only_their_captions(configured: Annotator, count: int) -> None:
    chance = random.Random(count)
    images: list[list[Caption]] = []
    while (done := sum(map(len, images))) < count:
        size = min(chance.choice((1, 1, 2, 3)), count - done)
        images.append([_caption(f"k{len(images)}", n, _random_text(chance)) for n in range(size)])
    clean = configured.annotate_with_tables(images)
    left = [chance.randrange(20_000)]

    def due(name: str) -> BaseException | None:
        left[0] -= 1
        if left[0] >= 0:
            return None
        left[0] = chance.randrange(20_000)
        return chance.choice((*ERRORS, PanicException))(f"injected into {name}")

    with injected(due, configured):
        made = configured.annotate_with_tables(images)
    assert check(configured, images, clean, made) > count / 200
    assert all("injected" in failure.error for failure in made.failures)


def _random_text(chance: random.Random) -> str:
    kind = chance.randrange(4)
    if kind == 0:
        return describe_long(sample_scene(chance.randrange(1_000_000)))
    if kind == 1:
        return normalise("".join(chr(chance.randrange(32, 0x1F6FF)) for _ in range(60)) + " a dog") or "a"
    pieces = [piece for text in TEXTS for piece in text.split(" ")]
    return " ".join(chance.choice(pieces) for _ in range(chance.randrange(1, 60)))


def _with_faulty_texts(monkeypatch: pytest.MonkeyPatch, configured: Annotator, error: type[BaseException]) -> None:
    """Make spaCy raise for every batch that has a text with "zebra"."""
    pipe = configured._tagger.nlp.pipe

    def raising(texts: Sequence[str], **options: Any) -> Any:
        for doc in pipe(texts, **options):
            if "zebra" in doc.text:
                raise error("no zebras")
            yield doc

    monkeypatch.setattr(configured._tagger.nlp, "pipe", raising)


@pytest.mark.parametrize("error", [MemoryError, RecursionError, PanicException])
def test_an_exception_in_a_batch_affects_only_the_caption_that_raises(
    configured: Annotator, make: Make, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    animals = ["zebra" if n in (3, 100) else "dog" for n in range(2 * spacy_tagger._BATCH)]
    images = [[make(f"A {animal} number {n} sits.")] for n, animal in enumerate(animals)]
    clean = configured.annotate(images)
    with monkeypatch.context() as patch:
        _with_faulty_texts(patch, configured, error)
        made = configured.annotate(images)
    assert [n for n, (done,) in enumerate(made) if done.sub_captions[0].is_unparsed] == [3, 100]
    assert [done for n, done in enumerate(made) if n not in (3, 100)] == [
        done for n, done in enumerate(clean) if n not in (3, 100)
    ]
    assert configured.annotate(images) == clean, "the pipeline works again"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_is_raised(make: Make, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
    alone = Annotator(Annotate())
    _with_faulty_texts(monkeypatch, alone, error)
    with pytest.raises(error):
        alone.annotate([[make("A zebra.")]])


def test_a_caption_that_is_too_long_is_kept_whole(configured: Annotator, make: Make) -> None:
    long, neighbour = "A dog sits. " * (MAX_CHARACTERS // 12) + "A cat lies.", make("A dog sits.", 1)
    made: Annotated = configured.annotate_with_tables([[make(long), neighbour]])
    (sub,) = made.images[0][0].sub_captions
    assert sub.is_unparsed and sub.text == long and sub.n_words == 3 * (MAX_CHARACTERS // 12) + 3 and 0 < sub.weight < 1
    assert made.images[0][1] == configured.annotate([[neighbour]])[0][0]
    (failure,) = made.failures
    assert failure.caption_id == "k/long/0" and f"up to {MAX_CHARACTERS:,}" in failure.error
    ((longest,),) = configured.annotate([[make(long[:MAX_CHARACTERS])]])
    assert len(longest.sub_captions) == MAX_CHARACTERS // 12 + 1


def test_a_caption_is_kept_whole_if_the_flair_splitter_raises(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    annotator = Annotator(Annotate(splitter="flair_regex"))
    monkeypatch.setattr(split, "split_like_flair", lambda text: [][0])
    ((done,),) = annotator.annotate([[make("A dog. A cat.")]])
    assert [(s.text, s.is_unparsed) for s in done.sub_captions] == [("A dog. A cat.", True)]
