"""Removes secrets and image bytes from texts before they are logged.

Errors quote requests, requests have headers and signed URLs, and the code that raises an error does not know where it
will be stored. So every text is scrubbed, regardless of its origin.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import orjson

HIDDEN: Final = "***"
_SHORTEST = 8  # characters of an environment value that counts as a secret: a shorter one may be any word

_SECRET_NAME = r"(?:secret|passw(?:or)?d|token|credentials?|api[-_]?key|access[-_]?key(?:[-_]?id)?|authorization)"
_SECRET_VARIABLE = re.compile(rf"(?:{_SECRET_NAME}|key|auth)(?:_(?:id|value|base64|\d+))?$", re.IGNORECASE)
# Query parameters that sign a URL or grant access to it: whole names, names whose value must look like a signature, and
# ends of names such as OSSAccessKeyId.
_WHOLE = r"(?:s?sig|auth|pwd|otp|zak|rlkey|hdn(?:ts|ea|tl)|q-ak|(?:PHP)?SESSID|key(?=(?:=|%(?:25)*3D)[\w%-]{8}))"
_SHORT = r"(?:sign|hm|oh|_nc_ohc|s|t|st|sid|md5|hash|code|verify|ticket)(?=(?:=|%(?:25)*3D)[\w%-]{20})"
_END = (
    r"(?:signature|token|secret|credentials?|passw(?:or)?d|hmac|jwt|authorization|auth[-_]?key|session(?:[-_]?id)?|"
    r"api[-_]?key|access[-_]?key(?:[-_]?id)?|access[-_]?id|key[-_]?pair[-_]?id|policy|temp_?auth|_token__|"
    r"[-_.](?:sig|sign|auth|key))"
)
_ENCODED = "%(?:25)*"  # a percent sign, however often it was encoded

_Patterns = tuple[tuple[re.Pattern[str], str], ...]


def _compiled(*pairs: tuple[str, str]) -> _Patterns:
    return tuple((re.compile(pattern), replacement) for pattern, replacement in pairs)


# A data URL: of an image, or of anything.
_DATA_URL: Final = _compiled((r"(?i)(data:[\w.+-]*/?[\w.+-]*;base64,)[A-Za-z0-9+/=_%-]*", rf"\1{HIDDEN}"))
_IN_URLS: Final = _compiled(
    # user:password@host
    (r"(?i)([a-z][a-z0-9+.-]{0,30}://)[^/\s@?#]+@", rf"\1{HIDDEN}@"),
    # Signed URLs: of S3, Google Cloud Storage, Azure, CloudFront, …; also of a URL that is encoded in a URL.
    (
        rf"(?i)((?:[?&;#]|\\u0026|{_ENCODED}(?:3F|26|23|3B))(?:amp;)?(?:{_WHOLE}|{_SHORT}|[\w.~-]*?{_END})(?:=|{_ENCODED}3D))"
        rf"(?:(?!{_ENCODED}26|\\u0026)[^&\s\"'<>])+",
        rf"\1{HIDDEN}",
    ),
    # In the path: Akamai and Bunny (token=…), Cloudinary (s--…--), Telegram (bot<id>:…), Oracle (/p/…/n/).
    (r"(?i)(/(?:[\w-]{0,20}token|hdn(?:ts|ea|tl))=)[^/\s\"'<>]+", rf"\1{HIDDEN}"),
    (r"(/s--)[\w-]{8}(?:[\w-]{24})?(?=--/)", rf"\1{HIDDEN}"),
    (r"(/bot\d{6,12}:)[\w-]{30,}", rf"\1{HIDDEN}"),
    (r"(/p/)[\w-]{20,}(?=/n/)", rf"\1{HIDDEN}"),
)
_BY_FORM: Final = _compiled(
    # Keys that are recognised by their form: AWS, GitHub, Slack, Google, JSON Web Tokens.
    (r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}", HIDDEN),
    (r"\b(?:gh[pousr]|github_pat)_\w{16,}", HIDDEN),
    (r"\bxox[abeoprs]-[\w-]{8,}", HIDDEN),
    (r"\bAIza[\w-]{30,}", HIDDEN),
    (r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*", HIDDEN),
)
_PATTERNS: Final = (
    *_DATA_URL,
    # A run of base64 that is too long to be a word: image bytes.
    *_compiled((r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{256,}=*", HIDDEN)),
    *_IN_URLS,
    *_compiled(
        (r"(?i)(\bX-(?:Amz|Goog)-(?:Signature|Credential|Security-Token)(?:=|%3D))[^&\s\"'<>]+", rf"\1{HIDDEN}"),
        (r"(?i)(\b(?:Bearer|Basic)\s+)[\w.~+/=-]{6,}", rf"\1{HIDDEN}"),
        # "api_key": "…", password=…, Authorization: …
        (
            rf"(?i)((?<![\w-])[\w-]{{0,40}}?{_SECRET_NAME}\b[\"']?\s*[:=]\s*[\"']?)"
            r"(?!(?:Bearer|Basic)\b)[^\s\"',;&)}]+",
            rf"\1{HIDDEN}",
        ),
        # OpenAI, Hugging Face
        (r"\bsk-[\w-]{8,}", HIDDEN),
        (r"\bhf_[A-Za-z0-9]{8,}", HIDDEN),
    ),
    *_BY_FORM,
)
# With a scheme, relative to one (//host/…), escaped in JSON (https:\/\/…), or a bare host with a path and a query.
_URL = re.compile(
    r"(?i)(?:\b[a-z][a-z0-9+.-]{0,30}:(?://|\\/\\/)|\bdata:|(?<![\w:/])//(?=[\w-])"
    r"|(?<![\w.@/-])[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,8}/(?=[^\s\"'<>?]{0,500}\?))[^\s\"'<>]+"
)


_MAY_GRANT = re.compile(r"[@=%]|/s--|/bot\d|/p/|A[KS]IA|gh[pousr]_|github_pat_|xox|AIza|eyJ")
"""Every URL that a pattern matches has one of these, or `base64,`. Most URLs have none; searching for all patterns
takes 16 µs."""


def public_url(url: str) -> str:
    """A URL as it may be published: without passwords, signatures and tokens. Path and other parameters stay.

    The environment does not count, so that builds have the same bytes everywhere.
    """
    if not _MAY_GRANT.search(url) and "base64," not in url.lower():
        return url
    for pattern, replacement in (*_DATA_URL, *_IN_URLS, *_BY_FORM):
        url = pattern.sub(replacement, url)
    return url


def public_text(text: str) -> str:
    """A text with its URLs as they may be published."""
    if "/" not in text and "data:" not in text.lower():
        return text
    return _URL.sub(lambda found: public_url(found[0]), text)


class Scrubber:
    """Calling it with a text returns the text without secrets; with a list or a mapping, without any in its texts."""

    def __init__(self, environment: Mapping[str, str] | None = None, names: tuple[str, ...] = ()) -> None:
        """Hides the values of the variables in `names`, and of all variables that are named like secrets."""
        given = os.environ if environment is None else environment
        values = {
            value.strip()
            for name, value in given.items()
            if (name in names or _SECRET_VARIABLE.search(name)) and len(value.strip()) >= _SHORTEST
        }
        forms = values | {quote(value, safe="") for value in values}
        self._known = sorted(forms, key=len, reverse=True)  # the longest first: one may contain another

    def __call__(self, value: Any) -> Any:
        """Numbers and None are unchanged. Bytes are replaced by their count, anything else by its scrubbed text."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping):
            return {str(name): self(each) for name, each in value.items()}
        if isinstance(value, list | tuple):
            return [self(each) for each in value]
        if isinstance(value, bytes | bytearray | memoryview):
            return f"{len(value)} bytes"
        return self.text(str(value))

    def text(self, text: str) -> str:
        for secret in self._known:
            text = text.replace(secret, HIDDEN)
            # If the text was cut, the secret may be cut, too.
            for length in range(min(len(secret), len(text)), _SHORTEST - 1, -1):
                if text.endswith(secret[:length]):
                    text = text[:-length] + HIDDEN
                    break
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return text


def json_line(value: Any) -> bytes:
    """JSON in one line, line end included: control characters are escaped, lone surrogates become `?`."""
    try:
        return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # orjson refuses lone surrogates
        return orjson.dumps(_encodable(value), option=orjson.OPT_APPEND_NEWLINE)


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_encodable(name): _encodable(each) for name, each in value.items()}
    return [_encodable(each) for each in value] if isinstance(value, list | tuple) else value
