"""The Jinja environment of prompts: deterministic, bounded, and strict about absent values.

Deterministic: there is no `random` and no `lipsum`. Only data can be printed, so that no object address and no set,
whose order differs between processes, appears in a prompt.

Bounded: every loop iteration, call, filter, test and operator is a step, and large values cost more steps. A prompt
takes at most `STEPS` steps and has at most `TEXT` characters. Steps are counted, not timed, so that the same values
give the same result on every machine. A million steps take about a second.

Strict: a column, or a value of a mapping in one, that is null, missing, NaN or blank is `Absent`. It is false, equals
none, satisfies `default`, and cannot be printed. In a list, null and NaN are absent; a blank text stays.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from types import BuiltinMethodType, FunctionType, MethodType
from typing import Any, Final

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS
from jinja2.runtime import LoopContext, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS
from jinja2.utils import Cycler, Joiner
from jinja2.visitor import NodeTransformer

STEPS: Final = 1_000_000
TEXT: Final = 1 << 20  # characters of the filled-in prompt and of every intermediate value
_PER_STEP = 64  # characters of a value that cost one step
_WIDTH = 1000  # largest number that may pad, repeat or cut text
_BITS = 4096  # of an integer
_RANDOM = frozenset({"random", "lipsum"})
_PRINTING = frozenset(
    (
        *("string", "join", "upper", "lower", "capitalize", "title", "trim", "replace", "center", "indent"),
        *("wordwrap", "truncate", "format", "escape", "e", "forceescape", "safe", "striptags", "urlencode"),
        *("urlize", "wordcount", "pprint", "filesizeformat"),
    )
)
_PICKING = frozenset({"first", "last", "min", "max", "attr", "sum"})
_SIZED = frozenset(["batch", "slice", "center", "indent", "round", "wordwrap"])
_POSITIONS = frozenset(["find", "rfind", "index", "rindex", "count", "startswith", "endswith", "split", "rsplit"])
_REFUSED_METHODS = frozenset(["translate", "maketrans", "to_bytes", "from_bytes"])
_SEQUENCES: Any = (list, tuple, type({}.keys()), type({}.values()), type({}.items()), range)
_WIDE_FORMAT = re.compile(r"%[^a-zA-Z%]*(?:\d{4,}|\*)")


class Absent(jinja2.StrictUndefined):
    """A value that is null, missing, NaN or blank."""

    __slots__ = ()

    def __bool__(self) -> bool:  # type: ignore[override]
        return False

    def __eq__(self, other: object) -> bool:  # type: ignore[override]
        return is_absent(other)

    def __ne__(self, other: object) -> bool:  # type: ignore[override]
        return not is_absent(other)

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(None)


def is_absent(value: object) -> bool:
    """Whether a template sees `value` as absent: null, missing, NaN, or text without a visible character."""
    if isinstance(value, str):
        return not any(not c.isspace() and unicodedata.category(c) not in ("Cc", "Cf") for c in value)
    return value is None or isinstance(value, Undefined) or (isinstance(value, float) and value != value)


def present(value: Any, name: str) -> Any:
    """`value`, or an `Absent` whose error message explains how to handle it."""
    if not is_absent(value) or isinstance(value, Undefined) or _budget().as_before:
        return value
    shown = name if name.isidentifier() else "value"
    return Absent(
        f"{name} is null, missing or blank for this image, and the template does not handle that; "
        f'write {{{{ {shown} or "…" }}}} or {{% if {shown} %}}'
    )


def holds_absent(value: object) -> bool:
    """Whether `value` or any value in it is absent."""
    if isinstance(value, Mapping):
        return any(map(holds_absent, value.values()))
    return any(map(holds_absent, value)) if isinstance(value, list | tuple) else is_absent(value)


def item(value: Any, name: str) -> Any:
    """As `present`, for a value without a name. Blank text stays: the lists of a template may contain it."""
    return value if isinstance(value, str) else present(value, name)


class _Budget:
    """The remaining steps and characters of one rendering. `as_before`: see `render`."""

    def __init__(self, *, as_before: bool = False) -> None:
        self.steps, self.text, self.as_before = STEPS, TEXT, as_before

    def step(self, count: int = 1) -> None:
        self.steps -= count
        if self.steps < 0:
            raise SecurityError(f"it needs more than {STEPS:,} steps; use fewer or shorter loops")

    def printed(self, length: int) -> None:
        self.text -= length
        if self.text < 0:
            raise SecurityError(f"it has more than {TEXT:,} characters; print less")


_current: ContextVar[_Budget | None] = ContextVar("budget", default=None)


@contextmanager
def bounded(*, as_before: bool = False) -> Iterator[None]:
    """A context in which templates of the environment share the budget of one rendering."""
    token = _current.set(_Budget(as_before=as_before))
    try:
        yield
    finally:
        _current.reset(token)


def _budget() -> _Budget:
    return _current.get() or _Budget()


def _charge(*values: Any, printed: bool = False) -> None:
    """Charge the cost of `values`. With `printed` they become text: raises for absent values and for objects."""
    budget, stack = _budget(), list(values)
    budget.step()
    while stack:
        value = stack.pop()
        if isinstance(value, str | bytes):
            _check_length(len(value))
            budget.step(len(value) // _PER_STEP)
        elif isinstance(value, dict):
            budget.step(len(value))
            stack += value.keys()
            stack += value.values()
        elif isinstance(value, _SEQUENCES):
            budget.step(len(value))
            if not isinstance(value, range):
                stack += value
        elif isinstance(value, int):
            if value.bit_length() > _BITS:
                raise SecurityError(f"a number has more than {_BITS} bits")
        elif isinstance(value, Undefined):
            if printed:
                str(value)  # raises, with the hint
        elif value is None or (isinstance(value, float) and value != value):
            if printed and not budget.as_before:
                raise jinja2.UndefinedError("a null value would be printed; filter it out or give a default")
        elif printed and not (isinstance(value, float | complex) or hasattr(value, "__html__")):
            raise SecurityError(f"only text, numbers, lists and mappings can be printed, not {_type_name(value)}")


def _type_name(value: Any) -> str:
    if isinstance(value, set | frozenset):
        return "a set, whose order differs between runs"
    return f"an object ({type(value).__name__})"


def _check_length(length: int) -> None:
    if length > TEXT:
        raise SecurityError(f"its text has {length:,} characters; at most {TEXT:,} are allowed")


def _check_width(*values: Any) -> None:
    for value in values:
        if isinstance(value, int) and abs(value) > _WIDTH:
            raise SecurityError(f"a width of {value}; at most {_WIDTH} is allowed")


def _each(values: Any, text: int = 0) -> Iterator[Any]:
    """The items of a loop, counted. `text` is the length of the literal text in its body."""
    budget = _budget()
    for value in values:
        budget.step()
        budget.printed(text)
        yield tuple(item(v, "an item") for v in value) if type(value) is tuple else item(value, "an item")


def _sized(value: Any) -> Any:
    _charge(value)
    return value


def _concat(values: list[Any]) -> str:
    _charge(values, printed=True)
    text = "".join(map(str, values))
    _check_length(len(text))
    return text


def _check_growth(name: str, text: Any, args: tuple[Any, ...]) -> None:
    """Refuse a `replace` or `join` whose result would be too long."""
    if not isinstance(text, str | bytes):
        return
    if name == "replace" and len(args) > 1 and all(isinstance(a, type(text)) for a in args[:2]):
        _check_length(len(text) + text.count(args[0]) * len(args[1]))
    elif name == "join" and args and isinstance(args[0], list | tuple | str):
        _check_length(len(text) * len(args[0]))
    elif name in ("format", "format_map") and re.search(r"[:!{][^{}]*\d{4,}|:[^{}]*\{", str(text)):
        raise SecurityError(f"a format whose width is an argument, or is above {_WIDTH}")


def _filter(name: str, do: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, counted, with lists in place of generators."""
    skipped = 1 if hasattr(do, "jinja_pass_arg") else 0  # the context or environment comes first

    @wraps(do)
    def counted(*args: Any, **kwargs: Any) -> Any:
        given = (*args[skipped:], *kwargs.values())
        if name == "join":
            args = _for_join(args, kwargs)
            given = args[skipped:]
        printed = name in _PRINTING
        _charge(*given, printed=printed)
        if name in _SIZED:
            _check_width(*given[1:])
        if name == "format" and _WIDE_FORMAT.search(str(given[0])):
            raise SecurityError(f"a format with a width above {_WIDTH}")
        if name == "replace" and given:
            _check_growth(name, str(given[0]), tuple(map(str, given[1:3])))
        if name == "join" and len(given) > 1:
            _check_length(len(str(given[1])) * len(given[0]))
        made = do(*args, **kwargs)
        if isinstance(made, Iterator):
            made = list(_each(made))
        _charge(made)
        if name in _PICKING or made is None:
            return item(made, f"what the filter {name} finds")
        return made

    return counted


def _for_join(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """The context of `join`, the list of its values (of an attribute, if one is given), and the separator."""
    context, values, *rest = args
    separator = rest[0] if rest else kwargs.pop("d", "")
    attribute = rest[1] if len(rest) > 1 else kwargs.pop("attribute", None)
    kwargs.clear()
    if attribute is not None:
        get = jinja2.filters.make_attrgetter(context.environment, attribute)
        return context, [get(value) for value in _each(values)], separator
    return context, values if isinstance(values, str) else list(values), separator


def _is_none(value: Any) -> bool:
    return value is None if _budget().as_before else is_absent(value)


def _test(do: Any) -> Callable[..., Any]:
    skipped = 1 if hasattr(do, "jinja_pass_arg") else 0

    @wraps(do)
    def counted(*args: Any, **kwargs: Any) -> Any:
        _charge(*args[skipped:])
        return do(*args, **kwargs)

    return counted


@jinja2.pass_context
def _printed(context: jinja2.runtime.Context, value: Any) -> str:
    """The text of `{{ value }}`. It takes a context so that jinja does not evaluate constants without a budget."""
    _charge(value, printed=True)
    text = str(value)
    _budget().printed(len(text))
    return text


def _without_address(kind: type) -> type:
    """A subclass whose instances cannot be printed, because their text would be an address."""

    def refuse(self: object) -> str:
        raise SecurityError(f"only text, numbers, lists and mappings can be printed, not {_type_name(self)}")

    return type(kind.__name__, (kind,), {"__str__": refuse, "__repr__": refuse})


class _Counting(NodeTransformer):
    """Inserts the counters into a template's syntax tree, where jinja has no hook."""

    def visit_For(self, node: nodes.For) -> nodes.For:
        text = sum(len(data.data) for part in node.body for data in _template_data(part))
        self.generic_visit(node)
        node.iter = _call("_each", node.iter, nodes.Const(text))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Expr:
        self.generic_visit(node)
        return _call("_concat", nodes.List(node.nodes, lineno=node.lineno))

    def visit_Compare(self, node: nodes.Compare) -> nodes.Expr:
        self.generic_visit(node)
        node.expr = _call("_sized", node.expr)
        for operand in node.ops:
            operand.expr = _call("_sized", operand.expr)
        return node

    def _literal(self, node: Any) -> Any:
        self.generic_visit(node)
        return node if getattr(node, "ctx", "load") != "load" else _call("_sized", node)

    visit_List = visit_Dict = visit_Tuple = _literal


def _template_data(node: nodes.Node) -> Iterable[nodes.TemplateData]:
    return [node] if isinstance(node, nodes.TemplateData) else node.find_all(nodes.TemplateData)


def _call(name: str, value: Any, *args: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(value, name, list(args), [], None, None, lineno=value.lineno)


class _Environment(ImmutableSandboxedEnvironment):
    """See the module's docstring."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            undefined=Absent, autoescape=False, keep_trailing_newline=False, finalize=_printed, optimized=False
        )
        self.filters = {name: _filter(name, do) for name, do in FILTERS.items() if name not in _RANDOM}
        self.filters |= {"_each": _each, "_sized": _sized, "_concat": _concat}
        self.tests = {name: _test(do) for name, do in TESTS.items()}
        self.tests["none"] = _is_none
        del self.globals["lipsum"]
        self.globals |= {"cycler": _without_address(Cycler), "joiner": _without_address(Joiner)}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        parsed = super()._parse(source, name, filename)
        _check_deterministic(parsed, self)
        return _Counting().visit(parsed)

    def getattr(self, obj: Any, attribute: str) -> Any:
        found = super().getattr(obj, attribute)
        return present(found, attribute) if isinstance(obj, Mapping) else item(found, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        _charge()
        found, name = super().getitem(obj, argument), str(argument) if isinstance(argument, str) else "an item"
        return present(found, name) if isinstance(obj, Mapping) else item(found, name)

    def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:
        text = operator == "%" and isinstance(left, str | bytes)
        _charge(left, right, printed=text)
        if text and _WIDE_FORMAT.search(str(left)):
            raise SecurityError(f"a format with a width above {_WIDTH}")
        if operator == "*":
            for some, times in ((left, right), (right, left)):
                if isinstance(times, int) and hasattr(some, "__len__"):
                    _check_length(len(some) * times)
        whole = isinstance(left, int) and isinstance(right, int)
        if operator == "**" and whole and left.bit_length() * abs(right) > _BITS:
            raise SecurityError(f"a number would have more than {_BITS} bits")
        made = super().call_binop(context, operator, left, right)
        if isinstance(made, set | frozenset):
            raise SecurityError(f"an operator makes {_type_name(made)}; use a list")
        _charge(made)
        return made

    # jinja's parameters begin with underscores, so that they never clash with keywords of a template
    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(__obj, LoopContext):  # `loop(children)`, of a recursive loop
            args = tuple(_each(arg) for arg in args)
        owner, name = _method(__obj)
        text = isinstance(owner, str | bytes)
        given = [value for key, value in kwargs.items() if not key.startswith("_")]  # the others are set by jinja
        _charge(*args, *given, printed=text)
        if name in _REFUSED_METHODS:
            raise SecurityError(f"the method {name} is not allowed in a prompt")
        if text:
            _check_growth(name, owner, args)
            if name not in _POSITIONS:
                _check_width(*args, *given)
        made = super().call(__context, __obj, *args, **kwargs)
        if isinstance(made, set | frozenset):
            raise SecurityError(f"{name} makes {_type_name(made)}; use a list")
        _charge(made)
        found = f"what {name} gives"
        return present(made, found) if name == "get" else item(made, found)


def _method(function: Any) -> tuple[Any, str]:
    """The value that a method belongs to, and its name."""
    original = getattr(function, "__wrapped__", function) if isinstance(function, FunctionType) else function
    owner = original.__self__ if isinstance(original, MethodType | BuiltinMethodType) else None
    return owner, str(getattr(original, "__name__", None) or getattr(original, "name", None) or type(original).__name__)


def _check_deterministic(parsed: nodes.Template, environment: jinja2.Environment) -> None:
    """Raises TemplateSyntaxError for functions whose results differ between runs, and for references to other files."""
    for name in parsed.find_all(nodes.Name):
        if name.name == "lipsum":
            raise _refused("lipsum gives a different text on every run, and each would be sent and paid for", name)
    for node in parsed.find_all(nodes.Filter):
        if node.name in _RANDOM or any(_names(node, other) for other in _RANDOM):
            raise _refused(
                "the filter random gives a different prompt on every run, and each would be sent and paid for; "
                "use first, last or another column",
                node,
            )
    for other in parsed.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        raise _refused("a prompt is one file: include, import and extends are not allowed", other)


def _names(node: nodes.Filter, filter_name: str) -> bool:
    """Whether the filter is `map` with `filter_name` as an argument, as in `map("random")`."""
    values = [*(node.args or ()), *(pair.value for pair in node.kwargs or ())]
    return node.name == "map" and any(isinstance(v, nodes.Const) and v.value == filter_name for v in values)


def _refused(text: str, node: nodes.Node) -> jinja2.TemplateSyntaxError:
    return jinja2.TemplateSyntaxError(text, node.lineno)


ENVIRONMENT: Final = _Environment()


def names(template: str) -> frozenset[str]:
    """All names that a template reads or sets."""
    parsed = ENVIRONMENT.parse(template)
    return frozenset(node.name for node in parsed.find_all(nodes.Name))


def render(compiled: jinja2.Template, values: Mapping[str, Any], *, as_before: bool = False) -> str:
    """The filled-in text. Raises jinja2.TemplateError and the Python errors of a template's expressions.

    With `as_before`, values are printed as before schema 1.3: null as "None", NaN as "nan", and blank text unchanged.
    """
    with bounded(as_before=as_before):
        return compiled.render({name: present(value, name) for name, value in values.items()})
