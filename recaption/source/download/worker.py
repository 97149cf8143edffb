"""The process in which img2dataset runs: `python -m recaption.source.download.worker RUN.JSON`.

Not for import elsewhere: it brings img2dataset with opencv, albumentations, pandas and wandb, and it is the only module
that knows img2dataset's insides: two names of `img2dataset.main` are replaced, its downloader (so that every worker
process installs our opener) and its logger process (which would read the same statistics as we do).
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import signal
import sys
import threading
import time
import urllib.request
from pathlib import Path
from types import ModuleType
from typing import Any


class _Late(ModuleType):
    """Stands for a module until something of it is used.

    img2dataset imports wandb to log with it and albumentations to resize with it. We do not log, and keep images as
    they are: this halves the seconds that each of its processes takes to start.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


for _name in ("torch", "ray"):  # parts of img2dataset's dependencies import these where they find them; no use is made
    sys.modules.setdefault(_name, None)  # type: ignore[arg-type]
for _name in ("wandb", "albumentations"):
    sys.modules.setdefault(_name, _Late(_name))

from img2dataset.downloader import Downloader  # noqa: E402

from recaption.source.download.fetch import Limits, Opener  # noqa: E402

i2d: Any = importlib.import_module("img2dataset.main")  # `import … as` gives the function main of the package


class BoundedDownloader(Downloader):
    """img2dataset's downloader, with our opener installed in the process that it runs in."""

    def __init__(self, limits: Limits, parent: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.limits, self.parent = limits, parent

    def __call__(self, row: Any) -> Any:
        _install(self.limits, self.parent)
        return super().__call__(row)


class NoLogger:
    """In place of img2dataset's logger process."""

    done_shards: frozenset[int] = frozenset()

    def __init__(self, *_: Any) -> None: ...
    def start(self) -> None: ...
    def join(self) -> None: ...
    def terminate(self) -> None: ...


@functools.cache  # once per process
def _install(limits: Limits, parent: int) -> None:
    urllib.request.install_opener(Opener(limits))
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()


def _die_with(parent: int) -> None:
    """Leave nothing running when the process that asked for the download is killed."""
    while True:
        time.sleep(1)
        try:
            os.kill(parent, 0)
        except OSError:
            os.killpg(0, signal.SIGKILL)  # we lead a process group of our own


def main(run: str) -> None:
    settings = json.loads(Path(run).read_text("utf-8"))
    parent = settings["parent"]
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    i2d.Downloader = functools.partial(BoundedDownloader, Limits(**settings["limits"]), parent)
    i2d.LoggerProcess = NoLogger
    i2d.download(**settings["img2dataset"])


if __name__ == "__main__":
    from recaption.source.download import worker  # what is pickled must not be called __main__

    worker.main(sys.argv[1])
