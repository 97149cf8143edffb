"""What the viewer serves: the page, samples that match a search or a statement, and images."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlencode

import recaption
from recaption.errors import ImageError
from recaption.inspect.connection import open_outputs
from recaption.inspect.images import SIDE, ImageMissing, Thumbnail, read_images, webp
from recaption.inspect.paths import OutputPaths
from recaption.inspect.report import LARGE
from recaption.inspect.report.gallery import ORDER, WEIGHTS, images_of, request_of, samples_of
from recaption.inspect.report.page import PAGE, Choices, Report, flag_name, render, render_cards
from recaption.inspect.report.provenance import of_manifest
from recaption.inspect.report.sample import visible
from recaption.inspect.sql import fetch, has_view
from recaption.inspect.summary import from_manifest, read_manifest
from recaption.inspect.viewer.limits import Limits
from recaption.inspect.viewer.search import statement
from recaption.inspect.viewer.worker import Answer, Worker

if TYPE_CHECKING:
    import duckdb

_REMEMBERED: Final = 16  # results, for their further pages
_DRAWN: Final = 2  # requests that read images or captions at the same time
_TAGS: Final = 200_000  # tags among which the suggested objects are counted


@dataclass(frozen=True, kw_only=True, slots=True)
class _Query:
    sql: str
    values: tuple[tuple[str, str], ...] = ()


class Pages:
    """The content of the viewer of one build. Close it at the end."""

    def __init__(self, output: OutputPaths, limits: Limits) -> None:
        """Raises UserError without a build, and whatever `connect` raises."""
        self.output, self.limits = output, limits
        manifest = read_manifest(output)
        self._summary, self._sources = from_manifest(manifest), of_manifest(manifest)
        self._models = tuple(dict.fromkeys(g["model"] for g in manifest["generations"] if g.get("model")))
        self._connection = open_outputs(output, limits={"memory_limit": f"{limits.memory_mib}MiB"})
        self._worker = Worker(output.given, limits)
        self._found: OrderedDict[_Query, Answer] = OrderedDict()
        self._lock = threading.Lock()
        self._drawing = threading.Semaphore(_DRAWN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._worker.close()
        self._connection.interrupt()
        self._connection.close()
        del self._connection  # threads of idle clients still know this object when the interpreter ends

    def page(self) -> str:
        """The HTML of the page, without samples: its script requests them."""
        report = Report(
            title=self._summary.name,
            made=datetime.now(UTC),
            version=recaption.__version__,
            summary=self._summary,
            statistics=None,
            progress=None,
            sources=self._sources,
            runs=(),
            rates=(),
            samples=(),
            served=True,
        )
        with self._drawing:
            return render(report, self._choices(self._connection.cursor()))

    def samples(self, filters: Mapping[str, str], page: int) -> dict[str, Any]:
        """A page of the images that match: `count`, whether there are `more`, all `images`, and `html`.

        Raises UserError for filters that do not exist, and for a search that exceeds a limit.
        """
        sql, values = statement(filters, self.limits.keys)
        answer = self._answer(_Query(sql=sql, values=tuple(values.items())))
        return self._cards(answer.keys or (), answer.more, page)

    def sql(self, sql: str, page: int) -> dict[str, Any]:
        """As `samples`, for the images whose `key` a statement returns. Without this column: `columns`, `rows`, `more`.

        Raises UserError for a statement that does more than read, is wrong, or exceeds a limit.
        """
        answer = self._answer(_Query(sql=sql))
        if answer.keys is not None:
            return self._cards(answer.keys, answer.more, page)
        rows = [list(map(visible, row)) for row in answer.rows]
        return {"columns": list(map(visible, answer.columns)), "rows": rows, "more": answer.more}

    def image(self, key: str, *, large: bool) -> bytes | ImageMissing:
        """The image as WebP, or the reason why there is none."""
        with self._drawing:
            connection = self._connection.cursor()
            row = images_of(connection, [key]).get(key)
            if row is None:
                return ImageMissing("the build has no image with this key")
            found = dict(read_images(connection, self.output, self._summary.format, [request_of(row)]))[key]
            try:
                return found if isinstance(found, ImageMissing) else webp(found, LARGE if large else SIDE)[0]
            except ImageError as error:
                return ImageMissing(f"the image cannot be shown: {error.args[0]}")

    def _answer(self, query: _Query) -> Answer:
        with self._lock:
            if query in self._found:
                self._found.move_to_end(query)
                return self._found[query]
        answer = self._worker.ask(query.sql, dict(query.values))
        with self._lock:
            self._found[query] = answer
            while len(self._found) > _REMEMBERED:
                self._found.popitem(last=False)
        return answer

    def _cards(self, keys: tuple[str, ...], more: bool, page: int) -> dict[str, Any]:
        with self._drawing:
            connection = self._connection.cursor()
            wanted = keys[page * PAGE : (page + 1) * PAGE]
            images = images_of(connection, wanted)
            previews = {key: _thumbnail(key, row.width, row.height) for key, row in images.items()}
            chosen = {key: "found" for key in wanted if key in images}
            fingerprints = [(source.generation, source.fingerprint) for source in self._sources]
            samples = samples_of(connection, images, fingerprints, previews, chosen)
            html = render_cards(samples, page * PAGE)
        return {"count": len(keys), "more": more, "images": self._summary.images, "html": html}

    def _choices(self, connection: duckdb.DuckDBPyConnection) -> Choices:
        """The filters of the whole build, from its manifest where that has them."""
        objects = (
            f"SELECT lemma FROM (SELECT lemma FROM objects LIMIT {_TAGS}) GROUP BY lemma ORDER BY count(*) DESC, 1"
        )
        summary = self._summary
        statuses = {
            "ok": summary.ok,
            "partial": summary.partial,
            "reject": summary.rejected,
            "excluded": summary.excluded,
        }
        return {
            "generations": [(name, name) for name in (*(one.generation for one in self._sources), "raw")],
            "models": [(name, name) for name in self._models],
            "statuses": [(name, name) for name, count in statuses.items() if count],
            "flags": [
                (flag, flag_name(flag))
                for flag in ORDER
                if flag != "unsupported" or has_view(connection, "verifications")
            ],
            "weights": list(WEIGHTS.items()),
            "tags": [(lemma, lemma) for (lemma,) in fetch(connection, f"{objects} LIMIT 400")],
        }


def _thumbnail(key: str, width: int | None, height: int | None) -> Thumbnail:
    """The URLs of an image, relative to the page, and the size of the smaller one."""
    share = min(1.0, SIDE / max(width or SIDE, height or SIDE))
    size = [max(1, round((side or SIDE) * share)) for side in (width, height)]
    small, large = (f"image?{urlencode({'key': key, **more})}" for more in ({}, {"large": "1"}))
    return Thumbnail(url=small, large=large, width=size[0], height=size[1])
