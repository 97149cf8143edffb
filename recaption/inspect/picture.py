"""Pictures in terminals that can show them: kitty's protocol, iTerm2's, or two pixels a character in true colour.

https://sw.kovidgoyal.net/kitty/graphics-protocol/ and https://iterm2.com/documentation-images.html
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.text import Text

from recaption.errors import ImageError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from rich.console import Console

_PIXELS = 480  # of the longer side of what is sent
_CELLS = 40  # width of a picture
_CHUNK = 4096  # bytes of base64 that kitty takes at a time


def print_picture(data: bytes, console: Console, environment: Mapping[str, str] = os.environ) -> bool:
    """Show an image file's bytes if the terminal can; whether it was shown. Raises ValueError if they are no image."""
    how = protocol(console, environment)
    if how is None:
        return False
    picture = _opened(data)
    width = max(2, min(_CELLS, console.width - 2))
    if how == "blocks":
        console.print(_blocks(picture, width))
        return True
    png = io.BytesIO()
    picture.thumbnail((_PIXELS, _PIXELS))
    picture.save(png, "PNG")
    console.file.write((_kitty if how == "kitty" else _iterm)(png.getvalue(), width) + "\n")
    return True


def protocol(console: Console, environment: Mapping[str, str]) -> str | None:
    """ "kitty", "iterm", "blocks", or None where the terminal shows no pictures."""
    if not console.is_terminal or console.is_dumb_terminal:
        return None
    program, term = environment.get("TERM_PROGRAM", ""), environment.get("TERM", "")
    if "TMUX" not in environment and not term.startswith("screen"):  # they swallow what they do not know
        if program in ("iTerm.app", "WezTerm"):
            return "iterm"
        if "KITTY_WINDOW_ID" in environment or "kitty" in term or program == "ghostty" or "ghostty" in term:
            return "kitty"
    return "blocks" if console.color_system == "truecolor" else None


def _opened(data: bytes) -> Picture:
    from recaption.decode import check_header, decode
    from recaption.types import ImageLimits

    limits = ImageLimits(max_pixels=100_000_000)  # 300 MB when decoded
    try:
        orientation = check_header(data, limits).orientation
        return decode(data, limits, max_pixels=_PIXELS**2, orientation=orientation)
    except ImageError as error:
        raise ValueError(f"{error.reason}: {error.args[0]}") from error


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


def _blocks(picture: Picture, cells: int) -> Text:
    """Upper half blocks: the colour of the text is the upper pixel's, that of the ground the lower one's."""
    height = max(2, round(cells * picture.height / picture.width / 2) * 2)
    height = min(height, 2 * cells)
    small = picture.resize((cells, height)).tobytes()
    rows = [small[at : at + 3 * cells] for at in range(0, len(small), 3 * cells)]
    text = Text(no_wrap=True)
    for number, (upper, lower) in enumerate(zip(rows[::2], rows[1::2], strict=True)):
        text.append("\n" if number else "")
        for x in range(0, 3 * cells, 3):
            text.append(
                "▀", f"rgb({upper[x]},{upper[x + 1]},{upper[x + 2]}) on rgb({lower[x]},{lower[x + 1]},{lower[x + 2]})"
            )
    return text
