"""`make demo`: render scenes into img2dataset-style shards, then run the main job on them, captioner embedded."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

from recaption import cli
from recaption.demo.shards import write_shards


def main() -> int:
    """Render what is not there yet and run the `demo` pipeline; returns the exit code of `recaption run`."""
    parser = argparse.ArgumentParser(prog="python -m recaption.demo", description=__doc__)
    parser.add_argument("--engine", choices=("auto", "vllm", "transformers"), default="auto")
    parser.add_argument("--scenes", type=int, default=64, metavar="N")
    parser.add_argument(
        "--out", default="out", metavar="DIR", help="scenes go to DIR/demo-scenes, the dataset to DIR/demo"
    )
    arguments = parser.parse_args()
    engine = arguments.engine
    if engine == "auto":
        engine = "vllm" if importlib.util.find_spec("vllm") else "transformers"
    scenes = Path(arguments.out) / "demo-scenes"
    write_shards(scenes, n=arguments.scenes)
    settings = [f"source.path={scenes}/*.tar", f"output.path={arguments.out}/demo", f"models.scene.engine={engine}"]
    return cli.main(["run", "demo", *(word for setting in settings for word in ("--set", setting))])


if __name__ == "__main__":
    sys.exit(main())
