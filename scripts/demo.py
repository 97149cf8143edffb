"""`make demo`: run the shipped pipeline `demo`, with vLLM if it is installed."""

from __future__ import annotations

import argparse
import importlib.util
import sys

from recaption.__main__ import main as command_line


def main() -> int:
    """Returns the exit code of `recaption run demo`."""
    parser = argparse.ArgumentParser(prog="scripts/demo.py", description=__doc__)
    parser.add_argument("--engine", choices=("auto", "vllm", "transformers"), default="auto")
    parser.add_argument("--out", default="out", metavar="DIR", help="for DIR/demo-scenes and DIR/demo")
    arguments = parser.parse_args()
    engine = arguments.engine
    if engine == "auto":
        engine = "vllm" if importlib.util.find_spec("vllm") else "transformers"
    out = arguments.out
    settings = [
        f"source.path={out}/demo-scenes/{{00000..00003}}.tar",
        f"output.path={out}/demo",
        f"models.scene.engine={engine}",
    ]
    return command_line(["run", "demo", *(word for setting in settings for word in ("--set", setting))])


if __name__ == "__main__":
    sys.exit(main())
