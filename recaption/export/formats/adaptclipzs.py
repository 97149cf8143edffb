"""AdaptCLIPZS: a text file for each class, with one description per line.

Read by cvl-umass/AdaptCLIPZS, finetune_clip.py, utils_data.py and utils_nat.py: the file is `<class>.txt`, with SLASH
for a slash. A line is "A bird with a crest": the readers replace its first two words, two letters or one letter
by the name of the class, whatever they are. Other lines would lose their first words, so they begin with
"A photo showing ". Texts are not truncated: a text of more than 77 tokens of CLIP stops the training.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from recaption.export.base import (
    CLIP_WORDS,
    Exported,
    Finding,
    Options,
    Usage,
    begin,
    described,
    found_in,
    named,
    refuse_classes_without_texts,
    refuse_shard_size,
    shards,
)
from recaption.export.dataset import Dataset
from recaption.export.image_files import make_folder, put_text
from recaption.export.needs import CLASS_TEXTS, only_table
from recaption.export.rows import path_of
from recaption.export.unfinished import removed_on_failure
from recaption.io import files
from recaption.problems import Problem
from recaption.text import fold

WRITES: Final = "a text file per class with one description per line"
READ_BY: Final = "AdaptCLIPZS"
_SUBJECT: Final = re.compile(r"An? [\w-]+ (?:with|that|which|whose|of|in|on|at|has|having)\b")
_REMEDY: Final = (
    f"AdaptCLIPZS opens a file for each class. Texts of more than {CLIP_WORDS} words do not count. Request them again "
    "(recaption retry OUT --reason REASON; the table rejects has the reasons), or remove these classes from the source"
)
_PREFIX: Final = "A photo showing "


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`. The samples are classes. Raises UserError if some have no texts."""
    refuse_shard_size(options, "one file for each class")
    generation = only_table(dataset, options, CLASS_TEXTS)
    store = begin(dataset, dest, options)
    without: list[str] = []
    written = 0
    with removed_on_failure(store):
        if (folder := store.local("")) is not None:
            make_folder(folder)
        for shard in shards(dataset, options):
            without += dataset.rejected(shard)
            found = dataset.table_rows(shard, CLASS_TEXTS.table, CLASS_TEXTS.made_by(generation))
            for record in dataset.records(shard, options.split, generations=()):
                rows = found.get(record.key, ())
                lines = [line_of(row["text"]) for row in rows if len(row["text"].split()) <= CLIP_WORDS]
                if not lines:
                    without.append(record.source_key)
                    continue
                name = record.source_key.replace("/", "SLASH")
                put_text(store, f"{name}.txt", "".join(f"{line}\n" for line in lines))
                written += 1
        refuse_classes_without_texts(without, _REMEDY)
    usage = Usage(program="AdaptCLIPZS (main since 2024-04)", arguments=f"--text_dir {path_of(dest)}")
    notes = (described({CLASS_TEXTS.table: generation}),)
    return Exported(samples=written, files=written, notes=notes, usage=(usage,))


def line_of(text: str) -> str:
    """The line of a text: "A bird with a crest", or the text after a prefix that the readers can replace."""
    text = fold(text)
    if _SUBJECT.match(text):
        return f"A {text.split(' ', 1)[1]}"
    return f"{_PREFIX}{text[:1].lower()}{text[1:]}"


def validate(path: str, *, loaders: int | None = None, images: str | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`."""
    for file in named(path, ".txt"):
        try:
            lines = [line for line in files.read_all(file).decode().splitlines() if line.strip()]
        except UnicodeDecodeError:
            yield from found_in(file, [("it is not UTF-8", "Write it as UTF-8", "not UTF-8")])
            continue
        if not lines:
            yield from found_in(file, [("it has no text", "Write at least one line (ValueError)", "no texts")])
        for number, line in enumerate(lines, 1):
            yield from found_in(f"{file}: line {number}", _line_findings(line))


def _line_findings(line: str) -> Iterator[Finding]:
    if len(line.split()) < 3:
        yield f"it is {line!r}", "Write a sentence: its first two words are taken away", "nothing but a subject"
    elif not _SUBJECT.match(line) and not line.startswith(_PREFIX):
        advice = 'Write "A bird with a crest": the name of the class replaces the first words'
        yield f"it begins with {line[:40]!r}", advice, "first words are lost"
    if len(line.split()) > CLIP_WORDS + 3:
        advice = f"Shorten it to {CLIP_WORDS} words: more than 77 tokens end the training"
        yield f"it has {len(line.split())} words", advice, "long text", "warning"
