"""The samples of a report: selects images and reads their captions, answers and rejects."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from recaption.inspect.images import PLACE, ImageRequest, thumbnails
from recaption.inspect.paths import OutputPaths
from recaption.inspect.report.sample import (
    Attempt,
    Lost,
    Sample,
    ShownAnswer,
    ShownCaption,
    ShownSub,
    ShownTag,
    Span,
    cut,
)
from recaption.inspect.report.statistics import FLAGS
from recaption.inspect.sql import fetch, fetch_dicts, has_view, placeholders

if TYPE_CHECKING:
    import duckdb

LONGEST = 4_000  # characters of a caption that are shown
_MOST_SUBS = 200  # of a caption
_SHARES = (("rejected", 0.1), ("partial", 0.1), ("flagged", 0.15), ("repeats", 0.1))
"""The largest shares of samples that are selected for a problem."""


def of_build(
    connection: duckdb.DuckDBPyConnection,
    output: OutputPaths,
    form: str,
    fingerprints: Sequence[tuple[str, str]],
    count: int,
) -> tuple[Sample, ...]:
    """`count` images of a build of format `form`, random ones first. The selection is deterministic.

    `fingerprints` are (generation, fingerprint) of the answers that the build was made from.
    """
    chosen = _choose(connection, count)
    if not chosen:
        return ()
    keys = list(chosen)
    images = images_of(connection, keys)
    answers = _answers(connection, [(key, images[key]["sha256"]) for key in keys], fingerprints)
    captions = _captions(connection, keys, answers, {key: row["sha256"] for key, row in images.items()})
    lost: dict[str, list[Lost]] = defaultdict(list)
    for row in fetch_dicts(
        connection, f"SELECT {_LOST} FROM rejects WHERE key IN {placeholders(keys)} ORDER BY generation", keys
    ):
        lost[row.pop("key")].append(Lost(**row))
    previews = thumbnails(connection, output, form, list(map(request_of, images.values())))
    return tuple(
        Sample(
            **{name: images[key][name] for name in _SHOWN},
            chosen=why,
            thumbnail=previews[key],
            captions=tuple(captions[key]),
            lost=tuple(lost[key]),
        )
        for key, why in chosen.items()
    )


def images_of(connection: duckdb.DuckDBPyConnection, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The rows of `images` by key, with their `images.PLACE`."""
    rows = fetch_dicts(connection, _IMAGES.format(ours=placeholders(keys)), [*keys, *keys])
    return {row["key"]: row for row in rows}


def request_of(row: dict[str, Any]) -> ImageRequest:
    """The request for the image of a row of `images_of`."""
    return ImageRequest(**{name: row[name] for name in ("key", "shard", "split", "sha256", "place")})


def of_run(connection: duckdb.DuckDBPyConnection, output: OutputPaths, count: int) -> tuple[Sample, ...]:
    """`count` images with an answer, for a run without a build. Their texts have no sub-captions yet."""
    found = fetch(connection, "SELECT key, min(sha256) FROM answers GROUP BY key ORDER BY md5(key) LIMIT ?", [count])
    keys = [key for key, _ in found]
    answers: dict[str, list[dict[str, Any]]] = defaultdict(list)
    if keys:
        query = f"SELECT * FROM answers WHERE key IN {placeholders(keys)} ORDER BY length(text) DESC, generation"
        for row in fetch_dicts(connection, query, keys):
            answers[row["key"]].append(row)
    wanted = [ImageRequest(key=key, shard=None, split="train", sha256=sha256, place=None) for key, sha256 in found]
    previews = thumbnails(connection, output, None, wanted)
    return tuple(
        Sample(
            key=key,
            source_key=key,
            sha256=sha256,
            status="in progress",
            chosen="random",
            thumbnail=previews[key],
            captions=tuple(
                ShownCaption(
                    caption_id=f"{key}/{row['generation']}/0",
                    generation=row["generation"],
                    n_words=len(row["text"].split()),
                    finish_reason=row["finish_reason"],
                    runs=cut(row["text"][:LONGEST], (), ()),
                    cut_off=max(0, len(row["text"]) - LONGEST),
                    answer=_answer(row),
                )
                for row in answers[key]
            ),
        )
        for key, sha256 in found
    )


_SHOWN = ("key", "source_key", "sha256", "shard", "row", "split", "status", "reason", "url", "width", "height")
_IMAGES = (
    f"SELECT * FROM (SELECT {', '.join(_SHOWN)}, {PLACE} "
    "FROM images WHERE shard IN (SELECT shard FROM images WHERE key IN {ours})) WHERE key IN {ours}"
)
_LOST = "key, generation, stage, reason, coalesce(detail, '') AS detail, attempts"


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
    answers: dict[tuple[str, str], ShownAnswer],
    sha256: dict[str, str],
) -> dict[str, list[ShownCaption]]:
    """The captions of each key. Tables are sorted by key, so other row groups are not read."""
    subs, tags = (
        _by(connection, "sub_captions", "caption_id", "idx", keys),
        _by(connection, "tags", "sub_id", "char_start", keys),
    )
    p_true = _p_true(connection, keys)
    made: dict[str, list[ShownCaption]] = defaultdict(list)
    order = "generation = 'raw', n_words DESC, caption_id"
    for row in fetch_dicts(
        connection, f"SELECT * FROM captions WHERE key IN {placeholders(keys)} ORDER BY {order}", keys
    ):
        own = subs[row["caption_id"]][:_MOST_SUBS]
        marked = [tag for sub in own for tag in tags[sub["sub_id"]]]
        number = {sub["sub_id"]: n for n, sub in enumerate(own, 1)}
        spans = [Span(start=s["char_start"], end=s["char_end"], content=s["content_start"]) for s in own]
        made[row["key"]].append(
            ShownCaption(
                **{name: row[name] for name in ("caption_id", "generation", "source", "n_words", "lang")},
                finish_reason=row["finish_reason"],
                runs=cut(
                    row["text"][:LONGEST], spans, [Span(start=t["char_start"], end=t["char_end"]) for t in marked]
                ),
                cut_off=max(0, len(row["text"]) - LONGEST),
                subs=tuple(
                    _sub(n, sub, tags[sub["sub_id"]], number, p_true.get(sub["sub_id"])) for n, sub in enumerate(own, 1)
                ),
                tags=tuple(map(_tag, marked)),
                answer=answers.get((row["generation"], row["key"]))
                or answers.get((row["generation"], sha256[row["key"]])),
            )
        )
    return made


def _sub(
    number: int, row: dict[str, Any], tags: Iterable[dict[str, Any]], numbers: dict[str, int], p_true: float | None
) -> ShownSub:
    flags = [flag.removeprefix("is_") for flag in FLAGS if row[flag]]
    dup_of = row["dup_of"]
    if dup_of is not None:
        flags.append("duplicate")
        same = dup_of.rpartition("#")[0] == row["caption_id"]
        dup_of = str(numbers[dup_of]) if same and dup_of in numbers else dup_of
    if p_true is not None and p_true < 0.5:
        flags.append("unsupported")
    prefix = "n_tokens_"
    return ShownSub(
        number=number,
        n_words=row["n_words"],
        tokens=tuple((name.removeprefix(prefix), value) for name, value in row.items() if name.startswith(prefix)),
        weight=row["weight"],
        flags=tuple(flags),
        dup_of=dup_of,
        tags=tuple(map(_tag, tags)),
        p_true=p_true,
    )


def _tag(row: dict[str, Any]) -> ShownTag:
    return ShownTag(
        lemma=row["lemma"],
        label=row["label"],
        attributes=tuple(row["attributes"] or ()),
        count=row["count"],
        kind=row.get("kind") or "object",
    )


def _p_true(connection: duckdb.DuckDBPyConnection, keys: Sequence[str]) -> dict[str, float]:
    """The mean p_true by sub_id of the verified sub-captions of these images."""
    if not keys or not has_view(connection, "verifications"):
        return {}
    where = f"key IN {placeholders(keys)}"
    return dict(fetch(connection, f"SELECT sub_id, avg(p_true) FROM verifications WHERE {where} GROUP BY sub_id", keys))


def _answers(
    connection: duckdb.DuckDBPyConnection, images: Sequence[tuple[str, str]], fingerprints: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], ShownAnswer]:
    """The answers by generation and key, and by generation and sha256, because equal images share an answer."""
    if not fingerprints:
        return {}
    made = f"(generation, fingerprint) IN ({', '.join('(?, ?)' for _ in fingerprints)})"
    values = [value for pair in fingerprints for value in pair]
    columns = "generation, fingerprint, key, sha256, prompt_tokens, output_tokens, prompt_sha256, attempts"
    found: dict[tuple[str, str], ShownAnswer] = {}
    for column, wanted in (("key", [key for key, _ in images]), ("sha256", [sha256 for _, sha256 in images])):
        wanted = [one for one in wanted if one and any((g, one) not in found for g, _ in fingerprints)]
        if not wanted:
            continue
        query = f"SELECT {columns} FROM answers WHERE {made} AND {column} IN {placeholders(wanted)} ORDER BY key"
        for row in fetch_dicts(connection, query, [*values, *wanted]):
            answer = _answer(row)
            found.setdefault((row["generation"], row["key"]), answer)
            found.setdefault((row["generation"], row["sha256"]), answer)
    return found


def _answer(row: dict[str, Any]) -> ShownAnswer:
    names = ("seed", "temperature", "finish_reason", "output_tokens", "detail", "pixel_share")
    return ShownAnswer(
        **{name: row[name] for name in ("fingerprint", "prompt_tokens", "output_tokens", "prompt_sha256")},
        attempts=tuple(Attempt(**{n: attempt.get(n) for n in names}) for attempt in row["attempts"] or ()),
    )


def _by(
    connection: duckdb.DuckDBPyConnection, table: str, owner: str, order: str, keys: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in fetch_dicts(
        connection, f"SELECT * FROM {table} WHERE key IN {placeholders(keys)} ORDER BY {owner}, {order}", keys
    ):
        found[row[owner]].append(row)
    return found
