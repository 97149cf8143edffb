"""The text in answers that are JSON, in a fence, in elements or in a tool call."""

from __future__ import annotations

import json

import pytest

from recaption.tasks.answer_formats import text_in_json, unfenced, unwrapped
from recaption.tasks.cleaning import clean

CAP = "A red square lies on a white table. Beside it stands a small blue cup."

WRITTEN_AS = {
    "fence": [
        f"```\n{CAP}\n```",
        f"```markdown\n{CAP}\n```",
        f"```{CAP}```",
        f"```text\n{CAP}",
        f"```yaml\n{CAP}\n```",
    ],
    "json": [
        json.dumps({"caption": CAP}),
        json.dumps({"tags": ["a", "b"], "Caption": CAP, "score": 0.5}),
        json.dumps({"image": {"detailed_caption": CAP}}),
        json.dumps([{"caption": CAP}]),
        json.dumps({"title": "Square", "about": CAP}),
        '{"caption": "' + CAP,
        '{"caption": "' + CAP + '", "tags": ["squ',
        '{"caption": "' + CAP + '"',
        '{"caption": "' + CAP + '",\n',
        "{'caption': '" + CAP + "'}",
        '{caption: "' + CAP + '"}',
        json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": CAP}}]}),
        'Here is the caption: {"caption": "' + CAP + '"}',
    ],
    "wrapper": [
        f"<answer>{CAP}</answer>",
        f"<caption>\n{CAP}\n</caption>",
        f"I see a square and a cup.\n<answer>{CAP}</answer>",
        f"<answer>{CAP}",
        f"{CAP}</answer>",
        f"\\boxed{{{CAP}}}",
        f"$$\\boxed{{\\text{{{CAP}}}}}$$",
        f"\\text{{{CAP}}}",
        f"[ANSWER]{CAP}[/ANSWER]",
        f"<p>{CAP}</p>",
        f'<caption lang="en">{CAP}</caption>',
        f"<detailed_caption>{CAP}</detailed_caption>",
        f"<MORE_DETAILED_CAPTION>{CAP}",
        f"<FinalAnswer>{CAP}</FinalAnswer>",
        f"<assistant>{CAP}</assistant>",
        f"<b>{CAP}</b>",
        f"<content>{CAP}</content>",
        f"<reply>\n{CAP}\n</reply >",
        f"<image-description>{CAP}</image-description>",
        f"<imageCaption>{CAP}",
        f"<![CDATA[{CAP}]]>",
        f"<![CDATA[{CAP}",
        f"<answer><![CDATA[{CAP}]]></answer>",
        f'<?xml version="1.0" encoding="UTF-8"?>\n<caption>{CAP}</caption>',
        f"<!DOCTYPE html>\n<html><body>{CAP}</body></html>",
        f"<tool_call>{CAP}</tool_call>",
        f"<tool_call>\n{CAP}",
        f"{CAP}\n<tool_call>\n{{}}\n</tool_call>",
        f'{CAP}\n<tool_call>\n{{"name": "look", "arg',
        f'<tool_call>{{"name": "a"}}</tool_call>\n{CAP}\n<tool_response>None</tool_response>',
        '<tool_call>{"name": "say", "arguments": "' + json.dumps({"text": CAP}).replace('"', '\\"') + '"}</tool_call>',
        f"Sure!\n<caption>{CAP}</caption>",
        f"<caption>{CAP}</caption>\n\nLet me know if you need more.",
        f"**{CAP}**",
        f"<caption>{CAP}</caption>\n<tags>square, cup</tags>",
        f"<summary>Two things.</summary><caption>A cup.</caption><conclusion>{CAP}</conclusion>",
    ],
}


@pytest.mark.parametrize(("rule", "answer"), [(rule, answer) for rule, found in WRITTEN_AS.items() for answer in found])
def test_the_text_is_found_by_the_named_rule(rule: str, answer: str) -> None:
    cleaned = clean(answer)
    assert (cleaned.text, cleaned.removed) == (CAP, (rule,))


@pytest.mark.parametrize("text", [CAP, "A sign reads [STOP].", 'A screen shows {"a": 1}.', "A <b>bold</b> word here."])
def test_other_text_is_unchanged(text: str) -> None:
    assert unfenced(text) == text_in_json(text) == unwrapped(text) == text
