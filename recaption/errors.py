"""The exceptions of recaption.

ValueError
  `- UserError            the user's input is wrong: what was given, what is allowed, what to do    (exit 2)
       |- ConfigError     a pipeline or a prompt
       `- SourceError     the source as a whole: no file matches, a column is missing
RecaptionError            data or infrastructure failed; has the key and the shard, if known
  |- ImageError           this image cannot be used (has a `reason` of types.Reason)   -> a reject
  |- RequestError         the engine refused this request   -> retried, then a reject
  |    `- RequestTimeout  not answered in time, while other requests were   -> a reject
  |- ShardError           a source shard cannot be read
  |- StoreError           the store failed, after retries                                   (exit 3)
  |- ClusterError         Ray did not start or cannot be reached   (exit 3)
  |    `- ClusterLost     Ray has ended during the run
  |- EngineDead           the engine is gone; its actor exits and is restarted   (exit 3 if it keeps dying)
  |- CircuitOpen          too many recent requests were rejected or degenerate           (exit 1)
  |- BudgetSpent          the output has cost as many GPU hours as allowed               (exit 1)
  |- DatasetError         a dataset on disk contradicts its manifest                       (exit 1)
  `- Interrupted          stopped on request; run it again                                  (exit 75)
KeyboardInterrupt
  `- Abandoned            stopped by Ctrl-C while a thread cannot be stopped           (exit 75)
ImportError
  `- MissingExtra         an optional package is not installed; names the command that installs it

What follows from an exit code: `deploy/slurm.sh` and `deploy/kuberay-run.sh` continue a run, or do not.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Final, TypeVar

from recaption.types import Reason

T = TypeVar("T")


class UserError(ValueError):
    """The user's input is wrong. The message names what was given, what is allowed and what to do."""

    exit_code: ClassVar[int] = 2


class ConfigError(UserError):
    """A pipeline, a prompt or a setting."""


class SourceError(UserError):
    """The source as a whole: no file matches, a column is missing."""


class RecaptionError(Exception):
    """Data or infrastructure failed. `key` and `shard` name the place if it is known."""

    exit_code: ClassVar[int] = 3

    def __init__(self, message: str, *, key: str | None = None, shard: str | None = None) -> None:
        super().__init__(message)
        self.key = key
        self.shard = shard

    def __str__(self) -> str:
        where = ", ".join(f"{name} {value}" for name, value in (("shard", self.shard), ("key", self.key)) if value)
        return f"{super().__str__()} ({where})" if where else super().__str__()

    def __reduce__(self) -> tuple[Any, ...]:  # so that Ray can pickle the keyword-only arguments
        return Exception.__new__, (type(self), *self.args), self.__dict__


class ImageError(RecaptionError):
    """This image cannot be used; becomes a reject with `reason`."""

    def __init__(self, reason: Reason, message: str, *, key: str | None = None, shard: str | None = None) -> None:
        super().__init__(message, key=key, shard=shard)
        self.reason: Reason = reason


class RequestError(RecaptionError):
    """The engine refused one request (too long, malformed) and continues to work."""


class InvalidAnswer(RequestError):
    """The answer is not of the form that the request asks for."""


class RequestTimeout(RequestError):
    """The engine answers other requests, but did not answer this one in time, also when it was sent again.

    It is not retried with other sampling: that would hold one of the engine's places for as long again.
    """


class ShardError(RecaptionError):
    """A source shard cannot be read."""


class StoreError(RecaptionError):
    """The output store failed after retries; what was written before stays valid."""


class EngineDead(RecaptionError):
    """The engine has ended. Its actor is replaced, and unanswered requests are sent again.

    `rows` are the rows of the current chunk that were in the engine, and `keys` their images' keys; None and empty if
    unknown.
    """

    rows: tuple[int, ...] | None = None
    keys: tuple[str, ...] = ()


class CircuitOpen(RecaptionError):
    """Too large a share of recent requests was rejected or degenerate: the run stops instead of wasting days.

    The exit code is 1, not 3: a limit of the pipeline ended the run, so `deploy/` scripts do not repeat it.
    """

    exit_code: ClassVar[int] = 1


class BudgetSpent(RecaptionError):
    """The output has cost as many GPU hours as the pipeline allows."""

    exit_code: ClassVar[int] = 1


class ClusterError(RecaptionError):
    """Ray did not start on this machine, or the cluster at RAY_ADDRESS cannot be reached."""


class ClusterLost(ClusterError):
    """Ray's daemons ended during the run: the cluster accepts no calls any more, not even to stop."""


class DatasetError(RecaptionError):
    """A dataset on disk contradicts its manifest."""

    exit_code: ClassVar[int] = 1


class Interrupted(RecaptionError):
    """Stopped on request; the same command continues."""

    exit_code: ClassVar[int] = 75


class Abandoned(KeyboardInterrupt):
    """Ctrl-C was pressed again while a thread did not stop. Only the end of the process stops that thread."""


_FIXES = {
    errno.ENOSPC: "Free some space",
    errno.EDQUOT: "Free some space of your quota",
    errno.EROFS: "Mount it for writing",
}
DISK_ERRORS = frozenset({*_FIXES, errno.EIO})
"""Errors of the disk, as opposed to errors of a path that the user gave."""


def in_words(error: Exception) -> str:
    """What failed, and the fix for a full disk, a quota and a read-only mount."""
    if not isinstance(error, OSError):
        return f"{type(error).__name__}: {error}"
    todo = _FIXES.get(error.errno or 0)
    return f"{error.strerror or error}" + (f". {todo}, then run the same command again" if todo else "")


class MissingExtra(ImportError):
    """An optional package is not installed."""

    exit_code: ClassVar[int] = 2

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed. Install it with: pip install 'recaption[{extra}]'")
        self._given = package, extra

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._given


FAULTS: Final = (UserError, MissingExtra, RecaptionError)
"""Exceptions that are reported as faults of the input."""


class Faults:
    """Collects the errors of several checks, each message once, so that all are reported at once."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []

    def add(self, errors: Iterable[Exception]) -> None:
        for error in errors:
            if str(error) not in map(str, self.errors):
                self.errors.append(error)

    def tried(self, check: Callable[..., T], *arguments: Any) -> T | None:
        """The result of a check. None if it raises one of FAULTS, which is added."""
        try:
            return check(*arguments)
        except FAULTS as error:
            self.add([error])
            return None
