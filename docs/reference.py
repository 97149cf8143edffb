"""The reference of the command line and of the pipeline file, as Markdown made from the code."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any


def command_line() -> str:
    """A section for each command: what it does, its usage, its arguments and its options."""
    import typer

    from recaption.cli import command

    lines: list[str] = []
    for name, one in command().commands.items():
        context = typer.Context(one, info_name=f"recaption {name}")
        usage = " ".join([f"recaption {name}", *(piece.strip("{}") for piece in one.collect_usage_pieces(context))])
        records = [_escaped(parameter.get_help_record(context)) for parameter in one.params]
        lines += [f"## recaption {name}", "", inspect.cleandoc(one.help or ""), "", "```text", usage, "```", ""]
        lines += ["| argument or option | description |", "| --- | --- |", *records, ""]
    return "\n".join(lines)


def _escaped(record: tuple[str, str] | None) -> str:
    declaration, text = record or ("", "")
    declaration = declaration.removesuffix(" <str>").removesuffix(" <path>").replace("|", "\\|")
    return f"| `{declaration}` | {_cell(text).replace('[', chr(92) + '[')} |"


def pipeline() -> str:
    """A section for each mapping of the pipeline file: its keys with type, default and description."""
    from recaption.config import Pipeline

    schema = Pipeline.model_json_schema()
    lines: list[str] = []
    for path, section in _sections("", schema, schema["$defs"]):
        lines += [f"## {path}" if path else "## The file", "", inspect.cleandoc(section.get("description", "")), ""]
        lines += ["| key | value | default | description |", "| --- | --- | --- | --- |"]
        required = section.get("required", [])
        for key, value in section["properties"].items():
            default = "*required*" if key in required else _default(value.get("default"))
            below = schema["$defs"].get(_mapping(value)[0], {}).get("description", "")
            text = _cell(value.get("description", below))
            lines.append(f"| `{key}` | {_cell(_type(value, _join(path, key)))} | {default} | {text} |")
        lines.append("")
    return "\n".join(lines)


def _sections(path: str, section: dict[str, Any], definitions: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The mappings of the file in the order of its keys, each with the path of its keys."""
    yield path, section
    for key, value in section["properties"].items():
        name, suffix = _mapping(value)
        if name:
            yield from _sections(_join(path, key) + suffix, definitions[name], definitions)


def _mapping(value: dict[str, Any]) -> tuple[str, str]:
    """The definition that a value refers to, and what its path has behind the key: a list's and a mapping's entries."""
    if "$ref" in value:
        return str(value["$ref"]).rpartition("/")[2], ""
    for one in value.get("anyOf", []):
        if "$ref" in one:
            return _mapping(one)
    entries = {"[]": [value.get("items")], ".NAME": [value.get("additionalProperties")]}
    entries[".NAME"] += list(value.get("patternProperties", {}).values())
    for suffix, candidates in entries.items():
        for one in candidates:
            if isinstance(one, dict) and "$ref" in one:
                return _mapping(one)[0], suffix
    return "", ""


def _type(value: dict[str, Any], path: str) -> str:
    """What a value may be, in words."""
    name, suffix = _mapping(value)
    if name:
        kind = {"": "mapping", "[]": "list of mappings", ".NAME": "mapping of mappings"}[suffix]
        return f"[{kind}](#{_slug(path + suffix)})"
    if "anyOf" in value:
        return " or ".join(_type(one, path) for one in value["anyOf"])
    if "enum" in value:
        return " · ".join(f"`{one}`" for one in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    kind = {"string": "text", "number": "number", "integer": "integer", "boolean": "`true` or `false`"}
    kind |= {"null": "`null`", "array": "list", "object": "mapping"}
    text = kind[value["type"]]
    if value["type"] == "array" and isinstance(value.get("items"), dict):
        text += f" of {_type(value['items'], path)}"
    bounds = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
    limits = [f"{sign} {value[key]:,}" for key, sign in bounds if key in value]
    return ", ".join([text, *limits]) if limits else text


def _default(value: Any) -> str:
    if value is None or isinstance(value, dict):
        return ""
    if isinstance(value, list):
        return "`[" + ", ".join(map(str, value)) + "]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _slug(heading: str) -> str:
    """The anchor of a heading, as GitHub and MyST make it."""
    return "".join(letter for letter in heading.lower().replace(" ", "-") if letter.isalnum() or letter in "-_")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "\\<")
