"""What is wrong with the operator's files, said in sentences an operator can act on.

A fault names the file, the line, the setting, what was expected and what was found. What was found is left out where it
may be a secret: a fault ends up in terminals, logs and tickets.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, get_args

import pydantic
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from proxy.toml_places import Place

_LONGEST_SHOWN = 60

_EXPECTED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "int_type": "a whole number",
        "int_parsing": "a whole number",
        "int_from_float": "a whole number",
        "float_type": "a number",
        "float_parsing": "a number",
        "decimal_type": "a number",
        "decimal_parsing": "a number",
        "finite_number": "a finite number",
        "bool_type": "true or false",
        "bool_parsing": "true or false",
        "string_type": "a text in quotes",
        "tuple_type": "a list",
        "list_type": "a list",
        "dict_type": "a table",
        "model_type": "a table",
        "model_attributes_type": "a table",
        "greater_than": "a number above {gt}",
        "greater_than_equal": "a number of at least {ge}",
        "less_than": "a number below {lt}",
        "less_than_equal": "a number of at most {le}",
        "decimal_max_places": "a number of at most {decimal_places} decimals",
        "string_pattern_mismatch": "a text that fits {pattern}",
        "too_short": "a list of at least {min_length}",
        "too_long": "a list of at most {max_length}",
        "string_too_short": "a text of at least {min_length} characters",
        "string_too_long": "a text of at most {max_length} characters",
        "literal_error": "{expected}",
    }
)
"""What the checker's kinds of error mean in plain words; ``{…}`` is filled from the error's context."""

_SECRET_NAMES = re.compile(r"(keys?|secret|password|token|database|redis)$", re.IGNORECASE)
_KEYS = re.compile(r"\b(sk|pk|rk|whsec)[-_][A-Za-z0-9_-]{8,}")
_SECRET_SHAPES = re.compile(r"[A-Za-z0-9_+/=-]{24,}|://[^/]*@|\b(sk|pk|rk|whsec)[-_]", re.IGNORECASE)


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing that is wrong. ``line`` counts from 1; 0 means the whole file, or the environment."""

    file: str
    line: int
    key: str
    sentence: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.key}: {self.sentence}"


class ConfigurationFaults(Exception):
    """The files cannot be used. Carries every fault of both files, sorted by file and line."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults: list[Fault] = sorted(set(faults))
        super().__init__("\n".join(str(fault) for fault in self.faults))


def dotted(place: Sequence[str | int]) -> str:
    """A place as an operator reads it: ``models.qwen-max.prices[1].from``; the first of a list is 1."""
    text = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.lstrip(".") or "file"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``", did you mean 'workers'?"`` when something known is near, else nothing."""
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {nearest[0]!r}?" if nearest else ""


def without_keys(sentence: str) -> str:
    """A sentence that somebody else made, with "…" for what has the form of a key."""
    return _KEYS.sub("…", sentence)


def shown(value: object, place: Place) -> str:
    """A value as a fault may show it: short, and nothing that could be a secret."""
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, (list, tuple)):
        return "a list"
    if any(isinstance(part, str) and _SECRET_NAMES.search(part) for part in place[-2:]):
        return "a value that is not shown here"
    if isinstance(value, (Decimal, date, time)):
        return str(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and _SECRET_SHAPES.search(value):
        return f"a text of {len(value)} characters"
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"


def explain(
    error: pydantic.ValidationError,
    schema: type[pydantic.BaseModel],
    raw: Mapping[str, Any],
    shown_instead: Mapping[Place, str],
) -> dict[Place, str]:
    """Every fault of one validation: where it is, and its sentence. One sentence a place: of a union's, the first.

    ``shown_instead`` has the words for the values that came from environment variables and are never shown.
    """
    sentences: dict[Place, str] = {}
    for detail in error.errors(include_url=False):
        place = _place_in_file(detail, raw)
        sentences.setdefault(place, _sentence(detail, place, schema, shown_instead))
    return sentences


def _sentence(
    detail: ErrorDetails, place: Place, schema: type[pydantic.BaseModel], shown_instead: Mapping[Place, str]
) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return "unknown setting" + did_you_mean(str(place[-1]), _names_known_at(schema, place[:-1]))
    if kind == "missing":
        return "expected a value, found none"
    if kind in _EXPECTED:
        sentence = "expected " + _EXPECTED[kind].format_map(context)
    else:
        sentence = detail["msg"].removeprefix("Value error, ")
        sentence = sentence if kind == "value_error" else sentence[:1].lower() + sentence[1:]
    if kind == "value_error" and ("found" in sentence or isinstance(detail["input"], (list, dict))):
        return sentence
    if place in shown_instead:
        return f"{sentence}, found {shown_instead[place]}"
    return f"{sentence}, found {shown(detail['input'], place)}"


def _place_in_file(detail: ErrorDetails, raw: Mapping[str, Any]) -> Place:
    """The error's location without what the file does not hold (the checker names the members of a union in it)."""
    place: list[str | int] = []
    value: Any = raw
    for part in detail["loc"]:
        if isinstance(value, Mapping) and part in value:
            value = value[str(part)]
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        elif detail["type"] != "missing" or part != detail["loc"][-1]:
            continue
        place.append(part)
    return tuple(place)


def _names_known_at(schema: type[pydantic.BaseModel], place: Sequence[str | int]) -> Collection[str]:
    """The names of the settings that may stand in the table at ``place``."""
    tables: list[type[pydantic.BaseModel]] = [schema]
    for part in place:
        inner = [field for table in tables for name, field in _fields(table) if name == part]
        # A table of tables (or a list of them) is passed through: its names are the operator's own.
        tables = [table for field in inner for table in _tables_in(field.annotation)] if inner else tables
    return [name for table in tables for name, _ in _fields(table)]


def _fields(table: type[pydantic.BaseModel]) -> list[tuple[str, FieldInfo]]:
    return [(field.alias or name, field) for name, field in table.model_fields.items()]


def _tables_in(annotation: Any) -> list[type[pydantic.BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return [annotation]
    return [table for inner in get_args(annotation) for table in _tables_in(inner)]
