"""`runs.parquet`: one row for each finished run, so that a probe that was killed continues."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from recaption.errors import UserError, in_words
from recaption.tablefile import read_table

_SCHEMA: Final = pa.schema(
    [
        pa.field("arm", pa.string(), nullable=False),
        pa.field("seed", pa.int32(), nullable=False),
        pa.field("loss", pa.float32(), nullable=False),
        pa.field("seconds", pa.float32(), nullable=False),
        pa.field("outcomes", pa.list_(pa.float32()), nullable=False),
    ]
)
_IDENTITY: Final = b"probe"


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A finished run. `outcomes`: for each query its margin, or 1.0 if the image was found, else 0.0."""

    arm: str
    seed: int
    loss: float  # mean of the last tenth of the steps
    seconds: float
    outcomes: npt.NDArray[np.float32]


class Runs:
    """The finished runs of a probe. The file is replaced as a whole after each run."""

    def __init__(self, path: Path, identity: str) -> None:
        """`identity`: see `settings.identity`. Raises UserError if the file has runs of another identity."""
        self._path = path
        self._schema = _SCHEMA.with_metadata({_IDENTITY: identity.encode()})
        self._runs: dict[tuple[str, int], Run] = {}
        if path.exists():
            self._read(identity)

    def _read(self, identity: str) -> None:
        try:
            table = read_table(self._path)
        except (OSError, pa.ArrowException) as error:
            raise UserError(
                f"{self._path} cannot be read: {in_words(error)}. Delete it, or give another --out"
            ) from error
        if (table.schema.metadata or {}).get(_IDENTITY) != identity.encode():
            raise UserError(
                f"{self._path} has runs with other captions, queries or settings. Give another --out, or delete it"
            )
        for row in table.to_pylist():
            self._runs[row["arm"], row["seed"]] = Run(**row | {"outcomes": np.array(row["outcomes"], np.float32)})

    def get(self, arm: str, seed: int) -> Run | None:
        return self._runs.get((arm, seed))

    def add(self, run: Run) -> None:
        self._runs[run.arm, run.seed] = run
        rows = [
            {"arm": r.arm, "seed": r.seed, "loss": r.loss, "seconds": r.seconds, "outcomes": r.outcomes}
            for r in self._runs.values()
        ]
        part = self._path.with_name(f".{self._path.name}.part")
        pq.write_table(pa.Table.from_pylist(rows, self._schema), part, compression="zstd")
        part.replace(self._path)
