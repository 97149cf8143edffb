"""Decides which images are poison: an image that crashes two engines while it is alone in them. Pure.

    in flight during two crashes ──► groups of 16 images ──► a crash: single images ──► two crashes: poison

`scheduler` calls it and assigns its work; `chunks.reject_poison` stores the rejects.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from recaption.generate.chunks import Chunk
from recaption.generate.engine_state import Piece

MAX_CRASHES = 2  # engine crashes during which an image was in flight before it is retried in quarantine
GROUP = 16  # images in one group of the quarantine; after a crash they are retried one by one
SOLO_CRASHES = 2  # engines that an image has to crash in isolation to be poison


class Quarantine:
    """Work that is retried in isolation: one piece at a time, on one engine that gets no other work meanwhile."""

    def __init__(self) -> None:
        self.waiting: deque[Piece] = deque()
        self.actor: int | None = None
        """The engine that works on it, or is kept free for it."""
        self._poison: list[Chunk] = []

    def add(self, piece: Piece) -> int:
        """Add a suspected piece in groups. Returns their number."""
        groups = _cut(piece, GROUP)
        self.waiting.extend(groups)
        return len(groups)

    def crashed(self, piece: Piece, *, single: bool) -> int:
        """An engine crashed while it worked on nothing but this piece. Returns the number of pieces it is cut into."""
        if not single:
            images = _cut(piece, 1)
            self.waiting.extendleft(reversed(images))
            return len(images)
        if piece.solo_crashes + 1 < SOLO_CRASHES:
            self.waiting.appendleft(replace(piece, solo_crashes=piece.solo_crashes + 1))
        else:
            self._poison.append(piece.chunk)
        return 1

    def poison(self) -> list[Chunk]:
        """Images found to be poison since the last call."""
        found, self._poison = self._poison, []
        return found


def _cut(piece: Piece, size: int) -> list[Piece]:
    """Pieces of `size` images."""
    rows = piece.chunk.rows()
    return [replace(piece, chunk=piece.chunk.only(rows[at : at + size])) for at in range(0, len(rows), size)]
