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
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from recaption.scrub import public_text
from recaption.tasks.answer_formats import AROUND, text_in_json, unfenced, unwrapped
from recaption.tasks.mentions import ENDS, mentions, remove
from recaption.text import INVISIBLE, cut, normalise

VERSION: Final = "3"
"""Version of the rules, part of the build fingerprint. Raise it whenever a caption may change."""

_PASSES = 16  # rounds of all rules; an answer that still changes after them is left unchanged


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
_LONGEST_TAG = 200  # characters


def _thought(text: str) -> str:
    if (shown := _SHOWN_THOUGHT.match(text)) is not None:
        return text[shown.end() :]
    for match in reversed(list(_FINAL.finditer(text))):
        return text[match.end() :]
    if (analysis := _ANALYSIS.search(text)) and (analysis.start() == 0 or text[analysis.start() - 1] in ENDS):
        return text[: analysis.start()]
    if _PLAIN_ANALYSIS.match(text) and _PLAIN_FINAL in text:
        return text.partition(_PLAIN_FINAL)[2]
    if not _EITHER.search(text):
        return text
    mentioned = mentions(text)
    kept: list[str] = []
    at, inside = 0, False
    for match in _EITHER.finditer(text):
        start, end = match.span()
        if mentioned(match):
            continue
        if _OPEN.fullmatch(match[0]):
            if not inside and (not text[at:start].strip() or text[start - 1] in ENDS):
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
    return not before or before in ENDS or not behind or behind == "\n" or behind.isalnum()


def opens_thought(prompt: str) -> bool:
    """Whether a rendered prompt ends with the opening tag of a thought, so that the answer begins within it.

    Templates of some thinking models end so. Only the end of the prompt is needed.
    """
    end = prompt.rstrip()[-_LONGEST_TAG:]
    return any(match.end() == len(end) for match in _OPEN.finditer(end))


def ends_thought(answer: str) -> bool:
    """Whether an answer that begins within a thought ends it. Otherwise, all of it is a thought."""
    if _FINAL.search(answer):
        return True
    mentioned = mentions(answer)
    return any(not mentioned(match) and _closes(answer, *match.span()) for match in _CLOSE.finditer(answer))


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
    mentioned = mentions(text)
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
    return remove(_TOKEN, _BOX.sub("", text), _gap)


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
    if (rule := _RULES_AROUND.search(text, max(0, len(text) - AROUND))) is not None and rule.end() == len(text):
        text = text[: rule.start()]
    if text[:1] == ">" and all(line[:1] == ">" for line in text.split("\n") if line.strip()):
        text = _QUOTED_LINE.sub("", text)
    if "<" in text:
        text = _AT_BREAK.sub("\n", remove(_BREAK, text, lambda match: "\0"))
        if (match := _PARAGRAPHS.fullmatch(text)) is not None:
            text = _PARAGRAPH.sub("\n\n", match[1])
    if "&" in text:
        text = remove(_ENTITY, text, _resolved)
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
    "fence": unfenced,
    "json": text_in_json,
    "wrapper": unwrapped,
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
