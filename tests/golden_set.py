"""The golden set: `annotate/golden/README.md` says what is labelled and how it is written down.

`python tests/golden_set.py FILE …` reads files and counts what is in them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from recaption.types import Caption

GOLDEN = Path(__file__).parent / "annotate" / "golden"
FLAGS = ("fragment", "negation", "meta", "boilerplate", "dup")
_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\", "r": "\r"}
_OBJECT = re.compile(r"(?P<lemma>[^()|]+?)(?: \((?P<attributes>[^()|]+)\))?(?: x(?P<count>\d+))?(?P<plural> plural)?")
_FLAG = re.compile(r'(?P<name>fragment|negation|meta|boilerplate|dup|lang)(?:="(?P<quoted>[^"]+)"|=(?P<value>\S+))?')


@dataclass(frozen=True, slots=True)
class Object:
    lemma: str
    attributes: tuple[str, ...] = ()
    count: int | None = None
    plural: bool = False


@dataclass(slots=True)
class Sub:
    """A labelled sub-caption; `dup` is the position of the earlier one in its image, 0-based."""

    text: str
    start: int
    line: int
    flags: frozenset[str] = frozenset()
    content: str = ""
    dup: int | None = None
    lang: str = "en"
    objects: tuple[Object, ...] = ()


@dataclass(slots=True)
class LabelledCaption:
    finish: str | None
    style: str
    text: str = ""
    subs: list[Sub] = field(default_factory=list)


@dataclass(slots=True)
class LabelledImage:
    name: str
    captions: list[LabelledCaption] = field(default_factory=list)

    @property
    def subs(self) -> list[Sub]:
        return [sub for caption in self.captions for sub in caption.subs]


def captions_of(image: LabelledImage) -> list[Caption]:
    """The captions without sub-captions, for the annotator. Their numbers end their ids."""
    return [
        Caption(
            caption_id=f"{image.name}/c/{n}",
            generation="c",
            source="m:p",
            granularity="long",
            text=caption.text,
            finish_reason=caption.finish,  # type: ignore[arg-type]
        )
        for n, caption in enumerate(image.captions)
    ]


class FormatError(ValueError):
    """A line of the golden set that is not as its README says."""


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: _ESCAPES[match[1]], text)


def read(path: Path) -> list[LabelledImage]:
    """The images of one file. Raises FormatError with the line's number."""
    images: list[LabelledImage] = []
    labelled = True  # the last sub-caption has its objects
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        try:
            labelled = _take(line, number, images, labelled)
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise FormatError(f"{path.name}:{number}: {error}: {line!r}") from error
    if not labelled:
        raise FormatError(f"{path.name}: the last sub-caption has no objects line")
    for image in images:
        for caption in image.captions:
            caption.text = caption.text.rstrip()  # as it is stored
        _check(path, image)
    return images


def _take(line: str, number: int, images: list[LabelledImage], labelled: bool) -> bool:
    if not line.strip():
        return labelled
    if line.startswith("  "):
        sub = images[-1].captions[-1].subs[-1]
        kind, _, rest = line.strip().partition(":")
        if kind == "flags":
            _flags(sub, rest.strip())
            return labelled
        if kind != "objects" or labelled:
            raise ValueError("neither flags nor the one objects line of a sub-caption")
        sub.objects = tuple(_objects(rest.strip()))
        return True
    if not labelled:
        raise ValueError("the sub-caption before has no objects line")
    if line.startswith("# image "):
        images.append(LabelledImage(line.removeprefix("# image ").strip()))
    elif line.startswith("## "):
        values = dict(part.split("=") for part in line[3:].split())
        finish = {"stop": "stop", "length": "length", "none": None}[values["finish"]]
        images[-1].captions.append(LabelledCaption(finish, values["style"]))
    else:
        return _sub(images[-1].captions[-1], line, number)
    return True


def _sub(caption: LabelledCaption, line: str, number: int) -> bool:
    gap, text = " " if caption.subs else "", line
    if line.startswith("["):
        gap, _, text = line[1:].partition("]")
        gap = _unescape(gap)
    caption.text += gap
    if not text:
        return True  # what follows the last one
    text = _unescape(text)
    if text != text.strip():
        raise ValueError("white space at an end of the sub-caption")
    caption.subs.append(Sub(text, len(caption.text), number))
    caption.text += text
    return False


def _flags(sub: Sub, text: str) -> None:
    at, names = 0, set()
    for match in _FLAG.finditer(text):
        if text[at : match.start()].strip():
            raise ValueError(f"unknown flag {text[at : match.start()]!r}")
        at = match.end()
        name = match["name"]
        if name == "lang":
            sub.lang = match["value"]
            continue
        names.add(name)
        if name == "boilerplate":
            sub.content = match["quoted"]
            if sub.content not in sub.text or sub.text.startswith(sub.content):
                raise ValueError(f"{sub.content!r} is not where the content of it begins")
        elif name == "dup":
            sub.dup = int(match["value"]) - 1
    if text[at:].strip():
        raise ValueError(f"unknown flag {text[at:]!r}")
    sub.flags = frozenset(names)


def _objects(text: str) -> Iterator[Object]:
    if text == "none":
        return
    for part in text.split(" | "):
        match = _OBJECT.fullmatch(part.strip())
        if match is None or match["lemma"] != match["lemma"].lower().strip():
            raise ValueError(f"{part!r} is no object")
        attributes = tuple(a.strip() for a in (match["attributes"] or "").split(",") if a.strip())
        yield Object(match["lemma"], attributes, int(match["count"]) if match["count"] else None, bool(match["plural"]))


def _check(path: Path, image: LabelledImage) -> None:
    for position, sub in enumerate(image.subs):
        if sub.dup is not None and not 0 <= sub.dup < position:
            raise FormatError(f"{path.name}:{sub.line}: dup={sub.dup + 1} is not an earlier one of {image.name}")
        words = re.findall(r"\w+", sub.text.lower())
        for thing in sub.objects:
            for word in [*(re.findall(r"\w+", " ".join(thing.attributes)))]:
                if word not in words:
                    raise FormatError(f"{path.name}:{sub.line}: attribute {word!r} does not stand in the sub-caption")


def count(path: Path) -> None:
    images = read(path)
    subs = [sub for image in images for sub in image.subs]
    counts = {flag: sum(flag in sub.flags for sub in subs) for flag in FLAGS}
    objects = sum(len(sub.objects) for sub in subs)
    print(f"{path}: {len(images)} images, {len(subs)} sub-captions, {objects} objects, {counts}")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        count(Path(name))
