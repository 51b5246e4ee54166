"""Middlewares that installed packages add: found by their entry-point group, made with the operator's settings for them.

Nothing is imported but what an operator names. What cannot be found, loaded, placed or made is a fault like any other of the
settings file.
"""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from aiohttp.typedefs import Middleware

from middlewares.extending import GROUP, Extension, as_extension, guarded
from proxy.chain import CHAIN, MIDDLEWARES, check_order, misplaced
from proxy.faults import ConfigurationFaults, Fault, did_you_mean, dotted
from proxy.toml_places import Place

Faults = list[tuple[Place, str]]


def installed_names() -> tuple[str, ...]:
    """The names that installed packages add, without importing any of them."""
    return tuple(sorted(importlib.metadata.entry_points(group=GROUP).names))


def check_names(order: tuple[str, ...]) -> tuple[str, ...]:
    """An order of middlewares as it was written. Raises ValueError; packages are looked for only where it is not ours alone."""
    check_order(order, () if set(order) <= set(MIDDLEWARES) else installed_names())
    return order


def make_extensions(order: tuple[str, ...], settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Middleware]:
    """The further middlewares of ``order``, each behind its guard. Raises ConfigurationFaults."""
    made, faults = try_extensions(order, settings)
    if faults:
        raise ConfigurationFaults(Fault("settings", 0, dotted(place), sentence) for place, sentence in faults)
    return made


def try_extensions(
    order: tuple[str, ...], settings: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, Middleware], Faults]:
    """The same, with the faults and their places in the settings file instead of an error."""
    names = [name for name in order if name not in MIDDLEWARES]
    made: dict[str, Middleware] = {}
    faults: Faults = [
        (("extensions", name), f"expected the name of a middleware in `middlewares`{did_you_mean(name, names)}")
        for name in settings
        if name not in names
    ]
    for name in names:
        try:
            extension = _load(name)
        except ValueError as error:
            faults.append((("middlewares",), str(error)))
            continue
        wrong: Faults = [(("middlewares",), sentence) for sentence in misplaced(order, name, extension)]
        wrong += _settings_faults(name, extension, settings.get(name, {}))
        faults += wrong
        if not wrong:
            try:
                made[name] = guarded(name, _make(name, extension, settings.get(name, {})))
            except ValueError as error:
                faults.append((("extensions", name) if name in settings else ("middlewares",), str(error)))
    return made, faults


def _load(name: str) -> Extension:
    """Import what the one package names so. Raises ValueError with a sentence for whatever is in the way."""
    found = importlib.metadata.entry_points(group=GROUP, name=name)
    if name in CHAIN:
        raise ValueError(f"expected a name that is not one of the gateway's own, found {name!r}")
    if not found:
        raise ValueError(f"expected a middleware of an installed package, found {name!r}, which none adds")
    values = {entry.value: entry for entry in found}
    if len(values) > 1:
        packages = sorted({entry.dist.name if entry.dist else entry.value for entry in found})
        raise ValueError(f"expected one package to add {name!r}, found {' and '.join(packages)}: uninstall one of them")
    entry = next(iter(values.values()))
    try:
        return as_extension(entry.load())
    except (Exception, SystemExit) as error:
        raise ValueError(f"expected {name!r} to load from {entry.value}, found {_told(error)}") from error


def _settings_faults(name: str, extension: Extension, settings: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    """What the factory does not take, and what it wants and does not get."""
    try:
        parameters = inspect.signature(extension.make).parameters.values()
    except (TypeError, ValueError):
        return  # Written in another language than Python: making it will tell.
    named = [one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    known = [one.name for one in named]
    if not any(one.kind is one.VAR_KEYWORD for one in parameters):
        for setting in settings:
            if setting not in known:
                yield ("extensions", name, setting), "unknown setting" + did_you_mean(setting, known)
    for one in named:
        if one.default is one.empty and one.name not in settings:
            place: Place = ("extensions", name) if settings else ("middlewares",)
            yield place, f"expected {one.name} in [extensions.{name}], which {name!r} needs, found none"


def _make(name: str, extension: Extension, settings: Mapping[str, Any]) -> Middleware:
    try:
        made = extension.make(**settings)
    except (Exception, SystemExit) as error:
        raise ValueError(f"expected {name!r} to take its settings, found {_told(error)}") from error
    if not callable(made):
        raise ValueError(f"expected {name!r} to make a middleware, found {type(made).__name__}")
    return made


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:300]}"
