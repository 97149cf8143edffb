"""The command line: what can be typed. `recaption.commands` does it.

Exit codes: 0 done; 1 done, but more was rejected than the pipeline allows, or a check failed; 2 the input was wrong;
3 infrastructure failed; 75 interrupted, run it again.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, cast

from rich.console import Console

import recaption
from recaption import commands as call
from recaption import signals, stdio, supervise
from recaption.errors import Abandoned, Interrupted, MissingExtra, RecaptionError, UserError
from recaption.export import MODULES as FORMATS

Command = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Errors are one message on standard error, never a traceback."""
    arguments = argparse.Namespace()
    try:
        arguments = _parsed(argv)
        return int(arguments.command(arguments))
    except (UserError, RecaptionError, MissingExtra) as error:
        return _failed(arguments, error.exit_code, str(error))
    except KeyboardInterrupt as error:
        code = _failed(arguments, Interrupted.exit_code, signals.STOPPED_AT_ONCE)
        if isinstance(error, Abandoned):  # the end of the interpreter would wait for what that thread uses
            supervise.ended(code)
            stdio.flush()
            os._exit(code)
        return code
    except BrokenPipeError:  # `recaption inspect … | head`
        return 0
    except Exception as error:  # noqa: BLE001 - a defect of ours, or a library's: no end without a code and a word
        if isinstance(error, OSError) and error.errno == errno.EIO:  # the terminal is gone
            return 0
        text = "".join(traceback.format_exception(error)) + f"unexpected {type(error).__name__}: {error}"
        return _failed(arguments, RecaptionError.exit_code, text)


def _failed(arguments: argparse.Namespace, code: int, text: str) -> int:
    """Say on standard error what ended a command, then end its display. Neither can fail."""
    stopped = code == Interrupted.exit_code
    console = Console(file=cast(IO[str], stdio.Unfailing(sys.stderr)), soft_wrap=True, highlight=False)
    *trace, last = text.splitlines() if "Traceback" in text else [text]
    for line in trace:
        console.print(line, markup=False)
    console.print("[yellow]interrupted:[/] " if stopped else "[red]error:[/] ", end="")
    console.print(last, markup=False)
    if "failed" in arguments:
        arguments.failed(code, last)
    return code


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    top = parser()
    arguments, rest = top.parse_known_args(argv)
    # argparse gives an optional argument nothing once options have come: `inspect OUT --format csv "SELECT …"`
    if len(rest) == 1 and not rest[0].startswith("-") and getattr(arguments, "sql", "") is None:
        arguments.sql = rest[0]
    elif rest:
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    return arguments


def parser() -> argparse.ArgumentParser:
    """All commands and options."""
    top = argparse.ArgumentParser(
        prog="recaption",
        description="Images in, fine-grained captions out: sub-captions with object tags, in shards trainers read.",
        epilog="Start with: recaption init DIR, then recaption run DIR/pipelines/demo.yaml",
    )
    top.add_argument("--version", action="version", version=f"recaption {recaption.__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    for name, text in (
        ("run", "caption, annotate and write: the whole job; run it again and it continues"),
        ("generate", "only ask the models; answers are kept"),
        ("build", "only annotate and write, from answers that are there; needs no GPU"),
    ):
        command = _of_pipeline(_add(commands, name, call.run, text))
        command.add_argument("--limit", type=_positive, metavar="N", help="only the first N images")
        command.add_argument("--takeover", action="store_true", help="take the output from a run that is surely dead")
        _watched(command)
        command.set_defaults(half=name, prune=False)
        if name == "build":
            command.add_argument("--prune", action="store_true", help="then remove all other builds of the output")

    text = "what a pipeline will cost: a pilot over its first images, whose answers are kept"
    command = _of_pipeline(_add(commands, "estimate", call.estimate, text))
    command.add_argument("--images", type=_positive, default=256, metavar="N", help="of the pilot (256)")
    command.add_argument("--price", type=_price, metavar="DOLLARS", help="of a GPU-hour, for the cost of it all")
    command.add_argument("--json", action="store_true", help="all numbers, for programs")

    text = "what is not well with this machine, or would keep a pipeline from running, and what to do"
    command = _add(commands, "doctor", call.doctor, text)
    text = "a pipeline file, or the name of a shipped one; without it: the machine alone"
    command.add_argument("pipeline", nargs="?", help=text)
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. output.path=out/x")
    command.add_argument("--json", action="store_true", help="all findings, for programs")

    command = _add(commands, "status", call.status, "how a run stands, from any machine that sees its output")
    command.add_argument("out", help="an output: a folder or a store's URL, as output.path names it")
    command.add_argument("--watch", action="store_true", help="look again every 2 s until the run ends")
    command.add_argument("--json", action="store_true", help="what the run has written, and how it looks from here")

    text = "ask again what was rejected, with the output's own pipeline, and build anew"
    command = _of_output(_add(commands, "retry", call.retry, text))
    text = "why it was rejected (refusal, repetition, poison, …); may be given several times"
    command.add_argument("--reason", action="append", required=True, metavar="REASON", help=text)
    command.add_argument("--limit", type=_positive, metavar="N", help="only the first N images (as the last run)")
    command.add_argument("--takeover", action="store_true", help="take the output from a run that is surely dead")
    _watched(command)

    command = _of_output(
        _add(commands, "reproduce", call.reproduce, "ask for a stored answer again and compare; stores nothing")
    )
    command.add_argument("key", help="key of an image, or its key in the source")
    command.add_argument("--generation", metavar="ID", help="only this question; without it: all of them")

    command = _add(commands, "download", call.download, "fetch the images of a URL list with img2dataset")
    command.add_argument("urls", help="txt, csv, tsv, json, jsonl or parquet with URLs")
    command.add_argument("out", help="folder for the shards")
    command.add_argument("--user-agent-token", metavar="NAME", help="who you are, for the sites you ask (required)")
    command.add_argument("--url-column", default="url", metavar="NAME")
    command.add_argument("--caption-column", default="caption", metavar="NAME")
    command.add_argument("--format", choices=("webdataset", "parquet"), default="webdataset")
    text = "URLs per shard, including failed ones"
    command.add_argument("--samples-per-shard", type=_positive, default=5000, metavar="N", help=text)
    command.add_argument("--threads", type=_positive, default=64, metavar="N", help="requests at a time")
    command.add_argument("--timeout", type=_positive, default=10, metavar="SECONDS")
    command.add_argument("--ignore-opt-out", action="store_true", help="take images whose servers ask not to be used")

    command = _add(commands, "inspect", call.inspect, "look into an output with DuckDB")
    text = "an output, of a finished run or one in progress: a folder, a store's URL, or a quoted pattern for several"
    command.add_argument("out", help=text)
    text = "a query over the views, - to read it; without one: a shell, or a first look where there is no terminal"
    command.add_argument("sql", nargs="?", help=text)
    command.add_argument("--with", dest="others", action="append", default=[], metavar="OUT", help="look into this too")
    text = (
        "a named question instead of SQL: overview, lengths, tags, …, similar KEY, image KEY; an unknown name lists all"
    )
    command.add_argument("--ask", nargs="+", metavar=("NAME", "KEY"), help=text)
    command.add_argument("--show-sql", action="store_true", help="print the question's SQL instead of its answer")
    text = "compare with another output of the same images: lengths, objects, flags, rejects, samples"
    command.add_argument("--diff", metavar="OTHER", help=text)
    text = "json is one object a line; default: by the suffix of -o, else a table, or tab-separated lines in a pipe"
    command.add_argument("--format", choices=("table", "csv", "json", "parquet"), help=text)
    command.add_argument(
        "-o", dest="file", type=Path, metavar="FILE", help="write the answer there, whole or not at all"
    )
    command.add_argument("--limit", type=_positive, metavar="N", help="at most N rows")
    text = "let SQL write, attach, install and read anything that you may"
    command.add_argument("--unsafe", action="store_true", help=text)

    command = _add(commands, "report", call.report, "one HTML page about an output, with samples; needs no network")
    command.add_argument("out", help="an output folder, of a finished run or one in progress")
    command.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: report.html in the output folder")
    command.add_argument("--samples", type=_positive, default=60, metavar="N", help="images in its gallery (60)")
    command.add_argument("--title", metavar="TEXT", help="of the page; default: the pipeline's name")

    command = _add(commands, "export", call.export, "write a dataset in the form that a named trainer reads")
    command.add_argument("out", help="an output with a finished build, or a build: a folder or a store's URL")
    command.add_argument("dest", help="a new or empty folder, or a store's URL")
    command.add_argument("--to", required=True, choices=list(FORMATS), metavar="NAME", help=", ".join(FORMATS))
    text = "which generation stands where the trainer has that name; given once or more it is the whole map"
    command.add_argument("--map", action="append", default=[], type=_pair, metavar="NAME=GENERATION", help=text)
    command.add_argument("--split", choices=("train", "val", "all"), default="train")
    text = "what a place without a generation of its own gets: nothing, or one of its kind again"
    command.add_argument("--fill", choices=("empty", "repeat"), help=text)
    text = "samples in a tar or Parquet file (tars: 5000, Parquet: as the build's shards)"
    command.add_argument("--samples-per-shard", type=_positive, metavar="N", help=text)
    text = "of a sidecar whose images are on a host: the pipeline's file, whose source is read instead of the output's"
    command.add_argument("--pipeline", type=_file, metavar="FILE", help=text)

    command = _add(commands, "validate", call.validate, "check an output, or anybody's dataset for a named trainer")
    command.add_argument("path", help="an output; with --for: files or a folder, whoever wrote them")
    command.add_argument("--for", dest="name", choices=list(FORMATS), metavar="NAME", help=", ".join(FORMATS))
    command.add_argument(
        "--pixels", action="store_true", help="decode every image, not only look at its header and end"
    )
    command.add_argument("--workers", type=_positive, metavar="N", help="that load on each GPU, to see if tars suffice")
    command.add_argument("--gpus", type=_positive, metavar="N", help="that train, on all nodes")

    command = _add(commands, "init", call.init, "copy the shipped pipelines and prompts, to start from")
    command.add_argument("dir", help="a new or empty folder")
    return top


def _add(commands: argparse._SubParsersAction, name: str, do: Command, text: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + "."
    )
    command.set_defaults(command=do)
    return command


def _of_pipeline(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command.add_argument("pipeline", help="a pipeline file, or the name of a shipped one (demo, flair, column)")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. output.path=out/x")
    return command


def _of_output(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command.add_argument("out", help="an output: a folder or a store's URL; its own pipeline.yaml is used")
    text = (
        "the pipeline's file: hosts, keys, code and prompts of your own are taken from it, never from the output; "
        "its prompts may lie beside it"
    )
    command.add_argument("--pipeline", type=_file, metavar="FILE", help=text)
    return command


def _watched(command: argparse.ArgumentParser) -> None:
    """How a run is looked at while it goes."""
    shown = command.add_mutually_exclusive_group()
    shown.add_argument("--quiet", action="store_true", help="no progress and no summary")
    shown.add_argument("--json", action="store_true", help="progress and summary as JSON lines, for programs")
    text = "serve numbers for Prometheus at http://HOST:PORT/metrics while it runs"
    command.add_argument("--metrics-port", type=_port, metavar="PORT", help=text)
    command.add_argument("--metrics-host", default="127.0.0.1", metavar="HOST", help="only this machine, if not given")


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, a number from 1 to 65535")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=GENERATION, such as longSV_captions=long")
    return name, value


def _price(text: str) -> float:
    try:
        value = float(text.removeprefix("$"))
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a price in dollars, such as 2.50")
    return value


def _file(text: str) -> Path:
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text!r}")
    return Path(text)


if __name__ == "__main__":
    sys.exit(main())
