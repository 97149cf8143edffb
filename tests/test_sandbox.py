"""What a prompt's template may do: the same text for the same values, bounded work, and no text for a null."""

from __future__ import annotations

from typing import Any

import jinja2
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from recaption import sandbox

COLUMNS: dict[str, Any] = {
    "title": " Ünïcode {{ x }} <b> ",
    "n": 3,
    "x": 0.25,
    "yes": True,
    "tags": ["cat", "red cup", "dog"],
    "meta": {"author": "A. B.", "size": {"w": 640, "h": 480}, "words": [["a", 1], ["b", 2]]},
    "people": [{"name": "Ann", "age": 3}, {"name": "Bo", "age": None}],
}
ABSENT = [None, float("nan"), "", " \t\n", "\u200b\ufeff"]


def filled(template: str, **columns: Any) -> str:
    with sandbox.bounded():
        compiled = sandbox.ENVIRONMENT.from_string(template)
    return sandbox.render(compiled, columns)


@pytest.mark.parametrize(
    "template",
    [
        "Title: {{ title }}, {{ n }} {{ x }} {{ yes }} {{ tags }} {{ meta.size }}",
        "{% for t in tags %}{{ loop.index }}/{{ loop.length }} {{ t }}{{ ', ' if not loop.last }}{% endfor %}",
        "{{ tags | join(', ') }} {{ tags | map('upper') | join }} {{ tags | sort | first }} {{ tags | length }}",
        "{% for k, v in meta.size.items() %}{{ k }}={{ v }};{% else %}none{% endfor %}",
        "{{ meta | tojson }} {{ people | map(attribute='name') | join('; ') }}",
        "{{ people | join(',', attribute='name') }}",
        "{{ '%s has %d' % (title, n) }} {{ '{} {:>5}'.format(title, n) }}",
        "{{ '%s' | format(title) }} {{ title ~ n ~ tags[0] }}",
        "{% set ns = namespace(s='') %}{% for t in tags %}{% set ns.s = ns.s ~ t[0] %}{% endfor %}{{ ns.s }}",
        "{% macro m(a, b='x') %}<{{ a }}{{ b }}>{% endmacro %}{{ m(title) }}{{ m(b=1, a=2) }}",
        "{% set j = joiner('; ') %}{% for t in tags %}{{ j() }}{{ t }}{% endfor %}{{ cycler('a', 'b').next() }}",
        "{{ title | trim | replace('Ü', 'U') | upper }} {{ title.strip().split()[0] }} {{ meta.get('author') }}",
        "{% if 'cat' in tags and n == 3 and title is string and meta.nope is not defined %}ok{% endif %}",
        "{% for w, c in meta.words recursive %}{{ w }}{{ c }}{% endfor %}{{ tags | batch(2) | list }} {{ tags[::-1] }}",
        "{% filter upper %}{{ title }}{% endfilter %}{{ people | groupby('name') | length }} {{ title | wordwrap(5) }}",
        "{{ title | default('none') }} {{ n / 2 }} {{ n // 2 }} {{ n ** 2 }} {{ n * 2 + 1 }}",
        "{{ 'ab' * n }} {{ [1] + [2] }} {{ range(3) | list }}",
    ],
)
def test_normal_values_give_the_same_text_as_plain_jinja(template: str) -> None:
    """Its sha256 is what a stored answer is found by."""
    plain = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False)
    assert filled(template, **COLUMNS) == plain.from_string(template).render(COLUMNS)


@pytest.mark.parametrize("value", ABSENT)
@pytest.mark.parametrize(
    ("template", "text"),
    [
        ('{{ caption or "…" }}', "…"),
        ("{% if caption %}{{ caption }}{% else %}…{% endif %}", "…"),
        ("{{ caption | default('…') }}", "…"),
        ("{{ caption | default('…', true) }}", "…"),
        ("{% if caption is none or caption is not defined or caption == none %}…{% endif %}", "…"),
        ("{{ meta.title or '…' }}{{ meta['title'] or '…' }}{{ meta.get('title') or '…' }}", "………"),
        ("{% if not meta.title %}…{% endif %}", "…"),
    ],
)
def test_a_template_can_handle_absent_values(value: Any, template: str, text: str) -> None:
    assert filled(template, caption=value, meta={"title": value}, tags=["a", value, "b"]) == text


@pytest.mark.parametrize("value", ABSENT)
@pytest.mark.parametrize(
    "template",
    [
        "{{ caption }}",
        "{{ caption | upper }}",
        "{{ caption ~ '!' }}",
        "{{ '%s' % caption }}",
        "{{ '{}'.format(caption) }}",
        "{{ '%s' | format(caption) }}",
        "{{ [caption] }}",
        "{{ caption.strip() }}",
        "{{ caption | length }}",
        "{{ meta.title }}",
        "{{ meta.get('title') }}",
    ],
)
def test_absent_values_are_never_printed(value: Any, template: str) -> None:
    with pytest.raises((jinja2.TemplateError, TypeError)):
        filled(template, caption=value, meta={"title": value}, tags=["a", value])


@pytest.mark.parametrize("template", ["{{ tags }}", "{{ tags | join(', ') }}", "{{ tags ~ '' }}", "{{ none }}"])
def test_a_null_in_a_list_does_not_become_the_word_none(template: str) -> None:
    with pytest.raises(jinja2.UndefinedError, match="null value would be printed"):
        filled(template, tags=["a", None])


@pytest.mark.parametrize("value", ABSENT[:2])
def test_a_null_item_is_absent(value: Any) -> None:
    handled = "{% for t in tags if t %}{{ t }}{% endfor %}{{ tags | last | default('…') }}"
    assert filled(handled, tags=["a", value, "b", value]) == "ab…"
    for template in ("{% for t in tags %}{{ t }}{% endfor %}", "{{ tags | last }}", "{{ tags[1] }}"):
        with pytest.raises(jinja2.UndefinedError):
            filled(template, tags=["a", value])


def test_blank_text_of_the_template_itself_stays() -> None:
    assert filled("cat{{ ['', 's'][n > 1] }}{% for t in ['', 'x'] %}{{ t }}{% endfor %}", n=1) == "catx"


def test_a_null_in_json_is_null() -> None:
    assert filled("{{ meta | tojson }}", meta={"a": None, "b": " "}) == '{"a": null, "b": " "}'


@pytest.mark.parametrize(
    "template",
    [
        "{{ tags | random }}",
        "{% filter random %}ab{% endfilter %}",
        "{{ [tags] | map('random') | first }}",
        "{{ lipsum() }}",
        "{% set f = lipsum %}{{ f(n=1) }}",
        "{% include 'other.md' %}",
        "{% import 'other.md' as o %}",
        "{% extends 'other.md' %}",
    ],
)
def test_random_functions_and_includes_are_refused_at_compile_time(template: str) -> None:
    with pytest.raises(jinja2.TemplateSyntaxError):
        filled(template, tags=["a"])


@pytest.mark.parametrize(
    "template",
    [
        "{{ title.upper }}",
        "{{ title.format }}",
        "{{ title.upper ~ '' }}",
        "{{ [title.upper] | string }}",
        "{{ '%s' % title.upper }}",
        "{{ '{}'.format(meta.keys) }}",
        "{{ range }}",
        "{{ joiner() }}",
        "{{ namespace() }}",
        "{{ self }}",
        "{% for t in tags %}{{ loop }}{% endfor %}",
        "{{ meta.keys() - ['a'] }}",
        "{{ (meta.keys() - ['a']) | join }}",
        "{% macro m() %}{% endmacro %}{{ m }}",
    ],
)
def test_objects_and_sets_are_never_printed(template: str) -> None:
    with pytest.raises(jinja2.exceptions.SecurityError):
        filled(template, **COLUMNS)


GROW = "{% set ns = namespace(s=start) %}{% for i in range(90) %}{% set ns.s = STEP %}{% endfor %}{{ ns.s }}"


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% for a in words %}{% for b in words %}{% for c in words %}{% endfor %}{% endfor %}{% endfor %}",
        "{% for x in [1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% for i in range(100000) %}" + "x" * 1000 + "{% endfor %}",
        "{% for i in range(100000) %}{% if long in long %}{% endif %}{% endfor %}",
        "{% for i in range(100000) %}{{ long | upper | length }}{% endfor %}",
        GROW.replace("STEP", "ns.s ~ ns.s"),
        GROW.replace("STEP", "ns.s + ns.s"),
        GROW.replace("STEP", "[ns.s, ns.s]"),
        GROW.replace("STEP", "dict(a=ns.s, b=ns.s)"),
        GROW.replace("STEP", "{'a': ns.s, 'b': ns.s}"),
        GROW.replace("start", "3").replace("STEP", "ns.s * ns.s"),
        "{{ 'a' * 1000000000 }}",
        "{{ [1] * 1000000000 }}",
        "{{ 9 ** 999999 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ '{:{w}}'.format(1, w=1000000000) }}",
        "{{ 'x'.ljust(1000000000) }}",
        "{{ 'x' | center(1000000000) }}",
        "{{ 'x' | indent(width=1000000000, first=true) }}",
        "{{ [1] | batch(1000000000, 'x') }}",
        "{{ long | replace('', long) }}",
        "{{ long.replace('', long) }}",
        "{{ long.join(long) }}",
        "{{ words | join(long) }}",
    ],
)
def test_work_is_bounded(template: str) -> None:
    with pytest.raises((jinja2.exceptions.SecurityError, RecursionError)):
        filled(template, start="aaaa", long="q" * 60_000, words=[f"w{i}" for i in range(8_000)])


def test_a_long_column_and_a_long_list_are_allowed() -> None:
    words = [f"word{i}" for i in range(8_000)]
    text = filled("{% for w in words %}{{ w | upper }} {% endfor %}{{ long }}", words=words, long="q" * 60_000)
    assert text == "".join(f"{w.upper()} " for w in words) + "q" * 60_000


def test_constants_are_evaluated_within_the_bounds() -> None:
    with sandbox.bounded():
        sandbox.ENVIRONMENT.from_string("{{ 'x' | center(1000000000) }}{{ 9 ** 99999999 }}")
