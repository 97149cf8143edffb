"""One image on a terminal: the image, its texts, flags, answers and rejects.

Terminals show images by kitty's protocol (https://sw.kovidgoyal.net/kitty/graphics-protocol/), iTerm2's
(https://iterm2.com/documentation-images.html), or with two pixels per character in true colour.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from recaption.errors import ImageError, UserError
from recaption.formatting import printable
from recaption.inspect.images import ImageMissing, open_image, read_image
from recaption.inspect.overview import sample_grid
from recaption.inspect.paths import OutputPaths
from recaption.inspect.questions import load
from recaption.inspect.sql import Row, fetch, fetch_rows, has_view
from recaption.inspect.statements import storable
from recaption.inspect.statistics import samples_of
from recaption.inspect.terminal import grid, section

if TYPE_CHECKING:
    import duckdb
    from PIL.Image import Image as PillowImage
    from rich.console import Console

_IMAGE = (
    'SELECT key, source_key, shard, "row", status, reason, split, url, width, height, n_texts, sha256 '
    "FROM images WHERE key = ? LIMIT 1"
)
_ANSWERS = (
    "SELECT concat_ws(' ', generation, unit), finish_reason, len(attempts), prompt_tokens, output_tokens, fingerprint, "
    "text FROM answers WHERE key = ? ORDER BY generation, fingerprint, unit"
)
_REJECTS = (
    "SELECT concat_ws(' ', coalesce(generation, 'image'), unit), stage, reason, detail, attempts FROM rejects "
    "WHERE key = ? ORDER BY ALL"
)

_P_TRUE = "SELECT sub_id, avg(p_true) FROM verifications WHERE key = ? GROUP BY sub_id"
_PIXELS = 480  # longer side of the image that is sent
_CELLS = 40  # width of an image in characters
_CHUNK = 4096  # bytes of base64 in one escape sequence of kitty


def known_key(connection: duckdb.DuckDBPyConnection, given: str) -> str | None:
    """The image's key for `given`, a key of the dataset or of the source. None for an unknown key."""
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
    """The error for a key that `outputs` do not have."""
    return UserError(
        f"{outputs} has no image with the key {printable(key)!r}. Keys: "
        f'recaption inspect OUT "SELECT key, source_key FROM images"'
    )


def print_image(connection: duckdb.DuckDBPyConnection, output: OutputPaths, key: str, console: Console) -> None:
    """Print the page of an image, given by its key or its key in the source. Raises UserError for an unknown key."""
    found = known_key(connection, key)
    if found is None:
        raise unknown_key(output.given, key)
    key = found
    image = next(iter(fetch_rows(connection, _IMAGE, [key])), None)
    answers = fetch(connection, _ANSWERS, [key])
    rejects = fetch(connection, _REJECTS, [key])
    console.print(Text(printable(key), style="bold"))
    if image:
        console.print(Text(_described(image), style="dim"))
    _show_image(connection, output, key, console)
    samples = samples_of(connection, [key]) if image and image.n_texts != 0 else ()
    for sample in samples:
        console.print()
        console.print(sample_grid(sample))
    section(console, "sub-captions", _flags(connection, key))
    section(
        console,
        "answers as the model gave them",
        _answers(answers, {caption.text for sample in samples for caption in sample.captions}),
    )
    section(console, "rejected", _rejects(rejects))


def _described(image: Row) -> str:
    why = f" ({image.reason})" if image.reason else ""
    parts = [f"{image.status}{why}", image.split, f"shard {image.shard}, row {image.row}"]
    if image.width:
        parts.append(f"{image.width} × {image.height} pixels")
    if image.n_texts is not None:
        parts.append(f"{image.n_texts} texts to draw")
    if image.source_key != image.key:
        parts.append(f"{image.source_key} in the source")
    parts += [f"sha256 {image.sha256[:12]}…"] if image.sha256 else []
    parts += [image.url] if image.url else []
    return " · ".join(printable(part) for part in parts)


def _show_image(connection: duckdb.DuckDBPyConnection, output: OutputPaths, key: str, console: Console) -> None:
    found = read_image(connection, output, key)
    if isinstance(found, ImageMissing):
        console.print(Text(f"no image: {printable(str(found))}", style="dim"))
        return
    try:
        print_terminal_image(found, console)
    except ImageError as error:
        why = printable(f"{error.reason}: {error.args[0]}")
        console.print(Text(f"the image cannot be shown: {why}", style="dim"))


def _flags(connection: duckdb.DuckDBPyConnection, key: str) -> Table:
    rows = fetch(connection, load("image").sql, {"key": key})
    p_true = dict(fetch(connection, _P_TRUE, [key])) if has_view(connection, "verifications") else {}
    verified = ("p_true",) if p_true else ()
    table = grid("", "#", *verified, "weight", "words", "flags", "", right=range(1, 4 + len(verified)))
    for generation, _, idx, text, _, flags, n_words, _, weight, sub_id in rows:
        supported = p_true.get(sub_id)
        shown = "" if supported is None else f"{supported:.2f}"
        cell = Text(shown, style="red" if supported is not None and supported < 0.5 else "")
        table.add_row(
            Text(printable(generation), style="dim"),
            Text(str(idx + 1), style="dim"),
            *(cell for _ in verified),
            Text(f"{weight:.2f}"),
            Text(str(n_words)),
            Text(printable(", ".join(flags)), style="yellow"),
            Text(printable(text), no_wrap=True, overflow="ellipsis"),
        )
    return table


def _answers(rows: list[tuple[Any, ...]], stored: set[str]) -> Table:
    table = grid("", "finish", "attempts", "prompt", "tokens", "fingerprint", "", right=(2, 3, 4))
    for generation, finish, attempts, prompt, output, fingerprint, text in rows:
        shown = Text("as in the caption", style="dim") if text.strip() in stored else Text(printable(text))
        times = str(max(attempts or 0, 1))
        names = (Text(printable(generation)), Text(printable(finish)), times, str(prompt), str(output))
        table.add_row(*names, Text(printable(fingerprint), style="dim"), shown)
    return table


def _rejects(rows: list[tuple[Any, ...]]) -> Table:
    table = grid("", "stage", "reason", "attempts", "", right=(3,))
    for generation, stage, reason, detail, attempts in rows:
        red = Text(printable(reason), style="red")
        table.add_row(Text(printable(generation)), stage, red, str(attempts), Text(printable(detail)))
    return table


def print_terminal_image(data: bytes, console: Console, environment: Mapping[str, str] = os.environ) -> bool:
    """Print an image file if the terminal can show images; return whether it could. Raises ImageError."""
    how = protocol(console, environment)
    if how is None:
        return False
    image = open_image(data, max_pixels=_PIXELS**2)
    width = max(2, min(_CELLS, console.width - 2))
    if how == "blocks":
        console.print(_blocks(image, width))
        return True
    png = io.BytesIO()
    image.thumbnail((_PIXELS, _PIXELS))
    image.save(png, "PNG")
    console.file.write((_kitty if how == "kitty" else _iterm)(png.getvalue(), width) + "\n")
    return True


def protocol(console: Console, environment: Mapping[str, str]) -> str | None:
    """ "kitty", "iterm", "blocks", or None if the terminal shows no images."""
    if not console.is_terminal or console.is_dumb_terminal:
        return None
    program, term = environment.get("TERM_PROGRAM", ""), environment.get("TERM", "")
    if "TMUX" not in environment and not term.startswith("screen"):  # they drop unknown escape sequences
        if program in ("iTerm.app", "WezTerm"):
            return "iterm"
        if "KITTY_WINDOW_ID" in environment or "kitty" in term or program == "ghostty" or "ghostty" in term:
            return "kitty"
    return "blocks" if console.color_system == "truecolor" else None


def _kitty(png: bytes, cells: int) -> str:
    text = base64.standard_b64encode(png).decode("ascii")
    chunks = [text[at : at + _CHUNK] for at in range(0, len(text), _CHUNK)]
    parts = []
    for number, chunk in enumerate(chunks):
        head = f"a=T,f=100,q=2,c={cells}," if number == 0 else ""
        parts.append(f"\x1b_G{head}m={int(number < len(chunks) - 1)};{chunk}\x1b\\")
    return "".join(parts)


def _iterm(png: bytes, cells: int) -> str:
    text = base64.standard_b64encode(png).decode("ascii")
    return f"\x1b]1337;File=inline=1;size={len(png)};width={cells};preserveAspectRatio=1:{text}\x07"


def _blocks(image: PillowImage, cells: int) -> Text:
    """Upper half blocks: the foreground has the colour of the upper pixel, the background that of the lower one."""
    height = max(2, round(cells * image.height / image.width / 2) * 2)
    height = min(height, 2 * cells)
    small = image.resize((cells, height)).tobytes()
    rows = [small[at : at + 3 * cells] for at in range(0, len(small), 3 * cells)]
    text = Text(no_wrap=True)
    for number, (upper, lower) in enumerate(zip(rows[::2], rows[1::2], strict=True)):
        text.append("\n" if number else "")
        for x in range(0, 3 * cells, 3):
            text.append(
                "▀", f"rgb({upper[x]},{upper[x + 1]},{upper[x + 2]}) on rgb({lower[x]},{lower[x + 1]},{lower[x + 2]})"
            )
    return text
