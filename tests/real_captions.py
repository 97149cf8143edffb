"""Labels of real machine captions. The captions themselves are not in the repository.

`annotate/real/labels.jsonl` has one line per caption: the sha256 of its normalised text, the part (`dev`, which rules
may be made on, or `heldout`, which is only scored), and for each sub-caption its span, flags and objects, as
`annotate/real/README.md` defines them. The texts are read from the folder that RECAPTION_CAPTIONS names: every
`*.jsonl` in it with a field `text`.

    python tests/real_captions.py agreement A B     # two folders of labelled files: F1 of one against the other
    python tests/real_captions.py differences A B   # each sub-caption on which they differ
    python tests/real_captions.py store FOLDER      # write labels.jsonl from labelled files
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from golden_set import FLAGS, LabelledCaption, LabelledImage, Object, Sub
from golden_set import read as read_golden

from recaption.text import normalise

LABELS = Path(__file__).parent / "annotate" / "real" / "labels.jsonl"
FOLDER = "RECAPTION_CAPTIONS"
HELDOUT = 3  # every third caption by its hash


def sha256_of(text: str) -> str:
    return hashlib.sha256(normalise(text).encode()).hexdigest()


def texts(folder: Path) -> dict[str, str]:
    """The captions in a folder, in the field `text` or `caption` of each line, by their sha256."""
    lines = (line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines())
    entries = (json.loads(line) for line in lines if line)
    found = (normalise(entry["text"] if "text" in entry else entry["caption"]) for entry in entries)
    return {sha256_of(text): text for text in found}


def folder() -> Path | None:
    """The folder with the texts, or None where there is none."""
    name = os.environ.get(FOLDER)
    return Path(name) if name else None


def parts(where: Path) -> dict[str, list[LabelledImage]]:
    """`dev` and `heldout`. Raises FileNotFoundError for a caption whose text is not in the folder."""
    known = texts(where)
    out: dict[str, list[LabelledImage]] = {"dev": [], "heldout": []}
    for line in LABELS.read_text("utf-8").splitlines():
        entry = json.loads(line)
        if (text := known.get(entry["sha256"])) is None:
            raise FileNotFoundError(f"no caption in {where} has the sha256 {entry['sha256']}")
        subs = [_sub(text, sub) for sub in entry["subs"]]
        out[entry["part"]].append(LabelledImage(entry["sha256"][:8], [LabelledCaption("stop", "real", text, subs)]))
    return out


def _sub(text: str, labels: dict[str, Any]) -> Sub:
    start, end = labels["span"]
    content = text[labels["content"] : end] if "content" in labels else ""
    objects = tuple(
        Object(lemma, tuple(attributes), count, plural) for lemma, attributes, count, plural in labels["objects"]
    )
    return Sub(text[start:end], start, 0, frozenset(labels["flags"]), content, labels.get("dup"), "en", objects)


def labelled(where: Path) -> dict[str, LabelledCaption]:
    """The captions of a folder of labelled files by their sha256."""
    captions = (c for path in sorted(where.glob("*.txt")) for image in read_golden(path) for c in image.captions)
    return {sha256_of(caption.text): caption for caption in captions}


def store(where: Path) -> None:
    with LABELS.open("w", encoding="utf-8") as file:
        for sha256, caption in sorted(labelled(where).items()):
            part = "heldout" if int(sha256, 16) % HELDOUT == 0 else "dev"
            entry = {"sha256": sha256, "part": part, "subs": [_stored(sub) for sub in caption.subs]}
            file.write(json.dumps(entry) + "\n")


def _stored(sub: Sub) -> dict[str, Any]:
    out: dict[str, Any] = {"span": [sub.start, sub.start + len(sub.text)], "flags": sorted(sub.flags)}
    if sub.content:
        out["content"] = sub.start + sub.text.index(sub.content)
    if sub.dup is not None:
        out["dup"] = sub.dup
    out["objects"] = [[o.lemma, list(o.attributes), o.count, o.plural] for o in sub.objects]
    return out


def pairs(a: Path, b: Path) -> Iterator[tuple[Sub, Sub]]:
    """The same sub-caption as both labelled it."""
    second = labelled(b)
    for sha256, caption in labelled(a).items():
        yield from zip(caption.subs, second[sha256].subs, strict=True)


def agreement(a: Path, b: Path) -> None:
    """F1 of labels of B against those of A; kappa for flags. Both count single labels, not sub-captions."""
    from annotation_scores import OF_OBJECTS, Tally, counted

    both = list(pairs(a, b))
    print(f"{len(both)} sub-captions")
    for what, of in OF_OBJECTS.items():
        tally = Tally()
        for x, y in both:
            tally.add(counted(of, y.objects), counted(of, x.objects))
        print(f"{what:12} {tally.said:5} {tally.true:5}  F1 {tally.f1:.3f}")
    for flag in FLAGS:
        found = Counter((flag in x.flags, flag in y.flags) for x, y in both)
        tt, tf, ft, ff = (found[pair] for pair in ((True, True), (True, False), (False, True), (False, False)))
        total = len(both)
        chance = ((tt + tf) * (tt + ft) + (ft + ff) * (tf + ff)) / total**2
        kappa = ((tt + ff) / total - chance) / (1 - chance) if chance < 1 else 1.0
        f1 = 2 * tt / (2 * tt + tf + ft) if tt + tf + ft else 1.0
        print(f"{flag:12} {tt + ft:5} {tt + tf:5}  F1 {f1:.3f}  kappa {kappa:.3f}")


def differences(a: Path, b: Path) -> None:
    for x, y in pairs(a, b):
        flags = [f"{n}: {sorted(s.flags)} {s.content!r} dup={s.dup}" for n, s in (("A", x), ("B", y))]
        things = [f"{n}: {[o for o in s.objects if o not in t.objects]}" for n, s, t in (("A", x, y), ("B", y, x))]
        lines = flags if (x.flags, x.content, x.dup) != (y.flags, y.content, y.dup) else []
        lines += things if x.objects != y.objects else []
        if lines:
            print("\n    ".join([x.text, *lines]))


if __name__ == "__main__":
    commands: dict[str, Callable[..., None]] = {"agreement": agreement, "differences": differences, "store": store}
    name, *folders = sys.argv[1:]
    commands[name](*map(Path, folders))
