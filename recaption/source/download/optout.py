"""Does the server say that the image is not to be used for machine learning?

`X-Robots-Tag: noai`, `noimageai` (DeviantArt's proposal, which img2dataset made common), `noindex`, `noimageindex`, for
everyone or for our token (`X-Robots-Tag: mybot: noai`), and `tdm-reservation: 1` (W3C TDM Reservation Protocol).

img2dataset checks the first header itself, but takes what stands before the first colon for a robot's name: it misses
`noai, max-snippet:10`. So it is checked here as well, on every response on the way, redirects included.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

DIRECTIVES: Final = ("noai", "noimageai", "noindex", "noimageindex")
_VALUED: Final = {"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"}  # `name: value`
_AGENT: Final = re.compile(r"\*|[a-z][a-z0-9_./-]*")


def opted_out(robots_tags: Iterable[str], tdm_reservation: str | None, token: str | None) -> str | None:
    """The header that opts out, or None. `robots_tags`: the values of all X-Robots-Tag headers."""
    if (tdm_reservation or "").strip() == "1":
        return "tdm-reservation: 1"
    ours = {None, "*", token.strip().lower() if token else None}
    for value in robots_tags:
        agent: str | None = None  # a name holds for what follows it in this header
        for item in value.lower().split(","):
            name, colon, rest = (part.strip() for part in item.partition(":"))
            if colon and name in _VALUED:
                continue
            if colon and _AGENT.fullmatch(name):
                agent = name
            directive = rest if colon else name
            if agent in ours and directive in DIRECTIVES:
                return f"X-Robots-Tag: {value}"
    return None
