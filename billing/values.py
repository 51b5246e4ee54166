"""How values are declared here: immutable for the type checker, plain objects at run time.

A frozen dataclass guards every field at run time and so takes several times as long to make; a call makes dozens of values.
The type checker finds an assignment just as well, before anything runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[T]) -> type[T]:
    """Make ``cls`` a slotted dataclass whose instances compare and hash by their fields."""
    return dataclass(slots=True, unsafe_hash=True)(cls)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def named_value(cls: type[T]) -> type[T]:
    """The same, with fields that must be given by name."""
    made: type[Any] = dataclass(slots=True, unsafe_hash=True, kw_only=True)(cls)
    return made


@dataclass_transform(kw_only_default=True, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """The same for many fields, which `blank` lets its maker set one after another; from then on nobody changes them.

    Python looks for every name of a call among all names of the function: 30 of them cost more than all they are about.
    """
    made: type[Any] = dataclass(slots=True, unsafe_hash=True, kw_only=True)(cls)
    return made


def blank(cls: type[T]) -> T:
    """A record without a single value, not even a default: a field that was forgotten raises AttributeError when it is read."""
    return cls.__new__(cls)
