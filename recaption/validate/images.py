"""Images as a trainer meets them: header, end of file and limits of each; with `--pixels` every pixel is decoded."""

from __future__ import annotations

from collections.abc import Iterator

from recaption.decode import check_header, check_pixels
from recaption.errors import ImageError
from recaption.problems import Problem
from recaption.types import ImageLimits
from recaption.validate.kinds import problem
from recaption.validate.shard import Shard

_ANY = ImageLimits(min_side=1, max_aspect=float("inf"))  # of builds that do not say which limits they had


def check_image(shard: Shard, data: bytes, where: str) -> Iterator[Problem]:
    """What is wrong with the file of a usable image, at most one thing."""
    said = shard.manifest.get("pixels")
    try:
        (check_pixels if shard.pixels else check_header)(data, ImageLimits(**said["limits"]) if said else _ANY)
    except ImageError as error:
        yield problem("pixels", where, f"{error.reason}: {error.args[0]}")
