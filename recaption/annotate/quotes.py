"""Quotes and brackets that are closed again: no sentence ends inside them, and quoted words name no objects."""

from __future__ import annotations

import re

Pair = tuple[int, int, bool]
"""Index of the opening and of the closing character, and whether they are quotes (else brackets)."""

_MARKS = re.compile(r"[\"“”„«»‹›'‘’「」『』()\[\]{}（）【】《》\n]")
_CLOSES = {"”": "“„", "»": "«", "›": "‹", "」": "「", "』": "『", ")": "(", "]": "[", "}": "{"}
_CLOSES |= {"）": "（", "】": "【", "》": "《"}
_OPENS = frozenset("".join(_CLOSES.values()))
_BRACKETS = frozenset("([{（【《")
_MAX = 400  # characters; a quote longer than this is more likely one that was never closed
_MAX_SINGLE = 120  # of single quotes, which may be apostrophes
_MAX_DEPTH = 8


def pairs(text: str) -> list[Pair]:
    """Matched quotes and brackets of `text`, none across a line end, in order of their ends."""
    found: list[Pair] = []
    stack: list[tuple[str, int]] = []
    for match in _MARKS.finditer(text):
        mark, at = match[0], match.start()
        if mark == "\n":
            stack.clear()
            continue
        before, after = text[at - 1 : at], text[at + 1 : at + 2]
        opener = _opener(mark, before, after, stack)
        if opener is None:
            continue
        if opener == "":
            stack = [entry for entry in stack if mark not in "\"'" or entry[0] != mark]  # an open one was a stray
            stack.append((mark, at))
            del stack[:-_MAX_DEPTH]
            continue
        for depth in range(len(stack) - 1, -1, -1):
            if stack[depth][0] in opener:
                kind, start = stack[depth]
                del stack[depth:]
                if at - start <= (_MAX_SINGLE if kind in "'‘" else _MAX):
                    found.append((start, at, kind not in _BRACKETS))
                break
    return found


def _opener(mark: str, before: str, after: str, stack: list[tuple[str, int]]) -> str | None:
    """ "" when `mark` opens, the marks that it would close, None when it is neither (apostrophe, inch sign)."""
    if mark in _OPENS:
        return ""
    if mark in _CLOSES:
        return _CLOSES[mark]
    free = not before or before.isspace() or before in "([{“‘—–-/*_"
    if mark == '"':
        if any(kind == '"' for kind, _ in stack):
            return "" if free and after and not after.isspace() and after not in ".,;:!?)" else '"'
        return "" if free else None
    if mark == "‘":
        return ""
    if mark == "'" and free:
        return "" if after.isalnum() else None
    return None if after.isalnum() else ("'" if mark == "'" else "‘")


def quoted(text: str) -> bytearray | None:
    """One byte per code point: 1 inside quotes and on their marks; None if there are no quotes, the usual case."""
    inside: bytearray | None = None
    for start, end, is_quote in pairs(text):
        if is_quote:
            inside = inside or bytearray(len(text))
            inside[start : end + 1] = b"\1" * (end + 1 - start)
    return inside


def enclosed(text: str) -> bytearray:
    """One byte per code point: 1 inside quotes or brackets (the opening mark included, the closing one not)."""
    inside = bytearray(len(text))
    for start, end, _ in pairs(text):
        inside[start:end] = b"\1" * (end - start)
    return inside
