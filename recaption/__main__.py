"""`python -m recaption` and the script `recaption`: the command line as a process.

Imports nothing heavy on its own: Ctrl-C works from the first moment, and commands that start Ray get a parent process
(`supervise`). `recaption.cli.main` is the same command line inside another program.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from recaption import stdio, supervise


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    stdio.prepare()
    if words and words[0] in supervise.COMMANDS and hasattr(os, "memfd_create"):
        return supervise.supervised(lambda: _command(words), words)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, supervise.leave_imports)
    return _command(words)


def _command(words: list[str]) -> int:
    try:
        from recaption.cli import main

        return main(words)
    except SystemExit as stop:  # argparse
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 2
    finally:
        stdio.flush()


if __name__ == "__main__":
    sys.exit(main())
