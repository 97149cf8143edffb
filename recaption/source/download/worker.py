"""The process in which img2dataset runs: `python -m recaption.source.download.worker` (started by `passes`).

img2dataset starts its workers by spawning, which imports this module in each of them: all use the same opener.
The environment variable RECAPTION_DOWNLOAD holds the checks and img2dataset's arguments as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import urllib.request

from recaption.source.download.opener import build


def _end_with_parent() -> None:
    """Standard input ends when recaption ends, however it ends. Then end this process group."""
    os.read(0, 1)  # not sys.stdin: its lock would be held at the end of the interpreter
    os.killpg(0, signal.SIGKILL)


if __name__ in ("__main__", "__mp_main__"):
    settings = json.loads(os.environ["RECAPTION_DOWNLOAD"])
    urllib.request.install_opener(build(**settings["checks"]))

if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from img2dataset import download

    download(**settings["img2dataset"])
