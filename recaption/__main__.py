"""`python -m recaption` and the script `recaption`: the command line as a process.

The first lines handle signals, so that none leaves a traceback; before them only Python itself works. Commands that
start Ray get a parent process (`supervise`). `recaption.cli.main` is the same command line inside another program.
"""

import os
import sys

try:
    from recaption import signals

    signals.at_start()

    from recaption import stdio, supervise
except KeyboardInterrupt:
    os.write(2, b"interrupted: stopped at once; run the same command again to continue\n")
    os._exit(75)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: "Sequence[str] | None" = None) -> int:
    """Run one command; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    stdio.prepare()
    if words and words[0] in supervise.COMMANDS and hasattr(os, "memfd_create"):
        return supervise.supervised(lambda: _command(words), words)
    code = _command(words)
    signals.at_end(code)
    stdio.flush()
    if signals.terminated():
        os._exit(code)
    return code


def _command(words: list[str]) -> int:
    try:
        from recaption.cli import main

        with signals.interruptible():
            return main(words)
    except SystemExit as stop:  # raised by the handler of a signal
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 2
    except KeyboardInterrupt:  # another one, while the first was reported
        return signals.INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
