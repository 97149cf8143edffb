"""From answer to caption: rules that remove markup from a model's string.

The answer store keeps the model's string. Each rule removes or unwraps one kind of markup. `Cleaned.removed` names the
rules that changed the text. The rules run until none of them changes the text, so cleaning is idempotent. Rules are
conservative: markup that a caption mentions ("a < b", `</think>`, "the <br> tag", a code block) stays.

Markers of thoughts are those of Qwen, DeepSeek and GLM (<think>), Kimi (◁think▷), Magistral ([THINK]), Seed-OSS
(<seed:think>), LongCat (<longcat_think>), Command A (<|START_THINKING|>), Sky-T1 (<|begin_of_thought|>), Gemma 4
(<|channel>thought … <channel|>), MedGemma (<unused94>) and gpt-oss (<|channel|>analysis<|message|>).
"""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from recaption.scrub import public_text
from recaption.text import INVISIBLE, cut, normalise

VERSION: Final = "3"
"""Version of the rules, part of the build fingerprint. Raise it whenever a caption may change."""

_PASSES = 16  # a text that still changes after these is left unchanged


@dataclass(frozen=True, kw_only=True, slots=True)
class Cleaned:
    """`text` is normalised, has at most `text.LONGEST` bytes, and is "" if nothing visible is left.

    `removed` names the rules that changed the answer, in the order of `RULES`. Normalising is not one of them.
    """

    text: str
    removed: tuple[str, ...] = ()


def clean(answer: str) -> Cleaned:
    """The caption in an answer. Never raises."""
    whole = normalise(answer)
    removed: set[str] = set()
    if cut(whole) != whole and (shorter := normalise(_control(whole))) != whole:  # invisible characters do not count
        whole, removed = shorter, {"control"}
    first = text = cut(whole).rstrip()
    removed |= {"cut"} if text != whole else set()
    at_first = frozenset(removed)
    if _is_suspect(text):
        for _ in range(_PASSES):
            before = text
            for name, rule in _RULES.items():
                if (changed := normalise(rule(text))) != text:
                    text = changed
                    removed.add(name)
            if text == before:
                break
        else:
            text, removed = first, set(at_first)
    return Cleaned(text=text if _has_content(text) else "", removed=tuple(n for n in RULES if n in removed))


def published(answer: str) -> Cleaned:
    """The caption in an answer as a build has it: cleaned, and its URLs without signatures. Never raises."""
    cleaned = clean(answer)
    text = cut(public_text(cleaned.text)).rstrip()
    return cleaned if text == cleaned.text else replace(cleaned, text=text)


# markup that a caption mentions

_CODE = re.compile(r"```[^`]*```|`[^`\n]+`")
_OPENING, _CLOSING = "\"'“‘«「『`", "\"'”’»」』`"
_NAMED = re.compile(r"[\"'”’`]?,?\s+(?:HTML\s+|XML\s+|control\s+|special\s+)?(?:tag|token|element|marker|entity)", re.I)


def _mentions(text: str) -> Callable[[re.Match[str]], bool]:
    """A predicate: whether the caption writes about a match in `text`, which is quoted, named as a tag, or in code."""
    code = [match.span() for match in _CODE.finditer(text)] if "`" in text else []

    def mentioned(match: re.Match[str]) -> bool:
        start, end = match.span()
        before, behind = text[start - 1 : start], text[end : end + 2]
        if before and before in _OPENING and (behind[:1] in _CLOSING if behind else False):
            return True
        if before and before in _OPENING and behind[:1] in ".,;:!?" and behind[1:] and behind[1:] in _CLOSING:
            return True
        return any(a < start and end < b for a, b in code) or _NAMED.match(text, end) is not None

    return mentioned


def _remove(pattern: re.Pattern[str], text: str, by: Callable[[re.Match[str]], str]) -> str:
    mentioned = _mentions(text)
    return pattern.sub(lambda match: match[0] if mentioned(match) else by(match), text)


# control characters

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_CONTROL = re.compile(r"[\x01-\x08\x0e-\x1f\x7f-\x9f]")


def _control(text: str) -> str:
    return _CONTROL.sub("", _ANSI.sub("", text)).strip(INVISIBLE + " \t\n")


# thoughts

_BARE = (
    r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|scratchpad|analysis|monologue|rationale|cot|plan(?:ning)?"
    r"|思考(?:过程)?|推理)"
)
_THOUGHT = rf"(?!end)(?:[a-z]+[:_]){{0,3}}{_BARE}(?:[:_]\w+)?"
_OPEN = re.compile(
    rf"<\s?{_THOUGHT}(?:\s[^<>/\n]{{0,80}})?>|\[think\]|◁think▷|<[|｜](?:start_|begin_)?(?:of_)?{_BARE}[|｜]>"
    r"|<\|channel>\s*thought|<unused94>(?:thought)?",
    re.IGNORECASE,
)
_CLOSE = re.compile(
    rf"<\s?\\?/\s?{_THOUGHT}\s?>|\[/think\]|◁/think▷|<[|｜](?:/|end_)(?:of_)?{_BARE}[|｜]>|<channel\|>|<unused95>",
    re.IGNORECASE,
)
_SHOWN_THOUGHT = re.compile(  # at the beginning, in the format of command lines and web pages
    r"Thinking\.\.\.\s*\n.*?\n\.\.\.\s?done thinking\.?"
    r"|```(?:think(?:ing)?|thoughts?|reasoning)\n.*?\n```(?=\s)"
    r"|<details\b[^<>]{0,200}>\s*<summary>[^<]{0,80}(?:think|thought|reason)[^<]{0,80}</summary>.*?</details>",
    re.IGNORECASE | re.DOTALL,
)
_EITHER = re.compile(f"{_OPEN.pattern}|{_CLOSE.pattern}", re.IGNORECASE)
_FINAL = re.compile(r"<\|channel\|>\s*final\b[^<\n]*(?:<\|message\|>)?")
_ANALYSIS = re.compile(r"(?:<\|start\|>\s*assistant\s*)?<\|channel\|>\s*(?:analysis|commentary)")
_PLAIN_ANALYSIS = re.compile(r"analysis(?=[A-Z\s])")  # the same after a tokenizer has removed its special tokens
_PLAIN_FINAL = "assistantfinal"
_ENDS = ".!?。！？>\n\"'”"


def _thought(text: str) -> str:
    if (shown := _SHOWN_THOUGHT.match(text)) is not None:
        return text[shown.end() :]
    for match in reversed(list(_FINAL.finditer(text))):
        return text[match.end() :]
    if (analysis := _ANALYSIS.search(text)) and (analysis.start() == 0 or text[analysis.start() - 1] in _ENDS):
        return text[: analysis.start()]
    if _PLAIN_ANALYSIS.match(text) and _PLAIN_FINAL in text:
        return text.partition(_PLAIN_FINAL)[2]
    if not _EITHER.search(text):
        return text
    mentioned = _mentions(text)
    kept: list[str] = []
    at, inside = 0, False
    for match in _EITHER.finditer(text):
        start, end = match.span()
        if mentioned(match):
            continue
        if _OPEN.fullmatch(match[0]):
            if not inside and (not text[at:start].strip() or text[start - 1] in _ENDS):
                kept.append(text[at:start])
                at, inside = end, True
        elif inside:
            at, inside = end, False
        elif _closes(text, start, end):  # the opening tag was in the prompt: all text before it is a thought
            kept, at = [], end
    return "".join([*kept, "" if inside else text[at:]])


def _closes(text: str, start: int, end: int) -> bool:
    """Whether a closing tag without an opening one ends a thought, rather than being mentioned in a sentence."""
    before, behind = text[:start].rstrip(" ")[-1:], text[end : end + 1]
    return not before or before in _ENDS or not behind or behind == "\n" or behind.isalnum()


# control tokens

_TOKEN = re.compile(
    r"<\|/?[A-Za-z_][\w:./▁-]{0,39}\|>|<｜[^<>｜\n]{1,40}｜>|<\|(?:turn|channel|tool|think)>|<(?:turn|channel|tool|think)\|>"
    r"|</?s>|<(?:bos|eos|pad|unk|end_of_turn|start_of_turn|end_of_utterance|start_of_image|end_of_image"
    r"|image_soft_token|fake_token_around_image|row_\d+_col_\d+|unused\d{1,3}|extra_id_\d{1,3}|0x[0-9A-F]{2}"
    r"|/?image|/?img|think ?/|sop|eop|eoa|eoh|loc_?\d{1,4}|seg\d{3}|ctrl\d{1,3}|reserved_\d{1,4}"
    r"|_(?:user|bot|system|end)|bot_end)>|\[/?INST\]|<</?SYS>>|\[(?:EOS|BOS|PAD|UNK|CLS|SEP|MASK|gMASK|TOOL_CALLS|UNUSED_TOKEN_\d{1,4})\]"
    r"|\[\|(?:system|user|assistant|endofturn)\|\]|\]~b\](?:ai|user|system)?|\]~!b\[|\[e~\["
)
_CUT_TOKEN = re.compile(r"<(?:\|[A-Za-z_][\w:./▁-]{0,39}\|?|｜[^<>｜\n]{1,40}｜?)$")
_END_OF_TURN = re.compile(
    r"<\|(?:im_end|eot_id|eom_id|eot|end|return|endoftext|end_of_text|end_of_turn|end_of_turn_token|im_start"
    r"|start_header_id|start|user|system|assistant|endofprompt|eos|eot_token)\|>"
    r"|<end_of_turn>|<start_of_turn>|<eos>|<end_of_utterance>|<turn\||<\|turn>|<｜(?:end▁of▁sentence|User|Assistant)｜>"
    r"|\[INST\]|<\|(?:im_user|role_end)\|>|\[\|(?:endofturn|user|system)\|\]|\[e~\[|\]~b\]|<_(?:user|end)>|<eoa>",
    re.IGNORECASE,
)
_ROLE_NAME = "(system|user|human|assistant|model|gpt|ai|bot|developer|tool|function|ipython)"
_ROLE_TOKEN = re.compile(
    rf"(?:<\|(?:im_start|start|turn|role_start)\|?>|<start_of_turn>|<\|start_header_id\|>)\s*{_ROLE_NAME}(?![a-z])\s*"
    r"(?:<\|(?:end_header_id|role_end)\|>)?"
    rf"|<\|{_ROLE_NAME}\|>|<｜{_ROLE_NAME}｜>|\[\|{_ROLE_NAME}\|\]|\]~b\]{_ROLE_NAME}(?![a-z])|<_{_ROLE_NAME}>"
    rf"|<\|im_{_ROLE_NAME}\|>(?:[a-z]{{1,20}}<\|im_middle\|>)?|<role>\s*{_ROLE_NAME}\s*</role>",
    re.IGNORECASE,
)
_ANSWERS = ("assistant", "model", "gpt", "ai", "bot")
_BOX = re.compile(r"<\|box_start\|>[\s\d()\[\],.-]*<\|box_end\|>")


def _token(text: str) -> str:
    text = _CUT_TOKEN.sub("", text)
    if not _TOKEN.search(text):
        return text
    mentioned = _mentions(text)
    roles = [match for match in _ROLE_TOKEN.finditer(text) if not mentioned(match)]
    if (
        roles and not _without_tokens(text[: roles[0].start()]).strip()
    ):  # a dialogue: the answer is the first turn of the model
        mine = next((m for m in roles if any((name or "").lower() in _ANSWERS for name in m.groups())), roles[0])
        return text[mine.end() :]
    question, closing, answer = text.partition("[/INST]")
    if closing and _without_tokens(question.partition("[INST]")[0]).strip() == "" and _has_content(answer):
        return answer
    for match in _END_OF_TURN.finditer(text):
        if not mentioned(match) and _has_content(_without_tokens(text[: match.start()])):
            text = text[: match.start()]
            break
    return _remove(_TOKEN, _BOX.sub("", text), _gap)


def _without_tokens(text: str) -> str:
    return _TOKEN.sub("", text)


def _gap(match: re.Match[str]) -> str:
    """A space, if the words around the token would otherwise join."""
    before, behind = match.string[: match.start()][-1:], match.string[match.end() : match.end() + 1]
    return " " if behind.isalnum() and before and not before.isspace() and before not in "([{\"'“‘" else ""


# role names

_ROLE = re.compile(
    r"(?:#{1,4}\s*)?\*{0,2}(?:(?i:assistant|ai assistant|final answer|final caption)\*{0,2}\s*(?::\*{0,2}|\n)"
    r"|(?i:(?:chat)?bot|ai|(?:chat)?gpt)(?:\*{2}\s*:|:\*{0,2})(?=\s)"
    r"|model\n|USER:.*?\bASSISTANT:)\s*"
    r"|#{1,4}\s*(?i:response|answer|output)\s*:\s*",
    re.S,
)
_NEXT_TURN = re.compile(r"\n#{2,4}[ \t]?(?:human|user|instruction|input)[ \t]*:", re.I)


def _role(text: str) -> str:
    if (turn := _NEXT_TURN.search(text)) is not None and _has_content(text[: turn.start()]):
        text = text[: turn.start()]
    match = _ROLE.match(text)
    return text[match.end() :] if match else text


# labels at the beginning of an answer

_LABELS = (
    r"(?:(?:short|long|brief|concise|detailed|dense|rich|full|image|photo|picture|visual|scene|generated)[ _-]){0,3}"
    r"(?:caption|description)s?(?:[ ](?:of|for)[ ](?:the|this)[ ](?:image|photo|picture|scene))?"
    r"|alt[ -]?text|(?:the[ ]|my[ ]|your[ ])?answer|response|output"
    # German, Dutch, French, Spanish, Portuguese, Italian, Polish, Turkish, Indonesian, Vietnamese
    r"|(?:bild|foto)?beschreibung|bildunterschrift|antwort|(?:afbeeldings)?beschrijving|bijschrift|antwoord"
    r"|l[ée]gende|description de l['’]image|r[ée]ponse|descripci[óo]n(?: de la imagen)?|leyenda|pie de foto|respuesta"
    r"|descri[çc][ãa]o(?: da imagem)?|legenda|resposta|descrizione(?: dell['’]immagine)?|didascalia|risposta"
    r"|opis(?: obrazu)?|açıklama|deskripsi(?: gambar)?|mô tả(?: hình ảnh)?"
    # Russian, Arabic, Hindi, Chinese, Japanese, Korean
    r"|описание(?: изображения)?|подпись|ответ|وصف(?: الصورة)?|विवरण"
    r"|(?:详细|詳細|简短|簡短|简要)?(?:的)?(?:图[像片]|圖[像片]|画面|畫面|画像)?(?:的|の)?(?:详细|詳細)?(?:な)?(?:描述|说明|說明|説明|描写|字幕)"
    r"|回答|答案|(?:画像)?キャプション|(?:이미지 |사진 )?(?:설명|캡션)|답변"
)
_LABEL = re.compile(rf"(?P<heading>#{{1,6}}[ \t]*)?(?P<mark>\*{{1,3}}|__?)?(?:{_LABELS})(?![^\W_])", re.I)
_COLON = r"[ \t\xa0\u202f]*[:：]"


def _label(text: str) -> str:
    """Removes "Caption:", "**Description:**" or "## Caption" from the beginning. Labels that an image may contain
    ("Photo:", "Title:") stay, and so does a word without a colon that is not a heading."""
    match = _LABEL.match(text)
    if match is None:
        return text
    mark = re.escape(match["mark"] or "")
    end = re.compile(rf"{_COLON}(?:[ \t]*{mark})?|{mark}{_COLON}|{mark}[ \t]*(?=\n)").match(text, match.end())
    if end is None:
        return text
    answer = text[end.end() :].strip()
    colon = ":" in end[0] or "：" in end[0]
    closed = bool(mark) and (match["mark"] or "") in end[0]
    if not answer or not (colon or closed or match["heading"]):
        return text
    if mark and not closed:  # **Caption: all of it is bold**
        inner = answer.removesuffix(match["mark"])
        return text if inner == answer or match["mark"] in inner else inner
    return answer


# fences

_PLAIN = {
    "",
    "json",
    "jsonc",
    "markdown",
    "md",
    "text",
    "txt",
    "plaintext",
    "plain",
    "html",
    "xml",
    "caption",
    "output",
    "yaml",
    "yml",
}
_FENCE = re.compile(r"(```+|~~~+)[ \t]*([\w+-]*)[ \t]*\n?")


def _fence(text: str) -> str:
    """Removes a fence around the whole answer, also one without its end. Other fences are content."""
    match = _FENCE.match(text)
    if match is None:
        return text
    mark, inner = match[1], text[match.end() :]
    word, newline = match[2], match[0].endswith("\n")
    if not newline:  # ```A red square.```: the first word is not a language
        word, inner = "", text[len(mark) :]
    if word.lower() not in _PLAIN:
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
_AROUND = 200  # characters of other text before and after a JSON answer


def _json(text: str) -> str:
    """The text of an answer in JSON, which a sentence may introduce."""
    found = None
    if text[:1] in '{["':
        found = _parsed(text)
    elif (
        "```" in text
        and (match := _IN_FENCE.search(text))
        and max(match.start(), len(text) - match.end()) <= _AROUND
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
    return None if len(behind) > _AROUND else _text_of(value)


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
_NO_WRAPPERS = "svg|math|table|ul|ol|dl|script|style|code"  # their content is not text, or needs the element
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


def _wrapper(text: str) -> str:
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
        text = _remove(_CDATA, text, lambda match: match[1])
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
    mentioned = _mentions(text)
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
    return match[0].rstrip().endswith(">") or not before or before in _ENDS


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
    """The content of one element on separate lines, with at most a sentence before and after it ("Sure!")."""
    match = _ON_A_LINE.search(text, 0, 2 * _AROUND)
    if match is None or match.start() > _AROUND:
        return None
    closing = f"</{match['tag']}>"
    at = text.lower().find(closing.lower(), match.end())
    behind = text[at + len(closing) :]
    if at < 0 or len(behind) > _AROUND or behind.lstrip(" \t")[:1] not in ("", "\n"):
        return None
    return text[match.end() : at]


def _opens(tag: str, text: str) -> bool:
    return any(f"<{tag}{end}".lower() in text.lower() for end in (">", " ", "\n"))


def _text_element(text: str) -> str | None:
    """The content of an answer of several elements only: the last one named as an answer, else the first one named as a
    caption."""
    answer, caption, at = None, None, 0
    while (match := _ELEMENT.match(text, at)) is not None:
        if _IS_ANSWER.fullmatch(match["tag"]):
            answer = match["inner"]
        elif caption is None and _IS_TEXT.fullmatch(match["tag"]):
            caption = match["inner"]
        at = match.end()
    return (caption if answer is None else answer) if at == len(text) else None


# HTML and Markdown

_RULES_AROUND = re.compile(r"(?:[-*_][ \t]?){3,}\n|\n(?:[-*_][ \t]?){3,}$")
_QUOTED_LINE = re.compile(r"^>[ \t]?", re.M)
_BREAK = re.compile(r"[ \t]*<br\s?/?>", re.I)
_AT_BREAK = re.compile(r"\0[ \t]*\n?")  # a normalised text has no NUL
_ENTITY = re.compile(r"&(?:(?:amp|#38|#x26);)*(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_PARAGRAPHS = re.compile(r"<p>(.*)</p>", re.I | re.S)
_PARAGRAPH = re.compile(r"\s*</p>\s*<p>\s*", re.I)


def _markup(text: str) -> str:
    if (rule := _RULES_AROUND.match(text)) is not None:
        text = text[rule.end() :]
    if (rule := _RULES_AROUND.search(text, max(0, len(text) - _AROUND))) is not None and rule.end() == len(text):
        text = text[: rule.start()]
    if text[:1] == ">" and all(line[:1] == ">" for line in text.split("\n") if line.strip()):
        text = _QUOTED_LINE.sub("", text)
    if "<" in text:
        text = _AT_BREAK.sub("\n", _remove(_BREAK, text, lambda match: "\0"))
        if (match := _PARAGRAPHS.fullmatch(text)) is not None:
            text = _PARAGRAPH.sub("\n\n", match[1])
    if "&" in text:
        text = _remove(_ENTITY, text, _resolved)
    return text


def _resolved(match: re.Match[str]) -> str:
    """The character of an entity that is escaped once or several times. Other text stays."""
    text = match[0]
    for _ in range(_PASSES):
        if (plain := html.unescape(text)) == text:
            break
        text = plain
    return text.replace("\xa0", " ")


# quotes around the whole answer

_PAIRS = {"“": "”", "«": "»", "„": "“", "「": "」", "『": "』", "‘": "’"}
_APOSTROPHE = re.compile(r"(?<=\w)['’](?=\w)|(?<=s)['’](?= )")


def _quotes(text: str) -> str:
    """Removes the quotes around the whole answer. Quotes that only begin and end it, `"A" and "B"`, are content."""
    if len(text) > 6 and text[:3] in ('"""', "'''") and text.endswith(text[:3]) and text.count(text[:3]) == 2:
        return text[3:-3]
    first, last, inner = text[:1], text[-1:], text[1:-1]
    if len(text) < 3 or not inner.strip():
        return text
    if first == last and first in "\"'":
        return inner if first not in (_APOSTROPHE.sub("", inner) if first == "'" else inner) else text
    if first == last == "`" and "`" not in inner:
        return inner
    if _PAIRS.get(first) == last:
        rest = _APOSTROPHE.sub("", inner) if first == "‘" else inner
        return inner if first not in rest and last not in rest else text
    return text


# whether content is left

_VISIBLE = re.compile(r"[^\W_]")
_BLANK = "\u115f\u1160\u3164\uffa0\u2800\ufffd"  # letters and symbols without a visible shape
_NO_WORDS: Final = (
    "null|none|nil|nan|na|n/a|n a|undefined|void|not applicable|not available|no caption|no description|no answer"
    "|no response|no output|no content|no caption available|no description available|unknown|unspecified|tbd"
    "|object object|无|無|なし|없음|нет|keine|keiner|aucun|aucune|ninguno|ninguna|nessuno|nessuna|nenhum|nenhuma|geen"
)
_NOTHING = frozenset(_NO_WORDS.split("|"))
_LONGEST_NOTHING = 40


def _has_content(text: str) -> bool:
    """Whether the text has a letter, a digit or a pictograph, and is not a word such as "null" or "N/A"."""
    if len(text) > _LONGEST_NOTHING and text.isascii():
        return _VISIBLE.search(text) is not None
    if not any((c.isalnum() or unicodedata.category(c) == "So") and c not in _BLANK for c in text):
        return False
    if len(text) > _LONGEST_NOTHING:
        return True
    words = " ".join(re.sub(r"[^\w/]+", " ", text.casefold()).split())
    return words.strip("/_ ") not in _NOTHING


_RULES: Final[dict[str, Callable[[str], str]]] = {
    "control": _control,
    "thought": _thought,
    "token": _token,
    "role": _role,
    "label": _label,
    "fence": _fence,
    "json": _json,
    "wrapper": _wrapper,
    "markup": _markup,
    "quotes": _quotes,
}
RULES: Final = ("cut", *_RULES)
"""Names of the rules, as in the column `cleaned`."""

_SUSPECT_CHARACTER = re.compile(rf"[<&`{{\[◁\\\x01-\x08\x0e-\x1f\x7f-\x9f~{INVISIBLE}]")
_SUSPECT_START = re.compile(
    r"[\"'“«„「『‘]|analysis|Thinking|[>*\]]|(?:[-_][ \t]?){3}"
    rf"|[#*_\s]*(?i:assistant|ai assistant|model|user|final|(?:chat)?(?:bot|gpt)|ai|{_LABELS})"
)
_SUSPECT_LINE = re.compile(r"\n(?:(?:[-*_][ \t]?){3,}$|#{2,4}[ \t]?(?i:human|user|instruction|input))")


def _is_suspect(text: str) -> bool:
    """Whether a rule may change the text: false for most answers. Three expressions take a ninth of the time of a
    single one, which tries every alternative at every character."""
    found = _SUSPECT_CHARACTER.search(text) or _SUSPECT_START.match(text) or _SUSPECT_LINE.search(text)
    return found is not None
