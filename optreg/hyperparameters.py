"""Hyperparameters: values checked against the typed, bounded fields of a plugin's reference.

Specs, Python calls, the optimizer's own constructor, the JSON Schema and `optreg show` all use this one reading.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import pydantic
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.errors import PydanticInvalidForJsonSchema

from optreg.errors import Path, PluginError, Problem, SpecError, did_you_mean, plugin_code, shown
from optreg.ranges import UPDATES


class Complaint(NamedTuple):
    """One mistake in a set of hyperparameters: the path of the value, `("betas", 0)`, and what to write instead."""

    path: Path
    message: str


class Field(NamedTuple):
    """A hyperparameter as `optreg show` prints it."""

    name: str
    type: str
    range: str
    default: str


@functools.cache
def _model(reference: type) -> type[BaseModel]:
    """The reference's fields as a strict pydantic model: no coercion, no infinities, no unknown names.

    Names are aliases in the model, since pydantic reserves some of them.
    """
    _prepare_pydantic()
    fields: dict[str, Any] = {}
    config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())
    with plugin_code(f"cannot use the fields of '{_name(reference)}'"):
        hints = get_type_hints(reference, include_extras=True)
        given = defaults(reference)
        for index, name in enumerate(names(reference)):
            _refuse_inexpressible(name, given.get(name))
            default = pydantic.Field(given.get(name, ...), alias=name)
            fields[f"field_{index}"] = (_with_tuples(hints[name]), default)
        return create_model(reference.__name__, __config__=config, **fields)


@functools.cache
def _prepare_pydantic() -> None:
    """Let pydantic look for its own plugins: its first model reads what is installed, and fails if any is damaged."""
    with contextlib.suppress(Exception):
        create_model("First")


def _with_tuples(hint: Any) -> Any:
    """The type with tuples instead of lists, since a list in a spec is read as a tuple."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is list:
        return tuple
    if origin is tuple:
        return tuple[tuple(item if item is ... else _with_tuples(item) for item in arguments)]  # type: ignore[misc]
    if origin is list:
        return tuple[_with_tuples(arguments[0]), ...]  # type: ignore[misc]  # a type computed at run time
    if origin is Annotated:
        return Annotated[_with_tuples(arguments[0]), *hint.__metadata__]
    if origin in {Union, UnionType}:
        return Union[tuple(_with_tuples(argument) for argument in arguments)]  # noqa: UP007
    return hint


def _refuse_inexpressible(name: str, default: Any) -> None:
    """Raise if a spec cannot express the default: a printed spec must load again."""
    if isinstance(default, tuple):
        for item in default:
            _refuse_inexpressible(name, item)
    elif type(default) not in {bool, int, float, str, type(None)}:
        raise TypeError(
            f"the default of '{name}' is a {type(default).__name__}, which a spec cannot express; "
            "use a number, a boolean, a string (typed as a Literal), None or a tuple of these"
        )


def names(reference: type) -> list[str]:
    """The names of the hyperparameters, as declared."""
    return list(_names(reference))


@functools.cache
def _names(reference: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(reference))


def defaults(reference: type) -> dict[str, Any]:
    """The defaults of the hyperparameters that have one; sequences are tuples."""
    given = {}
    for field in dataclasses.fields(reference):
        if field.default is not dataclasses.MISSING:
            given[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            given[field.name] = field.default_factory()
    return {name: _plain(value) if isinstance(value, list) else value for name, value in given.items()}


def taken(reference: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in the form that the types ask for: a tuple for a list, the integer 10000 for the float `1e4`.

    Only a whole number below 2^53, which a float holds exactly, is taken for an integer. Values that have no such form
    are unchanged.
    """
    types = _types(reference)
    return {name: _taken(types[name], value) if name in types else value for name, value in settings.items()}


@functools.cache
def _types(reference: type) -> dict[str, Any]:
    try:
        return get_type_hints(reference)
    except Exception as error:
        raise PluginError(f"cannot use the fields of '{_name(reference)}': {type(error).__name__}: {error}") from error


@functools.cache
def counts(reference: type) -> dict[str, bool]:
    """The hyperparameters that count updates, annotated as `Steps` or `PositiveSteps`; True for lists of numbers."""
    try:
        hints = get_type_hints(reference, include_extras=True)
    except Exception as error:
        raise PluginError(f"cannot use the fields of '{_name(reference)}': {type(error).__name__}: {error}") from error
    return {name: _is_list(hints[name]) for name in names(reference) if _counts_updates(hints.get(name))}


def _counts_updates(hint: Any) -> bool:
    return UPDATES in getattr(hint, "__metadata__", ()) or any(map(_counts_updates, get_args(hint)))


def _is_list(hint: Any) -> bool:
    origin = get_origin(hint)
    return origin in {tuple, list} or (origin in {Annotated, Union, UnionType} and any(map(_is_list, get_args(hint))))


@functools.cache
def numbers(reference: type) -> dict[str, int | None]:
    """The hyperparameters that are numbers, and how many: None for one number, else the length of the tuple.

    A whole number counts something, and is none of these.
    """
    found: dict[str, int | None] = {}
    for name, hint in _types(reference).items():
        choices = get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)
        if float in choices:
            found[name] = None
        elif any(get_origin(choice) is tuple and set(get_args(choice)) == {float} for choice in choices):
            found[name] = max(len(get_args(choice)) for choice in choices if get_origin(choice) is tuple)
    return {name: found[name] for name in names(reference) if name in found}


def _taken(hint: Any, value: Any) -> Any:
    is_sequence = isinstance(value, list | tuple)
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) <= 2**53
    if not (is_sequence or is_whole):
        return value
    choices = get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)
    if is_sequence:
        sequence = next((choice for choice in choices if get_origin(choice) in {tuple, list}), None)
        inner = [argument for argument in get_args(sequence) if argument is not ...] or [Any]
        return tuple(_taken(inner[min(place, len(inner) - 1)], item) for place, item in enumerate(value))
    return int(value) if int in choices and float not in choices else value


def complaints(reference: type, settings: Mapping[str, Any], owner: str) -> Iterator[Complaint]:
    """Everything that is wrong with `settings` as hyperparameters of `reference`.

    Args:
        reference: a dataclass whose fields are typed and bounded.
        settings: the values by name; sequences as tuples.
        owner: the subject of the messages, for instance the plugin's name.
    """
    model = _model(reference)
    choices = names(reference)
    known = {key: value for key, value in settings.items() if key in choices}
    for key in settings.keys() - known.keys():
        yield Complaint((key,), f"{owner} has no parameter '{key}'{did_you_mean(key, choices)}")
    details: list[Any] = []
    with plugin_code(f"the fields of '{_name(reference)}' cannot be checked"):  # a field may bring its own validator
        try:
            model.model_validate(known)
        except ValidationError as error:
            details = error.errors(include_url=False)
    if details:
        wrong_items = {detail["loc"][:1] for detail in details if len(detail["loc"]) > 1}
        for detail in details:
            if detail["type"] != "too_short" or detail["loc"] not in wrong_items:  # right items alone were counted
                yield _complaint(owner, detail)
        return
    refusal = None
    with plugin_code(f"'{_name(reference)}' cannot be created from values that are in range"):
        try:
            reference(**known)  # conditions on several fields together
        except (ValueError, ArithmeticError) as error:
            refusal = f"{owner}: {error}"
    if refusal:
        yield Complaint((), refusal)


def _name(reference: type) -> str:
    return f"{reference.__module__}:{reference.__qualname__}"


def _complaint(owner: str, detail: Mapping[str, Any]) -> Complaint:
    path, kind, value, context = detail["loc"], detail["type"], detail["input"], detail.get("ctx", {})
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    if kind == "missing":
        return Complaint(path, f"{owner} needs '{name}', which has no default; add it")
    if kind in {"too_short", "too_long"}:
        bound = context["min_length"] if kind == "too_short" else context["max_length"]
        room = f"at {'least' if kind == 'too_short' else 'most'} {bound} {'element' if bound == 1 else 'elements'}"
        return Complaint(path, f"{owner}: {name} must have {room}, not {context['actual_length']}")
    hint = ""
    if isinstance(value, str) and kind in {"float_type", "int_type", "bool_type"}:
        hint = "; remove the quotes" if is_number(value) else ""
    elif isinstance(value, str) and kind == "tuple_type" and "," in value:
        hint = f"; write a list: [{value.strip(' ()[]')}]"
    message = _OTHER_WORDS.get(kind) or detail["msg"].removeprefix("Input should be ")
    return Complaint(path, f"{owner}: {name} must be {message}, not {shown(value)}{hint}")


_OTHER_WORDS = {"tuple_type": "a list", "dict_type": "a mapping", "dataclass_type": "a mapping"}
"""What YAML calls some types."""


def is_number(text: str) -> bool:
    """Whether a text would be a number without its quotes."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def check_hyperparameters(reference: type, settings: Mapping[str, Any], owner: str | None = None) -> dict[str, Any]:
    """Return `settings` completed with the defaults of `reference`, or raise one error that lists every problem.

    A list is returned as a tuple, and a float with a whole value as an integer where the type is one.

    Args:
        reference: a dataclass whose typed, bounded fields are the hyperparameters.
        settings: values by name. A one-element tensor is checked as the number it holds, and returned unchanged.
        owner: the subject of the messages; by default, the name of the reference.

    Raises:
        SpecError: (a `ValueError`) a name is unknown, or a value is missing, of the wrong type or out of range.
    """
    owner = owner or reference.__name__
    settings = taken(reference, settings)
    plain = {name: _plain(value) for name, value in settings.items()}
    problems = [Problem(None, complaint.message) for complaint in complaints(reference, plain, owner)]
    if problems:
        raise SpecError(problems)
    return {**defaults(reference), **settings}


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_plain(item) for item in value)
    if hasattr(value, "item") and hasattr(value, "ndim"):
        try:
            return value.item()
        except (RuntimeError, ValueError):  # several elements: the check will refuse it
            return value
    return value


def describe(reference: type) -> list[Field]:
    """The hyperparameters of `reference`: name, type, range, default."""
    properties = json_schema(reference).get("properties", {})
    given = defaults(reference)
    return [
        Field(
            name=name,
            type=_type_name(properties[name]),
            range=_range_name(properties[name]),
            default=str(given[name]) if name in given else "required",
        )
        for name in names(reference)
    ]


def json_schema(reference: type, prefix: str = "") -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the hyperparameters: an object that allows no other key.

    References to nested types begin with `prefix`: `#/$defs/PREFIX...`.
    """
    try:
        schema = _model(reference).model_json_schema(ref_template=f"#/$defs/{prefix}{{model}}")
    except PydanticInvalidForJsonSchema as error:
        raise PluginError(f"the fields of '{_name(reference)}' have no JSON Schema: {error.message}") from error
    for name in schema.get("properties", {}):
        schema["properties"][name].pop("title", None)
    return schema


_TYPE_NAMES = {"number": "float", "integer": "int", "boolean": "bool", "string": "str", "null": "null"}


def _type_name(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " | ".join(_type_name(choice) for choice in schema["anyOf"])
    if "prefixItems" in schema:
        return f"({', '.join(_type_name(item) for item in schema['prefixItems'])})"
    if "enum" in schema:
        return " | ".join(repr(choice) for choice in schema["enum"])
    name: str = schema.get("type", "any")
    return _TYPE_NAMES.get(name, name)


_BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


def _range_name(schema: Mapping[str, Any]) -> str:
    if "prefixItems" in schema:
        inner = [_range_name(item) for item in schema["prefixItems"]]
        return f"each {inner[0]}" if len(set(inner)) == 1 else f"({', '.join(inner)})"
    return ", ".join(f"{sign} {schema[key]}" for key, sign in _BOUNDS.items() if key in schema)
