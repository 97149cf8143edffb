"""Finds the text in answers that are JSON, in a fence, in XML elements or in a tool call. Rules of `cleaning`."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from recaption.tasks.mentions import ENDS, mentions, remove

# fences

_PLAIN = re.compile(r"(?:jsonc?|markdown|md|te?xt|plaintext|plain|html|xml|caption|output|ya?ml)?", re.I)
_FENCE = re.compile(r"(```+|~~~+)[ \t]*([\w+-]*)[ \t]*\n?")


def unfenced(text: str) -> str:
    """Removes a fence around the whole answer, also one without its end. Other fences are content."""
    match = _FENCE.match(text)
    if match is None:
        return text
    mark, inner = match[1], text[match.end() :]
    word, newline = match[2], match[0].endswith("\n")
    if not newline:  # ```A red square.```: the first word is not a language
        word, inner = "", text[len(mark) :]
    if _PLAIN.fullmatch(word) is None:
        return text
    if inner.endswith(mark):
        inner = inner[: -len(mark)]
    return text if mark in inner else inner


# JSON

_NAMES: Final = (
    "caption long_caption detailed_caption dense_caption image_caption full_caption description detailed_description "
    "long_description image_description final_caption final_answer answer captions descriptions text response output "
    "result content message short_caption summary"
)
_KEYS: Final = tuple(_NAMES.split())
_SENTENCE_WORDS = 4
_NAME = "|".join(_KEYS)
_CUT_JSON = re.compile(rf'\{{\s*"(?:{_NAME})"\s*:\s*"((?:[^"\\]|\\.)*)(?:\\|"\s*,?\s*)?$', re.I | re.S)
_FIRST_JSON = re.compile(rf'\{{\s*"(?:{_NAME})"\s*:\s*"((?:[^"\\]|\\.)*)"\s*,\s*"', re.I | re.S)
_LOOSE_JSON = re.compile(rf"\{{\s*([\"']?)(?:{_NAME})\1\s*:\s*([\"'])(.*)\2\s*,?\s*\}}", re.I | re.S)
_INTRODUCED = re.compile(
    r"(?:[^\n{\[`]{0,160}:?\s*\n\s*|(?:here|sure|okay|ok|certainly|json)\b[^\n{\[`]{0,120}:\s*)", re.I
)
_IN_FENCE = re.compile(r"```(?:json)?\s*([\[{].*?[\]}])\s*```", re.I | re.S)
AROUND = 200  # characters of other text before and after a JSON answer


def text_in_json(text: str) -> str:
    """The text of an answer in JSON, which a sentence may introduce."""
    found = None
    if text[:1] in '{["':
        found = _parsed(text)
    elif (
        "```" in text
        and (match := _IN_FENCE.search(text))
        and max(match.start(), len(text) - match.end()) <= AROUND
        and text.count("```") == 2
    ):
        found = _parsed(match[1])
    elif (match := _INTRODUCED.match(text)) and text[match.end() :][:1] == "{":
        found = _parsed(text[match.end() :])
    return text if found is None else found


def _parsed(text: str) -> str | None:
    try:
        value, end = json.JSONDecoder(strict=False).raw_decode(text)
    except (ValueError, RecursionError):
        return _broken(text)
    behind = text[end:].strip()
    if isinstance(value, str):  # a JSON string; `_quotes` handles plain quotes
        return value if not behind and "\\" in text else None
    return None if len(behind) > AROUND else _text_of(value)


def _broken(text: str) -> str | None:
    """The text in JSON that is truncated or has quotes that are not escaped."""
    if (match := _LOOSE_JSON.fullmatch(text)) is not None:
        return match[3].replace("\\n", "\n").replace('\\"', '"')
    match = _CUT_JSON.match(text) or _FIRST_JSON.match(text)
    if match is None:
        return None
    try:
        return str(json.loads(f'"{match[1]}"', strict=False))
    except ValueError:
        return match[1]


def _text_of(value: Any, depth: int = 0) -> str | None:
    """The value of the first known key of `_KEYS`, else all values that are sentences; None if there are none."""
    if depth > 4:
        return None
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        parts = [_text_of(item, depth + 1) for item in value[:64]]
        return "\n".join(part for part in parts if part) if any(part is not None for part in parts) else None
    if not isinstance(value, dict):
        return None
    by_name = {str(key).strip().lower().replace(" ", "_").replace("-", "_"): item for key, item in value.items()}
    if by_name.get("error") and not any("caption" in key or "description" in key for key in by_name):
        return ""
    for key in _KEYS:
        if key in by_name and (found := _text_of(by_name[key], depth + 1)) is not None:
            return found
    nested = [_text_of(item, depth + 1) for item in value.values() if isinstance(item, dict) or _is_of_objects(item)]
    texts = [item for item in value.values() if isinstance(item, str) and len(item.split()) >= _SENTENCE_WORDS]
    texts += [item for item in nested if item]
    return "\n".join(texts) if texts else None


def _is_of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


# wrappers

_ANSWER = "final_?answer|answer|conclusion|solution"
_TEXTS = rf"{_ANSWER}|final|(?:[a-z]{{1,20}}[_-]?){{0,2}}(?:caption|description)|alt[_-]?text|response|output|assistant"
_ATTRIBUTES = r"(?:\s[^<>]{0,200})?"
_NO_WRAPPERS = "svg|math|table|ul|ol|dl|script|style|code"  # their content is not text, or is not clear without them
_WRAPPED = re.compile(
    rf"<(?!(?:{_NO_WRAPPERS})[\s>])(?P<tag>[a-z][\w.-]{{0,40}}){_ATTRIBUTES}>(?P<inner>.*)</(?P=tag)\s?>", re.I | re.S
)
_ELEMENT = re.compile(rf"<(?P<tag>[a-z][\w-]{{0,40}}){_ATTRIBUTES}>(?P<inner>.*?)</(?P=tag)>\s*", re.I | re.S)
_IS_TEXT, _IS_ANSWER = re.compile(_TEXTS, re.I), re.compile(_ANSWER, re.I)
_LAST = re.compile(rf"(?:^|(?<=[>\n.!?]))[ \t]*<(?P<tag>{_ANSWER})>", re.I)
_ON_A_LINE = re.compile(rf"(?:^|(?<=\n))[ \t]*<(?P<tag>{_TEXTS}){_ATTRIBUTES}>", re.I)
_BEGUN = re.compile(rf"<(?P<tag>{_TEXTS}){_ATTRIBUTES}>", re.I)
_ENDED = re.compile(rf"</(?P<tag>{_TEXTS})>$", re.I)
_CDATA = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.S)
_CUT_CDATA = re.compile(r"<!\[CDATA\[(.*?)\]{0,2}", re.S)
_PROLOGUE = re.compile(r"(?:<\?xml\b[^<>]{0,200}\?>|<!DOCTYPE\b[^<>]{0,200}>)\s*", re.I)
_BOLD = re.compile(r"(\*{1,3})(?=[^\s*])([^*]+)(?<=[^\s*])\1")
_BOXED = re.compile(r"\${0,2}\\boxed\{(?:\\text\{)?(.*?)\}?\}\${0,2}|\${0,2}\\text\{([^{}]*)\}\${0,2}", re.S)
_BRACKETED = re.compile(rf"\[(?P<tag>{_TEXTS})\](?P<inner>.*)\[/(?P=tag)\]", re.I | re.S)


def unwrapped(text: str) -> str:
    """Removes what is around an answer: XML elements, tool calls, brackets, bold marks and \\boxed."""
    if (match := _BOXED.fullmatch(text)) is not None:
        return match[1] or match[2] or ""
    if (match := _BRACKETED.fullmatch(text)) is not None and f"[{match['tag']}]" not in match["inner"]:
        return match["inner"]
    if (match := _BOLD.fullmatch(text)) is not None:
        return match[2]
    if "<" not in text:
        return text
    text = _tool_calls(text)
    if "<![CDATA[" in text and "]]>" in text:
        text = remove(_CDATA, text, lambda match: match[1])
    elif (match := _CUT_CDATA.fullmatch(text)) is not None:
        text = match[1]
    if (match := _PROLOGUE.match(text)) is not None and text[match.end() :][:1] == "<":
        text = text[match.end() :]
    if (match := _WRAPPED.fullmatch(text)) is not None and not _opens(match["tag"], match["inner"]):
        return match["inner"]
    if (element := _text_element(text)) is not None:
        return element
    if (element := _element_among_text(text)) is not None:
        return element
    for match in reversed(list(_LAST.finditer(text))):  # reasoning first, then the answer
        closing = f"</{match['tag']}>"
        if text.lower().endswith(closing.lower()):
            return text[match.end() : -len(closing)]
        break
    if (match := _BEGUN.match(text)) is not None and f"</{match['tag']}>".lower() not in text.lower():
        return text[match.end() :]
    if (match := _ENDED.search(text)) is not None and not _opens(match["tag"], text):
        return text[: match.start()]
    return text


_TOOLS = r"(?P<tag>tool_?(?:call|use|response)s?|function_?calls?)"
_TOOL_CALL = re.compile(rf"\s*<{_TOOLS}{_ATTRIBUTES}>(?P<inner>.*?)(?:</(?P=tag)>|$)\s*", re.I | re.S)


def _tool_calls(text: str) -> str:
    """Removes tool calls. If nothing else is left, the answer is the text in the first call that has one: a caption
    among its arguments, or text that is not a call."""
    mentioned = mentions(text)
    calls = [match for match in _TOOL_CALL.finditer(text) if not mentioned(match) and _is_closed(match)]
    if not calls:
        return text
    kept, at = [], 0
    for match in calls:
        kept.append(text[at : match.start()])
        at = match.end()
    around = "\n\n".join(piece for piece in (*(piece.strip() for piece in kept), text[at:].strip()) if piece)
    return around or next((found for match in calls if (found := _text_in_call(match["inner"].strip()))), "")


def _is_closed(match: re.Match[str]) -> bool:
    """Whether a call has an end or follows a complete sentence. Otherwise a sentence may mention the tag."""
    before = match.string[: match.start()].rstrip()[-1:]
    return match[0].rstrip().endswith(">") or not before or before in ENDS


def _text_in_call(inner: str) -> str:
    if inner[:1] not in ("{", "["):
        return "" if inner[:1] == "<" else inner
    try:
        call = json.loads(inner, strict=False)
        arguments = call.get("arguments", call.get("parameters", call)) if isinstance(call, dict) else call
        return _text_of(json.loads(arguments) if isinstance(arguments, str) else arguments) or ""
    except (ValueError, RecursionError):
        return ""


def _element_among_text(text: str) -> str | None:
    """The content of an element that begins and ends a line, with at most a sentence before and after it ("Sure!")."""
    match = _ON_A_LINE.search(text, 0, 2 * AROUND)
    if match is None or match.start() > AROUND:
        return None
    closing = f"</{match['tag']}>"
    at = text.lower().find(closing.lower(), match.end())
    behind = text[at + len(closing) :]
    if at < 0 or len(behind) > AROUND or behind.lstrip(" \t")[:1] not in ("", "\n"):
        return None
    return text[match.end() : at]


def _opens(tag: str, text: str) -> bool:
    return any(f"<{tag}{end}".lower() in text.lower() for end in (">", " ", "\n"))


def _text_element(text: str) -> str | None:
    """The text in an answer that consists of elements only: the last element named like an answer, else the first one
    named like a caption."""
    answer, caption, at = None, None, 0
    while (match := _ELEMENT.match(text, at)) is not None:
        if _IS_ANSWER.fullmatch(match["tag"]):
            answer = match["inner"]
        elif caption is None and _IS_TEXT.fullmatch(match["tag"]):
            caption = match["inner"]
        at = match.end()
    return (caption if answer is None else answer) if at == len(text) else None
