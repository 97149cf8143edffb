"""Posts JSON to a URL when a run ends, fails or makes no progress.

The body has `text`, which chat services (Slack, Mattermost) show as the message, and `notice`, `detail`, `pipeline`,
`out`, `host` and fields of the notice.
"""

from __future__ import annotations

import os
import socket
import time
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from typing import Any, Final, Literal

import orjson

from recaption.errors import CircuitOpen, ConfigError, Interrupted
from recaption.formatting import duration
from recaption.generate.progress import PassProgress
from recaption.run.monitor.background import Background
from recaption.scrub import Scrubber

Notice = Literal["done", "failed", "breaker", "interrupted", "stalled", "resumed"]
STALL_SECONDS: Final = 900.0
"""Without a new answer or reject for this long, a run that generates counts as stalled."""
ATTEMPTS: Final = 3
TIMEOUT: Final = 5.0  # seconds, for one attempt
END_SECONDS: Final = 16.0  # longest time that the end of a run waits for the last notice
_VARIABLE: Final = "env:"


def address(notify: str | None) -> str | None:
    """The URL of the key `notify` of a pipeline. Raises ConfigError if it names a variable without a URL."""
    if notify is None:
        return None
    if not notify.startswith(_VARIABLE):
        return notify
    name = notify.removeprefix(_VARIABLE)
    url = os.environ.get(name, "")
    if not url.startswith(("http://", "https://")):
        raise ConfigError(
            f"notify: the environment variable {name} has no URL. Set it to one, with http:// or https://"
        )
    return url


def post(url: str, body: bytes) -> str | None:
    """Send a body, in up to ATTEMPTS attempts. Returns why it could not be sent, without the URL; None if it was."""
    problem = None
    for attempt in range(ATTEMPTS):
        try:
            request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=TIMEOUT):
                return None
        except (OSError, ValueError, HTTPException) as error:  # a notice must not end a run
            problem = str(error).replace(url, "notify") or type(error).__name__
        time.sleep(0.2 * 4**attempt)
    return problem


class Notifier:
    """A ProgressListener that sends notices; without a URL it does nothing. No method waits, except `ended`."""

    def __init__(
        self,
        url: str | None,
        *,
        pipeline: str,
        out: str,
        scrub: Scrubber | None = None,
        say: Callable[[str], None] = lambda text: None,
        clock: Callable[[], float] = time.monotonic,
        send: Callable[[str, bytes], str | None] = post,
    ) -> None:
        """`say` is called at the end if the last notice could not be sent."""
        self._url, self._say, self._clock, self._send = url, say, clock, send
        self._scrub = scrub or Scrubber()
        self._problem: str | None = "it takes too long"  # of the last notice
        self._about = {"pipeline": pipeline, "out": out, "host": socket.gethostname()}
        self._background = Background() if url else None
        self._fresh: dict[str, int] = {}  # answers and rejects by model
        self._last = clock()  # when the last of them was stored
        self._stalled = False

    def generating(self, progress: PassProgress) -> None:
        """Send a notice if no answers are stored any more, or if they are stored again."""
        now = self._clock()
        fresh = sum(generation.fresh for generation in progress.generations.values())
        idle = progress.phase != "generating" and not progress.waits_for_gpus and not self._stalled
        moved = self._fresh.get(progress.model) != fresh or idle
        self._fresh[progress.model] = fresh
        if moved:
            if self._stalled:
                self._notify("resumed", f"answers are stored again, after {duration(now - self._last)}")
            self._last, self._stalled = now, False
        elif not self._stalled and now - self._last > STALL_SECONDS:
            self._stalled = True
            what = "no node has enough GPUs for an engine, and " if progress.waits_for_gpus else ""
            what += f"no answer was stored for {duration(now - self._last)}"
            self._notify("stalled", what, answers=self._total)

    def building(self, done: int, total: int) -> None:
        """No notice is sent about a build."""

    def built(self, seconds: float) -> None:
        """No notice is sent about a build."""

    def ended(self, error: BaseException | None, **fields: Any) -> None:
        """Send how the run ended. Waits until the notice is sent, at most END_SECONDS."""
        if self._background is None:
            return
        notice: Notice = "done" if error is None else "failed"
        if isinstance(error, Interrupted | KeyboardInterrupt):
            notice = "interrupted"
        elif isinstance(error, CircuitOpen):
            notice = "breaker"
        what = "done" if error is None else self._scrub.text(str(error).partition("\n")[0] or type(error).__name__)
        self._notify(notice, what, answers=self._total, **fields)
        if not self._background.close(END_SECONDS) or self._problem:
            self._say(f"the last notice could not be sent: {self._problem}. Check notify")

    @property
    def _total(self) -> int:
        return sum(self._fresh.values())

    def _notify(self, notice: Notice, what: str, **fields: Any) -> None:
        if self._background is None or self._url is None:
            return
        url, text = self._url, f"recaption {self._about['pipeline']}: {what} ({self._about['out']})"
        body = orjson.dumps({"text": text, "notice": notice, "detail": what, **self._about, **fields})

        def send() -> None:
            self._problem = self._send(url, body)

        self._background.add(send)
