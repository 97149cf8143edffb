"""Arguments and options that several commands share, and the checks of their values."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any

import typer

from recaption.export import MODULES as FORMATS


def positive(value: Any) -> int:
    """A whole number above 0. Raises typer.BadParameter."""
    if not str(value).isdecimal() or int(value) < 1:
        raise typer.BadParameter(f"{str(value)!r} is not a whole number above 0")
    return int(value)


def price(value: str) -> float:
    """Dollars, with or without a `$`. Raises typer.BadParameter."""
    try:
        dollars = float(value.removeprefix("$"))
    except ValueError:
        dollars = -1.0
    if not 0 <= dollars < float("inf"):
        raise typer.BadParameter(f"{value!r} is not a price in dollars, such as 2.50")
    return dollars


def share(value: str) -> float:
    """A number from 0 to 1. Raises typer.BadParameter."""
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise typer.BadParameter(f"{value!r} is not a share, a number from 0 to 1")
    return number


def token_price(value: str) -> tuple[str, float, float]:
    """[MODEL=]IN,OUT: the model ("" for all), and the dollars for a million tokens of prompts and of answers.

    Raises typer.BadParameter.
    """
    model, _, prices = value.rpartition("=")
    both = prices.split(",")
    if len(both) != 2:
        raise typer.BadParameter(f"{value!r} is not [MODEL=]IN,OUT in dollars per million tokens, such as 0.40,1.60")
    return model, price(both[0].strip()), price(both[1].strip())


def port(value: str) -> int:
    """The number of a TCP port. Raises typer.BadParameter."""
    if not value.isdecimal() or not 0 < int(value) < 65536:
        raise typer.BadParameter(f"{value!r} is not a port, a number from 1 to 65535")
    return int(value)


def pair(value: str) -> str:
    """NAME=GENERATION, unchanged. Raises typer.BadParameter."""
    name, equals, generation = value.partition("=")
    if not (name and equals and generation):
        raise typer.BadParameter(f"{value!r} is not NAME=GENERATION, such as longSV_captions=long")
    return value


def format_name(value: str) -> str:
    """The name of an export format. Raises typer.BadParameter with the closest one."""
    if value not in FORMATS:
        close = difflib.get_close_matches(value, FORMATS)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise typer.BadParameter(f"{value!r} is none of {', '.join(FORMATS)}.{hint}")
    return value


def _pipelines() -> list[str]:
    from recaption.resources import names_in, shipped

    return names_in(shipped("pipelines"), ".yaml")


def format_option(name: str) -> Any:
    """An option whose value is the name of an export format."""
    return typer.Option(
        name,
        parser=format_name,
        metavar="NAME",
        autocompletion=lambda: list(FORMATS),
        help=f"One of {', '.join(FORMATS)}",
    )


PIPELINE = typer.Argument(
    metavar="PIPELINE",
    autocompletion=_pipelines,
    show_default=False,
    help="A pipeline file, or the name of a shipped pipeline (column, demo, flair, seeds/fgclip, …)",
)
Pipeline = Annotated[str, PIPELINE]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. output.path=out/x. Repeatable"),
]
Preset = Annotated[
    str | None,
    typer.Option("--preset", metavar="NAME", help="Apply a preset of the pipeline file, before --set. E.g. demo"),
]
Output = Annotated[str, typer.Argument(metavar="OUT", help="An output: a folder, or a URL of an object store")]
FilePreset = Annotated[
    str | None, typer.Option("--preset", metavar="NAME", help="Apply a preset of the file that --pipeline names")
]
PipelineFile = Annotated[
    Path | None,
    typer.Option(
        "--pipeline",
        exists=True,
        dir_okay=False,
        metavar="FILE",
        help="The pipeline file. Needed for hosts, keys, code and prompts of your own: these are read from it, never "
        "from the output",
    ),
]
Limit = Annotated[int | None, typer.Option(parser=positive, metavar="N", help="Only the first N images")]
Takeover = Annotated[bool, typer.Option("--takeover", help="Take over the output of a run that has certainly ended")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print no progress and no summary")]
JsonLines = Annotated[bool, typer.Option("--json", help="Print progress and summary as JSON lines")]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        parser=port, metavar="PORT", help="Serve Prometheus metrics at http://HOST:PORT/metrics during the run"
    ),
]
MetricsHost = Annotated[str, typer.Option(metavar="HOST", help="Address for the metrics")]
