"""The samples of a report: selects images and reads their captions, answers and rejects.

A sample is a row of `images` with `chosen` (random, or the problem that it was selected for), `thumbnail`, `captions`,
`lost` (rows of `rejects`), the `flags`, `lemmas` of objects and `weights` (of `WEIGHTS`) in its captions, and `boxes`
(rows of `regions`). `thing` of a tag or a box is the number of what it shows: for an object, its place in `lemmas`.

A caption is a row of `captions` with `model`, `runs` (its text, cut for the page), `cut_off` (characters that are not
shown), `subs`, `verified` (some of them are), `tags` (those of `subs`, in the order of `Part.tag`) and `answer` (a row
of `answers`, or None). A run without a build has neither sub-captions nor tags, and the status "in progress".
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from recaption.inspect.images import IN_THE_PAGE, PLACE, ImageRequest, Pictures, Thumbnail, thumbnails
from recaption.inspect.paths import OutputPaths
from recaption.inspect.report.sample import Span, cut
from recaption.inspect.report.statistics import FLAGS
from recaption.inspect.sql import Row, fetch, fetch_rows, has_view, placeholders

if TYPE_CHECKING:
    import duckdb

ORDER = (*(flag.removeprefix("is_") for flag in FLAGS), "duplicate", "unsupported")
"""Flags in the order in which they are shown."""
WEIGHTS = {"w0": "weight 0", "w1": "up to 0.1", "w2": "up to 0.4", "w3": "up to 0.8", "w4": "up to 1"}
"""The classes of weights that `--ask weights` counts, with their names."""
WEIGHT_LIMITS = (0.0, 0.1, 0.4, 0.8)
LONGEST = 4_000  # characters of a caption that are shown
_MOST_SUBS = 200  # of a caption
_MOST_BOXES = 100  # of an image
_BOX = {"key", "region_id", "sub_id", "phrase", "char_start", "char_end", "x0", "y0", "x1", "y1", "score"}
_SHARES = (("rejected", 0.1), ("partial", 0.1), ("flagged", 0.15), ("repeats", 0.1))
"""The largest shares of samples that are selected for a problem."""


def of_build(
    connection: duckdb.DuckDBPyConnection,
    output: OutputPaths,
    form: str,
    fingerprints: Sequence[tuple[str, str]],
    count: int,
    pictures: Pictures = IN_THE_PAGE,
) -> tuple[Row, ...]:
    """`count` images of a build of format `form`, random ones first. The selection is deterministic.

    `fingerprints` are (generation, fingerprint) of the answers that the build was made from.
    """
    chosen = _choose(connection, count)
    images = images_of(connection, list(chosen))
    previews = thumbnails(connection, output, form, list(map(request_of, images.values())), pictures)
    return samples_of(connection, images, fingerprints, previews, chosen)


def samples_of(
    connection: duckdb.DuckDBPyConnection,
    images: Mapping[str, Row],
    fingerprints: Sequence[tuple[str, str]],
    previews: Mapping[str, Thumbnail],
    chosen: Mapping[str, str],
) -> tuple[Row, ...]:
    """The samples with the keys of `chosen`, in that order. `images` are those of `images_of`."""
    keys = list(chosen)
    if not keys:
        return ()
    answers = _answers(connection, [(key, images[key].sha256) for key in keys], fingerprints)
    captions = _captions(connection, keys, answers, {key: row.sha256 for key, row in images.items()})
    lost = _by(connection, "rejects", "key", "generation", keys)
    boxes = _boxes(connection, keys)
    return tuple(
        _sample(images[key], why, previews[key], captions[key], lost[key], boxes[key]) for key, why in chosen.items()
    )


def images_of(connection: duckdb.DuckDBPyConnection, keys: Sequence[str]) -> dict[str, Row]:
    """The rows of `images` by key, with their `images.PLACE`."""
    if not keys:
        return {}
    return {row.key: row for row in fetch_rows(connection, _IMAGES.format(ours=placeholders(keys)), [*keys, *keys])}


def request_of(row: Row) -> ImageRequest:
    """The request for the image of a row of `images_of`."""
    return ImageRequest(key=row.key, shard=row.shard, split=row.split, sha256=row.sha256, place=row.place)


def of_run(
    connection: duckdb.DuckDBPyConnection, output: OutputPaths, count: int, pictures: Pictures = IN_THE_PAGE
) -> tuple[Row, ...]:
    """`count` images with an answer, for a run without a build. Their texts have no sub-captions yet."""
    about_images = "(SELECT * FROM answers WHERE unit IS NULL)"  # answers about parts of an image are no captions
    query = f"SELECT key, min(sha256) FROM {about_images} GROUP BY key ORDER BY md5(key) LIMIT ?"
    found = fetch(connection, query, [count])
    answers = _by(connection, about_images, "key", "length(text) DESC, generation", [key for key, _ in found])
    wanted = [ImageRequest(key=key, shard=None, split="train", sha256=sha256, place=None) for key, sha256 in found]
    previews = thumbnails(connection, output, None, wanted, pictures)
    samples = []
    for key, sha256 in found:
        captions = []
        for row in answers[key]:
            own = {
                "caption_id": f"{key}/{row.generation}/0",
                "n_words": len(row.text.split()),
                "source": "",
                "lang": None,
                "region_id": None,
            }
            kept = Row(generation=row.generation, text=row.text, finish_reason=row.finish_reason, **own)
            captions.append(_caption(kept, [], {}, _answer(row)))
        known = {"key": key, "source_key": key, "sha256": sha256, "status": "in progress"}
        image = Row(**dict.fromkeys(_SHOWN) | known)
        samples.append(_sample(image, "random", previews[key], captions, [], []))
    return tuple(samples)


_SHOWN = ("key", "source_key", "sha256", "shard", "row", "split", "status", "reason", "url", "width", "height")
_IMAGES = (
    f"SELECT * FROM (SELECT {', '.join(_SHOWN)}, {PLACE} "
    "FROM images WHERE shard IN (SELECT shard FROM images WHERE key IN {ours})) WHERE key IN {ours}"
)


def _sample(
    image: Row,
    chosen: str,
    thumbnail: Thumbnail,
    captions: Sequence[Row],
    lost: Sequence[Row],
    boxes: Sequence[Row],
) -> Row:
    subs = [sub for caption in captions for sub in caption.subs]
    flags = {flag for sub in subs for flag in sub.flags}
    objects = [tag for sub in subs for tag in sub.tags if tag.kind == "object"]
    things = {lemma: n for n, lemma in enumerate(dict.fromkeys(tag.lemma for tag in objects))}
    lemmas = list(things)
    for sub in subs:
        for tag in sub.tags:
            tag.thing = things.get(tag.lemma)
    for box in boxes:
        box.thing = things.setdefault(_named_in(box, objects) or box.phrase, len(things))
    return Row(
        **vars(image),
        chosen=chosen,
        thumbnail=thumbnail,
        captions=captions,
        lost=lost,
        flags=[flag for flag in ORDER if flag in flags],
        lemmas=lemmas,
        weights=sorted({f"w{bisect_left(WEIGHT_LIMITS, sub.weight)}" for sub in subs}),
        boxes=boxes,
    )


def _named_in(box: Row, objects: Sequence[Row]) -> str | None:
    """The lemma of the object that the phrase of a box names, if it is tagged."""
    if box.char_start is None or box.char_end is None:
        return None
    of_sub = (tag for tag in objects if tag.sub_id == box.sub_id)
    return next((t.lemma for t in of_sub if t.char_start < box.char_end and box.char_start < t.char_end), None)


def _boxes(connection: duckdb.DuckDBPyConnection, keys: Sequence[str]) -> dict[str, list[Row]]:
    """The boxes of each key, if the build has the table `regions` of the task of that name."""
    found: defaultdict[str, list[Row]] = defaultdict(list)
    if has_view(connection, "regions") and _BOX.issubset(name for name, *_ in fetch(connection, "DESCRIBE regions")):
        for key, rows in _by(connection, "regions", "key", "region_id", keys).items():
            found[key] = [row for row in rows if _is_box(row)][:_MOST_BOXES]
    return found


def _is_box(row: Row) -> bool:
    return all(
        isinstance(row.__dict__[name], float) and 0 <= row.__dict__[name] <= 1 for name in ("x0", "y0", "x1", "y1")
    )


def _choose(connection: duckdb.DuckDBPyConnection, count: int) -> dict[str, str]:
    """The selected keys, each with the reason. Groups are ordered by md5(key), which is random but deterministic."""
    flagged = " OR ".join(flag for flag in FLAGS if flag != "is_boilerplate")  # openers are too frequent
    groups = {
        "rejected": "SELECT key FROM images WHERE status IN ('reject', 'excluded')",
        "partial": "SELECT key FROM images WHERE status = 'partial'",
        "flagged": f"SELECT DISTINCT key FROM sub_captions WHERE generation <> 'raw' AND ({flagged})",
        "repeats": "SELECT DISTINCT key FROM sub_captions WHERE dup_of IS NOT NULL",
    }
    shares = list(_SHARES)
    if has_view(connection, "verifications"):
        groups["unsupported"] = "SELECT DISTINCT key FROM verifications WHERE p_true < 0.5"
        shares.append(("unsupported", 0.15))
    special: dict[str, str] = {}
    for why, share in shares:
        most = max(1, round(count * share))
        query = f"SELECT key FROM ({groups[why]}) ORDER BY md5(key) LIMIT ?"
        found = [key for (key,) in fetch(connection, query, [most + len(special)]) if key not in special]
        special |= dict.fromkeys(found[: min(most, count - 1 - len(special))], why)
    usable = "SELECT key FROM images WHERE status IN ('ok', 'partial') ORDER BY md5(key) LIMIT ?"
    random = [key for (key,) in fetch(connection, usable, [count]) if key not in special]
    return dict.fromkeys(random[: count - len(special)], "random") | special


def _captions(
    connection: duckdb.DuckDBPyConnection,
    keys: Sequence[str],
    answers: dict[tuple[str, str], Row],
    sha256: dict[str, str],
) -> dict[str, list[Row]]:
    """The captions of each key. Tables are sorted by key, so other row groups are not read."""
    subs = _by(connection, "sub_captions", "caption_id", "idx", keys)
    tags = _by(connection, "tags", "sub_id", "char_start", keys)
    p_true = _p_true(connection, keys)
    for sub in (sub for of_caption in subs.values() for sub in of_caption):
        sub.p_true = p_true.get(sub.sub_id)
    captions = _by(connection, "captions", "key", "generation = 'raw', n_words DESC, caption_id", keys)
    for key, rows in captions.items():
        for row in rows:
            answer = answers.get((row.generation, key)) or answers.get((row.generation, sha256[key]))
            _caption(row, subs[row.caption_id][:_MOST_SUBS], tags, answer)
    return captions


def _caption(row: Row, subs: Sequence[Row], tags: dict[str, list[Row]], answer: Row | None) -> Row:
    """The row of a caption, with what the page shows of it."""
    numbers = {sub.sub_id: n for n, sub in enumerate(subs, 1)}
    for sub in subs:
        sub.number, sub.tags = numbers[sub.sub_id], tags[sub.sub_id]
        for tag in sub.tags:
            tag.kind, tag.attributes = tag.kind or "object", tag.attributes or ()
        sub.flags = [flag.removeprefix("is_") for flag in FLAGS if getattr(sub, flag)]
        sub.flags += ["duplicate"] if sub.dup_of is not None else []
        sub.flags += ["unsupported"] if sub.p_true is not None and sub.p_true < 0.5 else []
        if sub.dup_of in numbers:
            sub.dup_of = str(numbers[sub.dup_of])
        prefix = "n_tokens_"
        sub.tokens = [(name.removeprefix(prefix), n) for name, n in vars(sub).items() if name.startswith(prefix)]
    row.model = row.source.partition(":")[0] if row.generation != "raw" else ""
    row.verified = any(sub.p_true is not None for sub in subs)
    row.subs, row.tags = subs, [tag for sub in subs for tag in sub.tags]
    row.runs = cut(
        row.text[:LONGEST],
        [Span(start=sub.char_start, end=sub.char_end, content=sub.content_start) for sub in subs],
        [Span(start=tag.char_start, end=tag.char_end) for tag in row.tags],
    )
    row.cut_off, row.answer = max(0, len(row.text) - LONGEST), answer
    return row


def _p_true(connection: duckdb.DuckDBPyConnection, keys: Sequence[str]) -> dict[str, float]:
    """The mean p_true by sub_id of the verified sub-captions of these images."""
    if not keys or not has_view(connection, "verifications"):
        return {}
    where = f"key IN {placeholders(keys)}"
    return dict(fetch(connection, f"SELECT sub_id, avg(p_true) FROM verifications WHERE {where} GROUP BY sub_id", keys))


def _answers(
    connection: duckdb.DuckDBPyConnection, images: Sequence[tuple[str, str]], fingerprints: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], Row]:
    """The answers by generation and key, and by generation and sha256, because equal images share an answer."""
    if not fingerprints:
        return {}
    made = f"(generation, fingerprint) IN ({', '.join('(?, ?)' for _ in fingerprints)})"
    values = [value for pair in fingerprints for value in pair]
    columns = "generation, fingerprint, key, sha256, prompt_tokens, output_tokens, prompt_sha256, attempts"
    found: dict[tuple[str, str], Row] = {}
    for column, wanted in (("key", [key for key, _ in images]), ("sha256", [sha256 for _, sha256 in images])):
        wanted = [one for one in wanted if one and any((g, one) not in found for g, _ in fingerprints)]
        if not wanted:
            continue
        query = f"SELECT {columns} FROM answers WHERE {made} AND {column} IN {placeholders(wanted)} ORDER BY key"
        for row in fetch_rows(connection, query, [*values, *wanted]):
            answer = _answer(row)
            found.setdefault((row.generation, row.key), answer)
            found.setdefault((row.generation, row.sha256), answer)
    return found


def _answer(row: Row) -> Row:
    """Attempts of older versions have no `detail` and no `pixel_share`."""
    row.attempts = [{"detail": None, "pixel_share": None, **attempt} for attempt in row.attempts or ()]
    return row


def _by(
    connection: duckdb.DuckDBPyConnection, table: str, owner: str, order: str, keys: Sequence[str]
) -> defaultdict[str, list[Row]]:
    """The rows of `table` with these keys, grouped by the column `owner`, each group in the order of `order`."""
    found: defaultdict[str, list[Row]] = defaultdict(list)
    query = f"SELECT * FROM {table} WHERE key IN {placeholders(keys)} ORDER BY {owner}, {order}"
    for row in fetch_rows(connection, query, keys) if keys else ():
        found[getattr(row, owner)].append(row)
    return found
