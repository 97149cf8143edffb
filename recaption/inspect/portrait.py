"""All about one image, for a terminal: the picture, its texts, flags, the models' answers and what was rejected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from recaption.errors import UserError
from recaption.inspect.facts import samples_of
from recaption.inspect.layout import Layout
from recaption.inspect.look import sample_grid
from recaption.inspect.picture import print_picture
from recaption.inspect.pixels import NotThere, read_image
from recaption.inspect.questions import load
from recaption.inspect.reading import storable
from recaption.inspect.safe import clean
from recaption.inspect.stoppable import fetch

if TYPE_CHECKING:
    import duckdb

_IMAGE = (
    'SELECT key, source_key, shard, "row", status, reason, split, url, width, height, n_texts, sha256 '
    "FROM images WHERE key = ? LIMIT 1"
)
_ANSWERS = (
    "SELECT generation, finish_reason, len(attempts), prompt_tokens, output_tokens, fingerprint, text "
    "FROM answers WHERE key = ? ORDER BY generation, fingerprint"
)
_REJECTS = (
    "SELECT coalesce(generation, 'image'), stage, reason, detail, attempts FROM rejects WHERE key = ? ORDER BY ALL"
)
_NUMBERS = ("#", "weight", "words", "asked", "prompt", "tokens")


def known_key(connection: duckdb.DuckDBPyConnection, given: str) -> str | None:
    """The key of the image that `given` names: its key, or the key that the source has. None where nothing is known."""
    for sql in (
        "SELECT key FROM images WHERE key = $key LIMIT 1",  # tables are sorted by key: found at once
        "SELECT key FROM images WHERE source_key = $key LIMIT 1",
        "SELECT key FROM answers WHERE key = $key LIMIT 1",
        "SELECT key FROM rejects WHERE key = $key LIMIT 1",
    ):
        if found := fetch(connection, sql, {"key": storable(given)}):
            return str(found[0][0])
    return None


def unknown_key(outputs: str, key: str) -> UserError:
    """What to say of a key that `outputs` do not have."""
    return UserError(
        f"{outputs} has no image with the key {clean(key)!r}. Keys: "
        f'recaption inspect OUT "SELECT key, source_key FROM images"'
    )


def print_image(connection: duckdb.DuckDBPyConnection, layout: Layout, key: str, console: Console) -> None:
    """Raises UserError when nothing is known of `key`, which may also be the key that the source has."""
    found = known_key(connection, key)
    if found is None:
        raise unknown_key(layout.given, key)
    key = found
    image = _image(connection, key)
    answers = fetch(connection, _ANSWERS, [key])
    rejects = fetch(connection, _REJECTS, [key])
    console.print(Text(clean(key), style="bold"))
    if image:
        console.print(Text(_described(image), style="dim"))
    _show_picture(connection, layout, key, console)
    samples = samples_of(connection, [key]) if image and image["n_texts"] != 0 else ()
    for sample in samples:
        console.print()
        console.print(sample_grid(sample))
    _section(console, "sub-captions", _flags(connection, key))
    _section(
        console,
        "answers, word for word",
        _answers(answers, {caption.text for sample in samples for caption in sample.captions}),
    )
    _section(console, "rejected", _rejects(rejects))


def _image(connection: duckdb.DuckDBPyConnection, key: str) -> dict[str, Any] | None:
    found = fetch(connection, _IMAGE, [key])
    names = [column[0] for column in connection.description or ()]
    return dict(zip(names, found[0], strict=True)) if found else None


def _described(image: dict[str, Any]) -> str:
    why = f" ({image['reason']})" if image["reason"] else ""
    parts = [f"{image['status']}{why}", image["split"], f"shard {image['shard']}, row {image['row']}"]
    if image["width"]:
        parts.append(f"{image['width']} × {image['height']} pixels")
    if image["n_texts"] is not None:
        parts.append(f"{image['n_texts']} texts to draw")
    if image["source_key"] != image["key"]:
        parts.append(f"{image['source_key']} in the source")
    parts += [f"sha256 {image['sha256'][:12]}…"] if image["sha256"] else []
    parts += [image["url"]] if image["url"] else []
    return " · ".join(clean(part) for part in parts)


def _show_picture(connection: duckdb.DuckDBPyConnection, layout: Layout, key: str, console: Console) -> None:
    found = read_image(connection, layout, key)
    if isinstance(found, NotThere):
        console.print(Text(f"no picture: {clean(str(found))}", style="dim"))
        return
    try:
        print_picture(found, console)
    except ValueError as error:
        console.print(Text(f"the picture cannot be shown: {clean(str(error))}", style="dim"))


def _flags(connection: duckdb.DuckDBPyConnection, key: str) -> Table | None:
    rows = fetch(connection, load("image").sql, {"key": key})
    if not rows:
        return None
    grid = _grid("", "#", "weight", "words", "flags", "")
    for generation, _, idx, text, _, flags, n_words, _, weight, _ in rows:
        grid.add_row(
            Text(clean(generation), style="dim"),
            Text(str(idx + 1), style="dim"),
            Text(f"{weight:.2f}"),
            Text(str(n_words)),
            Text(clean(", ".join(flags)), style="yellow"),
            Text(clean(text), no_wrap=True, overflow="ellipsis"),
        )
    return grid


def _answers(rows: list[tuple[Any, ...]], stored: set[str]) -> Table | None:
    if not rows:
        return None
    grid = _grid("", "ended", "asked", "prompt", "tokens", "fingerprint", "")
    for generation, finish, asked, prompt, output, fingerprint, text in rows:
        said = Text("as stored", style="dim") if text.strip() in stored else Text(clean(text))
        times = str(max(asked or 0, 1))
        names = (Text(clean(generation)), Text(clean(finish)), times, str(prompt), str(output))
        grid.add_row(*names, Text(clean(fingerprint), style="dim"), said)
    return grid


def _rejects(rows: list[tuple[Any, ...]]) -> Table | None:
    if not rows:
        return None
    grid = _grid("", "stage", "reason", "asked", "")
    for generation, stage, reason, detail, attempts in rows:
        red = Text(clean(reason), style="red")
        grid.add_row(Text(clean(generation)), stage, red, str(attempts), Text(clean(detail)))
    return grid


def _grid(*heads: str) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    for head in heads:
        grid.add_column(justify="right" if head in _NUMBERS else "left")
    grid.add_row(*(Text(head, style="dim") for head in heads))
    return grid


def _section(console: Console, title: str, body: Table | None) -> None:
    if body is not None:
        console.print()
        console.print(Text(title, style="bold"))
        console.print(Padding(body, (0, 0, 0, 2), expand=False))
