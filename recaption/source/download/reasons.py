"""Why a URL gave no image: a closed list, and which of the reasons are worth a second try.

img2dataset keeps a failure only as text. What the fetcher raises therefore reads `<reason>: <detail>`, and `split`
takes it apart again.
"""

from __future__ import annotations

from typing import Final

TRANSIENT: Final = frozenset(
    {
        "timeout",  # connect, no progress, or too long in all
        "connection",  # refused, reset, unreachable, broken TLS, name server out of order
        "rate_limited",  # 429
        "server_error",  # 5xx, 408, 425
        "truncated",  # fewer bytes than announced, or an image that ends too early
        "lost",  # img2dataset left no record of the row
    }
)
PERMANENT: Final = frozenset(
    {
        "not_found",  # 404, 410
        "forbidden",  # 401, 402, 403, 407, 451
        "http_error",  # any other status that is no success
        "redirect",  # a loop, too many, or to something that is not http(s)
        "bad_url",  # empty, malformed, not http(s)
        "unknown_host",  # there is no such name
        "tls",  # the certificate is not valid
        "opted_out",  # the server says that the image is not to be used for this
        "not_an_image",  # whatever its content type says
        "too_many_pixels",  # a decompression bomb
        "too_large",  # more bytes than max_bytes
    }
)
REASONS: Final = TRANSIENT | PERMANENT


class Failure(Exception):
    """This URL gave no image. `str()` is `<reason>: <detail>`."""

    def __init__(self, reason: str, detail: str) -> None:
        assert reason in REASONS, reason
        super().__init__(f"{reason}: {' '.join(detail.split())[:300]}")


def split(status: str, message: str | None) -> tuple[str, str]:
    """(reason, detail) of a failed row of img2dataset's table, from its `status` and `error_message`."""
    reason, colon, detail = (message or "").partition(": ")
    if colon and reason in REASONS:
        return reason, detail
    if status == "failed_to_resize":
        return "not_an_image", message or ""
    # Everything behind the opener is ours and names its reason; before it there is only urllib's Request(url)
    return "bad_url", message or "no URL"
