from __future__ import annotations

import base64
import io
import re

import pytest
from PIL import Image
from rich.console import Console

from recaption.inspect.picture import print_picture, protocol

KITTY = {"TERM": "xterm-kitty"}
ITERM = {"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}


def console(*, terminal: bool = True, colours: str = "truecolor") -> Console:
    return Console(file=io.StringIO(), width=60, force_terminal=terminal, color_system=colours)  # type: ignore[arg-type]


def picture(width: int = 64, height: int = 32) -> bytes:
    sink = io.BytesIO()
    made = Image.new("RGB", (width, height), (200, 30, 30))
    made.paste((30, 30, 200), (0, height // 2, width, height))
    made.save(sink, "PNG")
    return sink.getvalue()


def printed(data: bytes, environment: dict[str, str], **how: str) -> str:
    out = console(**how)  # type: ignore[arg-type]
    assert print_picture(data, out, environment)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def test_terminals_are_told_apart() -> None:
    assert protocol(console(), KITTY) == "kitty"
    assert protocol(console(), ITERM) == "iterm"
    assert protocol(console(), {"TERM": "xterm-256color"}) == "blocks"
    assert protocol(console(), KITTY | {"TMUX": "/tmp/x"}) == "blocks"  # it would swallow the picture
    assert protocol(console(colours="standard"), {"TERM": "xterm"}) is None
    assert protocol(console(terminal=False), KITTY) is None
    assert not print_picture(picture(), console(terminal=False), KITTY)


def test_kitty_gets_the_picture_in_chunks() -> None:
    sink = io.BytesIO()
    Image.effect_noise((300, 200), 90).convert("RGB").save(sink, "PNG")
    chunks = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", printed(sink.getvalue(), KITTY))
    assert len(chunks) > 2 and all(len(data) <= 4096 for _, data in chunks)
    assert [head[-3:] for head, _ in chunks] == ["m=1"] * (len(chunks) - 1) + ["m=0"]
    shown = Image.open(io.BytesIO(base64.b64decode("".join(data for _, data in chunks))))
    assert shown.size == (300, 200)


def test_iterm_gets_a_file() -> None:
    found = re.fullmatch(r"\x1b\]1337;File=inline=1;size=(\d+);[^:]*:([^\x07]*)\x07\n", printed(picture(), ITERM))
    assert found and len(base64.b64decode(found[2])) == int(found[1])


def test_half_blocks_have_two_pixels_each() -> None:
    lines = printed(picture(), {"TERM": "xterm-256color"}).splitlines()
    assert len(lines) == 10 and all(line.count("▀") == 40 for line in lines)
    assert "38;2;200;30;30" in lines[0] and "38;2;30;30;200" in lines[-1]


@pytest.mark.parametrize("data", [b"", b"not an image", picture()[:40]])
def test_what_is_no_picture(data: bytes) -> None:
    with pytest.raises(ValueError):
        print_picture(data, console(), KITTY)
