"""`recaption inspect OUT --open`: the page of the report over a whole build, served on this machine only."""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text

from recaption.errors import UserError
from recaption.formatting import printable
from recaption.inspect.paths import find
from recaption.inspect.viewer.limits import Limits
from recaption.inspect.viewer.pages import Pages
from recaption.inspect.viewer.server import HOST, Server

__all__ = ["Limits", "Pages", "Server", "serve"]


def serve(path: str, console: Console, *, port: int = 0) -> None:
    """Serve the page of the build at `path` until Ctrl-C, and open it in a browser if one is available.

    `port` 0 is any free port. The URL has a token: requests without it are refused. Raises UserError without a build
    and for a port that cannot be used, and whatever `connect` raises.
    """
    with Pages(find(path), Limits()) as pages:
        try:
            server = Server(pages, token=secrets.token_urlsafe(24), port=port)
        except OSError as error:
            raise UserError(
                f"cannot serve at {HOST}:{port}: {error.strerror}. Give another --port, or none for any free one"
            ) from error
        with server:
            console.print(Text(f"Serving {printable(path)} to this machine. Ctrl-C ends it."))
            console.print(Text(server.url), soft_wrap=True)
            with _page_that_opens(server.url) as page:
                if _has_browser():
                    webbrowser.open(page)
                try:
                    server.serve_forever()
                except KeyboardInterrupt:
                    console.print()


@contextmanager
def _page_that_opens(url: str) -> Iterator[str]:
    """The URL of a file that leads to `url`. Other users can read a browser's command, but not this file."""
    with tempfile.NamedTemporaryFile("w", suffix=".html") as page:
        page.write(f'<meta http-equiv="refresh" content="0;url={url}">')
        page.flush()
        yield Path(page.name).as_uri()


def _has_browser() -> bool:
    """Whether there is a graphical session: in others, `webbrowser` starts a browser within the terminal."""
    return sys.platform != "linux" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
