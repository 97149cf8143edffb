"""Pairs of quotes and brackets. No sentence ends inside them, and quoted words name no objects."""

from __future__ import annotations

import re

Pair = tuple[int, int, bool]
"""Index of the opening and of the closing character, and whether they are quotes (otherwise brackets)."""

_MARKS = re.compile(r"[\"“”„«»‹›'‘’「」『』()\[\]{}（）【】《》\n]")
_CLOSES = {"”": "“„", "»": "«", "›": "‹", "」": "「", "』": "『", ")": "(", "]": "[", "}": "{"}
_CLOSES |= {"）": "（", "】": "【", "》": "《"}
_OPENS = frozenset("".join(_CLOSES.values()))
_STOPS = frozenset(".!?")
_BRACKETS = frozenset("([{（【《")
_MAX_LENGTH = 400  # characters; in a longer quote, the opening mark was more likely never closed
_MAX_SINGLE_LENGTH = 120  # of single quotes, which may be apostrophes
_MAX_DEPTH = 8


def pairs(text: str) -> list[Pair]:
    """The pairs of quotes and brackets in `text`, none across a line end, in order of their closing marks."""
    found: list[Pair] = []
    stack: list[tuple[str, int]] = []
    for match in _MARKS.finditer(text):
        mark, at = match[0], match.start()
        if mark == "\n":
            stack.clear()
            continue
        before, after = text[at - 1 : at], text[at + 1 : at + 2]
        openers = _openers(mark, before, after, stack)
        if openers is None:
            continue
        if not openers:
            stack = [entry for entry in stack if mark not in "\"'" or entry[0] != mark]  # an open one has no partner
            stack.append((mark, at))
            del stack[:-_MAX_DEPTH]
            continue
        for depth in range(len(stack) - 1, -1, -1):
            if stack[depth][0] in openers:
                kind, start = stack[depth]
                del stack[depth:]
                if at - start <= (_MAX_SINGLE_LENGTH if kind in "'‘" else _MAX_LENGTH):
                    found.append((start, at, kind not in _BRACKETS))
                break
    return found


def _openers(mark: str, before: str, after: str, stack: list[tuple[str, int]]) -> str | None:
    """The opening marks that `mark` can close; empty if it opens a pair, None if it is neither (apostrophe, inch sign).

    `before` and `after` are the characters around it, `stack` the open marks.
    """
    if mark in _OPENS:
        return ""
    if mark in _CLOSES:
        return _CLOSES[mark]
    at_word_start = not before or before.isspace() or before in "([{“‘—–-/*_"
    if mark == '"':
        is_open = any(kind == '"' for kind, _ in stack)
        if not is_open and before in _STOPS and after.isalpha():
            return ""  # `windows."TREASURE" is written`
        if is_open:
            return "" if at_word_start and after and not after.isspace() and after not in ".,;:!?)" else '"'
        return "" if at_word_start else None
    if mark == "‘":
        return ""
    if mark == "'" and at_word_start:
        return "" if after.isalnum() else None
    return None if after.isalnum() else ("'" if mark == "'" else "‘")


def quoted(text: str) -> bytearray | None:
    """One byte per code point of `text`: 1 inside quotes and on their marks. None if there are no quotes."""
    inside: bytearray | None = None
    for start, end, is_quote in pairs(text):
        if is_quote:
            inside = inside or bytearray(len(text))
            inside[start : end + 1] = b"\1" * (end + 1 - start)
    return inside


def enclosed(text: str) -> bytearray:
    """One byte per code point of `text`: 1 inside quotes or brackets and on the opening, not on the closing mark."""
    inside = bytearray(len(text))
    for start, end, _ in pairs(text):
        inside[start:end] = b"\1" * (end - start)
    return inside
