"""The limits of a search and of a statement in the viewer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Time, memory and size of one statement."""

    seconds: float = 10.0
    memory_mib: int = 2048  # of DuckDB; the process that runs statements may use twice as much
    disk_mib: int = 4096  # of DuckDB's temporary files
    keys: int = 10_000  # images of a result
    rows: int = 200  # of a result without keys
    cell: int = 2_000  # characters of a value

    @property
    def too_long(self) -> str:
        """The message for a statement that was stopped."""
        advice = "Add conditions, or run it with recaption inspect OUT SQL"
        return f"the statement was stopped after {self.seconds:g} s. {advice}"

    @property
    def too_large(self) -> str:
        """The message for a statement that needs too much memory."""
        return f"the statement needs more than {self.memory_mib:,} MiB of memory. Select fewer rows or shorter values"
