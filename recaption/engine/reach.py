"""Whether anybody listens at a server's address: asked once, before engines are started."""

from __future__ import annotations

import socket
import time
import urllib.request
from typing import Final
from urllib.parse import urlsplit

from recaption.errors import EngineDead

TRIES: Final = 3
PAUSE: Final = 0.5  # s
TIMEOUT: Final = 3.0  # s, of one try


def check_listening(base_url: str) -> None:
    """Raises EngineDead when no connection to the host and port of `base_url` can be made.

    Behind a proxy (HTTP_PROXY, HTTPS_PROXY) it is the proxy that connects, so nothing is checked.
    """
    parts = urlsplit(base_url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(parts.netloc):
        return
    for left in reversed(range(TRIES)):
        try:
            socket.create_connection((host, port), TIMEOUT).close()
            return
        except OSError as error:
            if left == 0:
                raise EngineDead(
                    f"no server listens at {host}:{port} ({error.strerror or error}). Start the server of "
                    f"engine_args.base_url {base_url}, or name another address there"
                ) from None
            time.sleep(PAUSE)
