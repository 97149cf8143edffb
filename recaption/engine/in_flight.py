"""The requests that an engine is working on: the same life cycle for all engines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from recaption.engine.base import Completion
from recaption.errors import EngineDead, Interrupted, RecaptionError

_Work = TypeVar("_Work")


class InFlight:
    """Refuses requests before `open` and after `refuse` or `stop`; cancels those in flight when it stops."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Future[Completion]] = set()
        self._refusal: RecaptionError | None = EngineDead("the engine is not started")

    def __len__(self) -> int:
        return len(self._tasks)

    def open(self) -> None:
        """Accept requests: the engine has started."""
        self._refusal = None

    async def run(self, generate: Callable[[_Work], Awaitable[Completion]], work: _Work) -> Completion:
        """`await generate(work)`, cancelled when the caller is.

        Raises what `generate` raises. A request that is refused or cancelled raises the error given to `refuse` or
        `stop`.
        """
        if self._refusal is not None:
            raise _copy(self._refusal)
        task = asyncio.ensure_future(generate(work))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()  # no effect unless the caller was cancelled
        if task.cancelled():
            raise _copy(self._refusal or Interrupted("the engine was stopped"))
        return task.result()

    def refuse(self, why: RecaptionError) -> None:
        """Accept no more requests; those in flight continue. A later error does not replace the first one."""
        self._refusal = self._refusal or why

    def stop(self, why: RecaptionError | None = None) -> None:
        """Accept no more requests and cancel those in flight. By default they raise Interrupted."""
        self._refusal = why or Interrupted("the engine was stopped")
        for task in self._tasks:
            task.cancel()

    async def ended(self) -> None:
        """Wait until no request is in flight."""
        await asyncio.gather(*list(self._tasks), return_exceptions=True)

    def _ended(self, task: asyncio.Future[Completion]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not warn when the caller was cancelled


def _copy(error: RecaptionError) -> RecaptionError:
    """A new error for each caller: an error that many tasks raise would collect the tracebacks of all."""
    return type(error)(*error.args)
