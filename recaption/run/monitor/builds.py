"""The builds of an output with their sizes, from their manifests, and whether a new one copies all images again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from rich.filesize import decimal

from recaption.errors import DatasetError
from recaption.formatting import number_of
from recaption.io.store import Store
from recaption.output.locate import current_build, read_manifest
from recaption.output.paths import BUILDS, build_folder
from recaption.write import Format


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildSize:
    """A build; `format`, `images` and `nbytes` are None if it is not finished, or of another version."""

    name: str
    published: bool
    format: str | None = None
    images: int | None = None
    nbytes: int | None = None

    def __str__(self) -> str:
        if self.format is None:
            return f"{self.name}  not finished, or written by another version"
        facts = [f"{self.format}", number_of(self.images or 0, "image"), decimal(self.nbytes or 0)]
        return "  ".join([self.name, *facts, *(["published"] if self.published else [])])


def read_builds(store: Store) -> Iterator[BuildSize]:
    """Reads one manifest per build."""
    published = None
    with suppress(DatasetError):  # the link points elsewhere
        published = current_build(store)
    for name in store.folders(BUILDS):
        found = BuildSize(name=name, published=name == published)
        with suppress(DatasetError, KeyError):
            manifest = read_manifest(store, build_folder(name))
            counts = manifest["counts"]
            found = BuildSize(
                name=name,
                published=name == published,
                format=manifest["format"],
                images=counts["images"],
                nbytes=counts["bytes"],
            )
        yield found


def copied_again(store: Store, build: str, format: Format) -> str | None:
    """A sentence for the user if `build`, which is about to be written, has all images that another build has."""
    if format == "sidecar":
        return None
    other = next((b for b in read_builds(store) if b.name != build and b.format not in (None, "sidecar")), None)
    if other is None:
        return None
    return (
        f"this build copies all images again ({format}); {BUILDS}/{other.name} has {decimal(other.nbytes or 0)}. "
        "output.format: sidecar stores texts without images, next to the source. `--prune` removes the other builds, "
        "and `recaption status` lists their sizes"
    )
