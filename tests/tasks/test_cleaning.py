"""From answer to caption: what is removed, what stays, and what counts as empty."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recaption.tasks.cleaning import RULES, clean, ends_thought, opens_thought
from recaption.text import LONGEST, normalise

CAP = "A red square lies on a white table. Beside it stands a small blue cup."

REMOVED = {
    "thought": [
        f"<think>\nThe user wants a caption.\n</think>\n\n{CAP}",
        f"<think></think>{CAP}",
        f"Okay, the user wants a caption. I see a square.\n</think>\n\n{CAP}",
        f"I see a square</think>{CAP}",
        f"I see a square.</think> {CAP}",
        f"<thinking>hm</thinking>{CAP}",
        f"<THINK>hm</THINK>{CAP}",
        f"<thought>hm</thought>\n{CAP}",
        f"<reasoning>hm</reasoning>\n{CAP}",
        f"<seed:think>hm</seed:think>{CAP}",
        f"<longcat_think>hm</longcat_think>{CAP}",
        f"◁think▷The user wants.◁/think▷{CAP}",
        f"[THINK]The user wants[/THINK]{CAP}",
        f"<|START_THINKING|>hm<|END_THINKING|>{CAP}",
        f"<|begin_of_thought|>hm<|end_of_thought|>{CAP}",
        f"<|channel>thought\nhm<channel|>{CAP}",
        f"<unused94>thought\nhm<unused95>{CAP}",
        f"<|channel|>analysis<|message|>We need.<|end|><|start|>assistant<|channel|>final<|message|>{CAP}",
        f"analysisWe need to describe.assistantfinal{CAP}",
        f"<think>a</think>\n<think>b</think>\n{CAP}",
        f"<think>a <think> b</think>{CAP}",
        f"{CAP}\n<think>\nShould I say more?",
        f"{CAP}\n<think>Done.</think>",
        f"<|thinking|>hm<|/thinking|>{CAP}",
        f"<|begin_of_think|>hm<|end_of_think|>{CAP}",
        f"<|start_of_thought|>hm<|end_of_thought|>{CAP}",
        f"<think >hm</think >\n{CAP}",
        f'<thinking type="deep">hm</thinking>{CAP}',
        f"< think >hm</ think >{CAP}",
        f"<think>hm<\\/think>{CAP}",
        f"<internal_monologue>hm</internal_monologue>{CAP}",
        f"<thinking_process>hm</thinking_process>{CAP}",
        f"<chain_of_thought>hm</chain_of_thought>{CAP}",
        f"<plan>hm</plan>\n{CAP}",
        f"<思考>hm</思考>{CAP}",
        f"Thinking...\nThe user wants.\n...done thinking.\n\n{CAP}",
        f"```thinking\nhm\n```\n{CAP}",
        f'<details type="reasoning"><summary>Thought for 3 s</summary>hm</details>\n{CAP}',
    ],
    "token": [
        f"{CAP}<|im_end|>",
        f"{CAP}<|eot_id|><|endoftext|>",
        f"{CAP}</s>",
        f"<s> {CAP}</s>",
        f"<|begin_of_box|>{CAP}<|end_of_box|>",
        f"{CAP}<end_of_turn>\n<start_of_turn>user\nMore",
        f"{CAP}<|im_end|>\n<|im_start|>user\nDescribe another image.",
        f"<|im_start|>assistant\n{CAP}<|im_end|>",
        f"<|start_header_id|>assistant<|end_header_id|>\n\n{CAP}",
        f"{CAP}<｜end▁of▁sentence｜>",
        f"{CAP}<turn|>",
        f"{CAP}<end_of_utterance>",
        f"[INST] {CAP} [/INST]",
        f"<s>[INST] Describe the image. [/INST] {CAP}</s>",
        f"<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n{CAP}",
        f"<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nDescribe.<|eot_id|>"
        f"<|start_header_id|>assistant<|end_header_id|>\n\n{CAP}<|eot_id|>",
        f"<bos><start_of_turn>model\n{CAP}<end_of_turn>",
        f"<｜begin▁of▁sentence｜><｜Assistant｜>{CAP}<｜end of sentence｜>",
        f"<|pad|><|end|>{CAP}",
        f"{CAP}<|im_",
        f"{CAP}<|im_end|",
        f"[CLS] {CAP} [SEP]",
        f"{CAP}<extra_id_0><0x0A>",
        f"<think/>{CAP}",
        f"<|im_assistant|>assistant<|im_middle|>{CAP}<|im_end|>",
        f"[gMASK]<sop><|user|>\nDescribe.<|assistant|>\n{CAP}<|user|>",
        f"[|assistant|]{CAP}[|endofturn|]",
        f"<|role_start|>assistant<|role_end|>{CAP}",
        f"<role>ASSISTANT</role>{CAP}<|role_end|>",
        f"]~b]ai\n{CAP}[e~[",
        f"<_user>Describe.<_bot>{CAP}<_end>",
        f"<|im_start|>{CAP}",
        f"{CAP}[UNUSED_TOKEN_145]",
        f"{CAP}<eoa>",
        f"{CAP} <loc0012><loc_44>",
        f"<img>{CAP}</img>",
        "A red<|object_ref_start|> square<|object_ref_end|><|box_start|>(12,34),(56,78)<|box_end|>" + CAP[12:],
    ],
    "role": [
        f"assistant: {CAP}",
        f"Assistant:\n{CAP}",
        f"assistant\n{CAP}",
        f"### Assistant: {CAP}",
        f"model\n{CAP}",
        f"USER: Describe this image. ASSISTANT: {CAP}",
        f"### Response:\n{CAP}",
        f"**Final Answer:** {CAP}",
        f"Bot: {CAP}",
        f"Chatbot: {CAP}",
        f"AI: {CAP}",
        f"ChatGPT:\n{CAP}",
        f"**Bot:** {CAP}",
        f"{CAP}\n### Human: Describe another image.",
        f"{CAP}\n\n## Instruction:\nDescribe another image.",
    ],
    "label": [
        f"Caption: {CAP}",
        f"Description: {CAP}",
        f"caption:\n{CAP}",
        f"Captions:\n\n{CAP}",
        f"Caption\uff1a{CAP}",
        f"Image caption: {CAP}",
        f"Detailed image description: {CAP}",
        f"Description of the image: {CAP}",
        f"Alt text: {CAP}",
        f"Answer: {CAP}",
        f"Output:\n{CAP}",
        f"**Caption:** {CAP}",
        f"**Caption**: {CAP}",
        f"**Caption**\n\n{CAP}",
        f"**Caption: {CAP}**",
        f"*Description:* {CAP}",
        f"__Caption:__ {CAP}",
        f"## Caption\n{CAP}",
        f"# Caption: {CAP}",
        f"### **Image Description**\n\n{CAP}",
        f"Caption: Description: {CAP}",
        f"Bildbeschreibung: {CAP}",
        f"**Beschreibung:** {CAP}",
        f"Légende\xa0: {CAP}",
        f"Descripción de la imagen: {CAP}",
        f"Descrição: {CAP}",
        f"Didascalia: {CAP}",
        f"Описание: {CAP}",
        f"**图片描述：**{CAP}",
        f"详细描述：{CAP}",
        f"画像の説明：{CAP}",
        f"이미지 설명: {CAP}",
    ],
    "quotes": [f'"{CAP}"', f"“{CAP}”", f"'{CAP}'", f"«{CAP}»", f'"""{CAP}"""', f"`{CAP}`"],
    "markup": [f"> {CAP}", f"---\n{CAP}\n---", f"{CAP}\n\n* * *"],
    "control": [f"\u200b{CAP}", f"\x1b[1m{CAP}\x1b[0m", f"{CAP[:20]}\x08{CAP[20:]}", f"\u202a{CAP}\u202c\u2063"],
}


@pytest.mark.parametrize(("rule", "answer"), [(rule, answer) for rule, found in REMOVED.items() for answer in found])
def test_markup_is_removed_by_the_named_rule(rule: str, answer: str) -> None:
    cleaned = clean(answer)
    assert cleaned.text == CAP
    assert cleaned.removed == (rule,)


@pytest.mark.parametrize(
    ("answer", "text", "rules"),
    [
        ('```json\n{"caption": "' + CAP + '", "tags": ["cup"]}\n```', CAP, ("fence", "json")),
        ('Sure!\n```json\n{"caption": "' + CAP + '"}\n```', CAP, ("json",)),
        (f"<think>a</think><answer>{CAP}</answer><|im_end|>", CAP, ("thought", "token", "wrapper")),
        (f"<think>a</think><answer><|begin_of_box|>{CAP}<|end_of_box|></answer>", CAP, ("thought", "token", "wrapper")),
        (
            "A sign reads &quot;R&amp;D&quot;.<br/>The wall is grey&nbsp;and plain.",
            'A sign reads "R&D".\nThe wall is grey and plain.',
            ("markup",),
        ),
        ("Tom &amp;amp; Jerry", "Tom & Jerry", ("markup",)),
        ("It&#39;s a caf&#233; &lt;3", "It's a café <3", ("markup",)),
        ('{"caption": "A sign "STOP" here."}', 'A sign "STOP" here.', ("json",)),
        (
            '{"foreground": "A red cup stands here.", "background": "The wall is quite plain."}',
            "A red cup stands here.\nThe wall is quite plain.",
            ("json",),
        ),
        (
            f"<SUMMARY>s</SUMMARY>\n\n<REASONING>r</REASONING>\n\n<CONCLUSION>{CAP}</CONCLUSION>",
            CAP,
            ("thought", "wrapper"),
        ),
        ('"A \\"red\\" sign.\\nA wall."', 'A "red" sign.\nA wall.', ("json",)),
        (f'Caption: "{CAP}"', CAP, ("label", "quotes")),
        (f'"Caption: {CAP}"', CAP, ("label", "quotes")),
        (f"Assistant: **Caption:** {CAP}", CAP, ("role", "label")),
        (f"Caption: **{CAP}**", CAP, ("label", "wrapper")),
        (f"<![CDATA[Description: {CAP}]]>", CAP, ("label", "wrapper")),
        (f"```xml\n<caption>{CAP}</caption>\n```", CAP, ("fence", "wrapper")),
        (
            '<tool_call>\n{"name": "describe", "arguments": {"caption": "' + CAP + '"}}\n</tool_call>',
            CAP,
            ("json",),
        ),
        (
            '[TOOL_CALLS] [{"name": "describe", "arguments": {"caption": "' + CAP + '"}}]',
            CAP,
            ("token", "json"),
        ),
    ],
)
def test_rules_are_combined(answer: str, text: str, rules: tuple[str, ...]) -> None:
    cleaned = clean(answer)
    assert (cleaned.text, cleaned.removed) == (text, rules)


@pytest.mark.parametrize(
    "answer",
    [
        CAP,
        'A whiteboard reads "a < b" and "R&D"; a screen shows the tag "<br>" and `</think>`.',
        "A code editor shows `if a < b && c > d:` and the closing </think> tag on line four.",
        "The HTML on the screen has a <br> tag between two lines and a </div> at the end.",
        'A slide about tokenizers says "<|im_end|>" ends a turn.',
        "A slide shows the <|endoftext|> token in red.",
        "A page explains that `&amp;` stands for an ampersand.",
        "A screen shows code:\n```python\nif a < b:\n    print('R&D')\n```\nA hand rests on the keyboard.",
        "```python\nprint('hello')\n```",
        "A slide shows the [gMASK] token and the `<sop>` token.",
        "A diagram has the boxes [|a|] and the line y = |x|.",
        "Legenda de Zelda is written on a box.",
        "One dash --- and another --- divide the page.\nA cup.",
        "Two people stand at a door.\n> 18 only is painted on it.",
        '"STOP" is written on a sign, and on the wall beside it "GO"',
        "'Twas the night' is painted on the wall's left side, above 'Christmas'",
        "A mug with the words AT&T and Q&A; another says &c.",
        "The formula x < y > z is on the board.",
        "An assistant: the man in the white coat hands over a tool.",
        "The model poses in front of a wall.",
        "A chat window:\nUser: hello\nAssistant: hi there",
        'The config file shows {"name": "app", "version": 1} in a dark editor.',
        "I think </3 is written on the heart.",
        "A heart drawn as <3 on a note.",
        "Sure! Here is a detailed description of the image:\n\nA red cup.",
        "[Left] A red cup. [Right] A blue cup.",
        "Nullarbor Plain road sign.",
        "None of the chairs are taken.",
        "An analysis of the soil lies on the desk.",
        "Analysis\nThe chart rises.",
        "一只红色的猫坐在垫子上。",
        "👨‍👩‍👧 A family emoji.",
        "1984",
        "“Open” and “Closed”",
        "A final answer is written on the board.",
        "Thinking statues sit in a row.",
        "A form with the headings <name> and <plan >, both empty",
        "Answer sheets lie on a desk.",
        "Photo: a dog, by Anna Lee.",
        "Image: 3 of 12 is printed below a map.",
        "Title: The Red House. A book cover.",
        "Caption\nThe word is printed on a poster.",
        "Caption boxes frame each panel of a comic.",
        "Description and price stand on a label.",
        "A poster says: Caption: none.",
        "A form has the field\nDescription: a red cup",
        "Bots: a row of toy robots.",
        "AI is written on a wall.",
        "Outputs: three sockets on the back of an amplifier.",
        "*STOP* is written on a sign, and *GO* on another.",
        "A slide shows `<tool_call>{}</tool_call>` in a grey box.",
        "A slide names the <tool_call> tag and two others",
        "The screen shows the <![CDATA[ marker in red.",
        "<svg><rect/></svg>",
        "Caption:",
        "Unknown people walk along a street.",
    ],
)
def test_content_is_not_changed(answer: str) -> None:
    cleaned = clean(answer)
    assert cleaned.text == normalise(answer)
    assert cleaned.removed == ()


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " \n",
        "\u200b",
        "\u200b\u2060\ufeff",
        ".",
        "...",
        "---",
        "```\n```",
        "null",
        "NULL",
        "None",
        "None.",
        "N/A",
        "n/a.",
        "#N/A",
        "nan",
        "undefined",
        "Unknown.",
        "[object Object]",
        "无",
        "なし。",
        "Нет.",
        "\u2062\u202c",
        "[gMASK]<sop><|assistant|>",
        "No caption available.",
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>",
        '"null"',
        "(none)",
        "[]",
        "{}",
        '{"caption": null}',
        '{"caption": ""}',
        '{"error": {"code": 429, "message": "Rate limit exceeded for this model"}}',
        "\ufffd\ufffd",
        "\u3164",
        "<|im_end|>",
        "<think></think>",
        "<think>\nThe user wants a caption. I see",
        "I see a square.\n</think>",
        "<answer></answer>",
        "<br>",
        "&nbsp;",
        "◁think▷hm",
        "[THINK]hm",
        "<|channel|>analysis<|message|>We need to",
        "\ud800",
        "Caption: N/A",
        "<![CDATA[]]>",
        '<tool_call>{"name": "search", "arguments": {"query": "red cup"}}</tool_call>',
        '<tool_call>\n{"name": "search", "argum',
    ],
)
def test_an_answer_without_visible_text_is_empty(answer: str) -> None:
    assert clean(answer).text == ""


@pytest.mark.parametrize(
    "tag",
    ["<think>\n", "<think>", "◁think▷", "[THINK]", "<seed:think>", "<|START_THINKING|>", "<|begin_of_thought|>\n"],
)
def test_a_prompt_that_ends_with_the_tag_of_a_thought_opens_it(tag: str) -> None:
    assert opens_thought(f"<|im_start|>user\nDescribe it.<|im_end|>\n<|im_start|>assistant\n{tag}")


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "<|im_start|>assistant\n",
        "<|im_start|>assistant\n<think>\n\n</think>\n\n",
        "<|im_start|>user\nWhat does <think> mean?<|im_end|>\n<|im_start|>assistant\n",
    ],
)
def test_other_prompts_open_no_thought(prompt: str) -> None:
    assert not opens_thought(prompt)


def test_an_answer_within_a_thought_is_a_caption_only_if_the_thought_ends() -> None:
    assert not ends_thought("Okay, the user wants a caption. I see a red square on a")
    assert not ends_thought("The page has `</think>` in it, and the user wants")
    for answer in (f"I see a square.\n</think>\n\n{CAP}", f"hm<|channel|>final<|message|>{CAP}"):
        assert ends_thought(answer) and clean(answer).text == CAP


def test_a_long_answer_is_cut_at_a_character() -> None:
    cleaned = clean("é" * LONGEST)
    assert cleaned.text == "é" * (LONGEST // 2)
    assert cleaned.removed == ("cut",)


@pytest.mark.parametrize("blank", [" ", "\n", "\u3000", "\u200b", "\ufeff \u2060\n"])
def test_white_space_around_an_answer_does_not_count_against_its_length(blank: str) -> None:
    padding = blank * (2**20 // len(blank.encode()))
    for answer in (padding + CAP, CAP + padding, padding + CAP + padding):
        cleaned = clean(answer)
        assert cleaned.text == CAP
        assert set(cleaned.removed) <= {"control"}


_PIECES = st.sampled_from(
    [piece for found in REMOVED.values() for answer in found for piece in answer.split(CAP) if piece]
    + [
        "<think>",
        "</think>",
        "&amp;",
        "&#38;",
        "amp;",
        "lt;",
        "`",
        "```",
        '"',
        "'",
        "{",
        "}",
        "<br>",
        "<answer>",
        "\ud800",
        "\x00",
        "\u200b",
        "e",
        "\u0301",
        "\u0958",
        "\n",
        " ",
        ".",
        "null",
        CAP,
    ]
)


@settings(max_examples=300)
@given(st.one_of(st.text(alphabet=st.characters(), max_size=60), st.lists(_PIECES, max_size=12).map("".join)))
def test_cleaning_is_idempotent_and_its_text_can_be_stored(answer: str) -> None:
    cleaned = clean(answer)
    assert clean(cleaned.text).text == cleaned.text
    assert normalise(cleaned.text) == cleaned.text
    assert unicodedata.is_normalized("NFC", cleaned.text)
    assert len(cleaned.text.encode("utf-8")) <= LONGEST
    assert set(cleaned.removed) <= set(RULES)


@pytest.mark.parametrize(
    "piece",
    [
        "<think>",
        "</think>",
        "<think>a</think>",
        "<|a|>",
        "<answer>",
        "</answer>",
        "&amp;",
        "&#38;",
        "`",
        "```",
        '{"a":',
        "[",
        '{"caption": "\\',
        "<br>",
        '"',
        "<p>",
        "USER:",
        "\u200b",
        "<|im_start|>user",
        "\\boxed{",
        "<|channel|>analysis",
        "Caption:",
        "**Caption:",
        "<![CDATA[",
        "<tool_call>",
        "<tool_call>{",
        "</tool_call>",
        "<caption>",
        "\n<caption>",
        "<a>",
        "**",
        "[|assistant|]",
        "> a\n",
        "---\n",
        "\n### Human:",
        "图片的",
        "[ANSWER]",
    ],
)
def test_a_hostile_answer_is_cleaned_or_unchanged_in_bounded_time(piece: str) -> None:
    cleaned = clean(piece * (2 * LONGEST // len(piece)))
    assert len(cleaned.text.encode()) <= LONGEST
