"""Reading a body of another API field by field: each has the kind that it must have, or a refusal names it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from middlewares.errors import invalid

LONGEST_SHOWN: Final = 60
"""Characters of a caller's own word that a refusal repeats."""


def as_text(value: object, param: str) -> str:
    """A text. Raises a Refusal for anything else."""
    if not isinstance(value, str):
        raise invalid(param, f"{param} must be a text")
    return value


def as_list(value: object, param: str) -> list[Any]:
    """A list; null is an empty one. Raises a Refusal for anything else."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise invalid(param, f"{param} must be a list")
    return value


def as_object(value: object, param: str) -> Mapping[str, Any]:
    """An object; null is an empty one. Raises a Refusal for anything else."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid(param, f"{param} must be an object")
    return value


def as_flag(value: object, param: str) -> bool:
    """True or false; null is false. Raises a Refusal for anything else."""
    if value is None:
        return False
    if not isinstance(value, bool):
        raise invalid(param, f"{param} must be true or false")
    return value


def written(value: object, param: str) -> str:
    """A value as JSON inside a text. Raises a Refusal for one that is nested too deeply."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        raise invalid(param, f"{param} is nested too deeply") from None


def shown(value: object) -> str:
    """A caller's own word as a refusal repeats it."""
    return repr(value)[:LONGEST_SHOWN]
