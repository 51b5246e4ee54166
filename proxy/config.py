"""The operator's settings: `find-token.toml`, the catalogue and the environment, checked whole and frozen.

This is the only file that reads the environment. Every setting has a default, so a short file, or none, is enough. All
faults of both files are found in one go and none of them shows a secret.
"""

from __future__ import annotations

import importlib.resources
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pydantic

from providers.catalogue import Catalogue, CatalogueFaults, CatalogueFile, build, further_faults
from proxy.checks import Listen
from proxy.documents import Document
from proxy.extensions import try_extensions
from proxy.faults import ConfigurationFaults, Fault, dotted, explain
from proxy.settings import Section, Settings
from proxy.toml_places import Place

__all__ = ["ConfigurationFaults", "Fault", "Loaded", "load"]

DEFAULT_FILE: Final = "find-token.toml"


@dataclass(frozen=True, slots=True)
class Loaded:
    """Both files, checked, and what the operator should know although nothing is wrong."""

    settings: Settings
    catalogue: Catalogue
    warnings: list[str]
    written: bool = False
    """Whether a settings file said anything at all."""
    catalogue_data: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The catalogue as it was written, variables filled in."""


def load(path: Path | None, environment: Mapping[str, str] | None = None) -> Loaded:
    """Read the settings from ``path`` and the catalogue they name.

    Without a path `find-token.toml` of the working directory is read if there is one, else the defaults hold. Relative
    names of files are relative to the settings file. ``environment`` replaces the process's own, for tests.
    Raises ConfigurationFaults with every fault of both files.
    """
    environment = os.environ if environment is None else environment
    if path is None and Path(DEFAULT_FILE).is_file():
        path = Path(DEFAULT_FILE)
    folder = Path() if path is None else path.parent
    faults: list[Fault] = []
    document = _read(path, environment, faults)
    written = bool(document.data)
    document.fill_from_environment(_environment_defaults(), environment)
    settings = _settings(document, folder, faults)
    catalogue_name = document.data.get("catalogue")
    named = isinstance(catalogue_name, str) and catalogue_name != ""
    book = _read(folder / str(catalogue_name) if named else _shipped_catalogue(), environment, faults)
    catalogue = None if book.broken else _catalogue(book, faults)
    if faults or settings is None or catalogue is None:
        raise ConfigurationFaults(faults)
    warnings = [*_settings_warnings(settings, document), *_catalogue_warnings(catalogue, book)]
    return Loaded(settings, catalogue, warnings, written=written, catalogue_data=book.data)


def service_manager_socket() -> str:
    """Where systemd wants to hear of us; empty where nothing waits for that."""
    return os.environ.get("NOTIFY_SOCKET", "")


def load_catalogue(path: Path) -> Catalogue:
    """Another catalogue than the one in force, checked as that is. Raises ConfigurationFaults."""
    faults: list[Fault] = []
    book = _read(path, os.environ, faults)
    if book.broken or (catalogue := _catalogue(book, faults)) is None or faults:
        raise ConfigurationFaults(faults)
    return catalogue


def readable_admin_listen(path: Path | None) -> str | None:
    """Where the settings at ``path`` have the admin listener, although they may have faults; None where that cannot be told."""
    path = path if path is not None else Path(DEFAULT_FILE)
    document = Document.read(path if path.is_file() else None, os.environ)
    if not document.text:
        return None
    if document.broken:
        written = re.search(r'^\s*admin_listen\s*=\s*"([^"\n]*)"', document.text, re.MULTILINE)
        listen: object = written[1] if written else None
    else:
        server = document.data.get("server", {})
        usual = Settings().server.admin_listen
        listen = server.get("admin_listen", usual) if isinstance(server, dict) else usual
    try:
        return pydantic.TypeAdapter(Listen).validate_python(listen)
    except pydantic.ValidationError:
        return None


def _shipped_catalogue() -> Path:
    return Path(str(importlib.resources.files("providers").joinpath("catalogue.toml")))


def _read(path: Path | None, environment: Mapping[str, str], faults: list[Fault]) -> Document:
    """The file at ``path``, its faults of reading added to ``faults``; an empty document without a path."""
    document = Document.read(path, environment)
    faults.extend(document.faults)
    return document


def _settings(document: Document, folder: Path, faults: list[Fault]) -> Settings | None:
    if document.broken:
        return None
    settings, found = _validated(document)
    faults.extend(document.fault(place, sentence) for place, sentence in found.items())
    if settings is None or found:
        return None
    faults.extend(document.fault(*found) for found in try_extensions(settings.middlewares, settings.extensions)[1])
    database = settings.storage.database
    if not (match := re.fullmatch(r"sqlite:///([^/].*)", database)):
        return settings
    storage = settings.storage.model_copy(update={"database": f"sqlite:///{(folder / match[1]).absolute()}"})
    return settings.model_copy(update={"storage": storage})


def _validated(document: Document) -> tuple[Settings | None, dict[Place, str]]:
    """The settings, and every fault by its place. What has a fault is left out and the rest looked at again: how the values of a
    table stand to one another is only checked where each of them is right by itself."""
    data, found = document.data, dict[Place, str]()
    while True:
        try:
            return Settings.model_validate(data), found
        except pydantic.ValidationError as error:
            new = explain(error, Settings, data, document.shown_instead())
        if new.keys() <= found.keys():
            return None, found
        found = {**new, **found}
        for place in filter(None, new):
            data = _without(data, place[:2])


def _without(data: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """A file's values without a setting, or without a whole table."""
    name, table = str(place[0]), data.get(str(place[0]))
    if len(place) == 1 or not isinstance(table, dict):
        return {key: value for key, value in data.items() if key != name}
    return {**data, name: {key: value for key, value in table.items() if key != place[1]}}


def _catalogue(book: Document, faults: list[Fault]) -> Catalogue | None:
    try:
        return build(book.data)
    except pydantic.ValidationError as error:
        explained = explain(error, CatalogueFile, book.data, book.shown_instead())
        found = [
            *explained.items(),
            *((place, sentence) for place, sentence in further_faults(book.data) if place not in explained),
        ]
    except CatalogueFaults as error:
        found = error.faults
    faults.extend(book.fault(place, sentence) for place, sentence in found)
    return None


def _environment_defaults() -> dict[Place, str]:
    """The settings whose default is an environment variable, and its name."""
    return {place: extra["environment"] for place, extra in _switches().items()}


def _switches() -> dict[Place, dict[str, str]]:
    """The settings that switch something off when they are empty: their variable, and what is off then."""
    sections = {name: field.annotation for name, field in Settings.model_fields.items()}
    return {
        (name, inner): {key: str(value) for key, value in field.json_schema_extra.items()}
        for name, section in sections.items()
        if isinstance(section, type) and issubclass(section, Section)
        for inner, field in section.model_fields.items()
        if isinstance(field.json_schema_extra, dict)
    }


def _settings_warnings(settings: Settings, document: Document) -> list[str]:
    switches = _switches()
    warnings: list[str] = []
    for place, names in document.unset.items():
        if place == ("mail", "host") and settings.mail.folder:
            continue  # Mails are written into the folder, and with them people sign in.
        consequence = switches[place]["off"] if place in switches else f"{dotted(place)} lacks it"
        warnings.extend(f"{name} is not set: {consequence}" for name in names)
    if settings.stripe.api_key.get_secret_value() and not settings.stripe.return_hosts:
        warnings.append("stripe.return_hosts is empty: nobody can recharge, because no return address is allowed")
    if (settings.mail.host or settings.google.client_id) and settings.server.public_url == Settings().server.public_url:
        warnings.append("server.public_url is not set: people who sign in are led to this machine itself")
    can_sign_in = settings.mail.host or settings.mail.folder or settings.google.client_id
    if settings.sign_in.operators and not can_sign_in:
        warnings.append("sign_in.operators names somebody, but nobody can sign in: neither mail nor google is set up")
    if settings.server.workers > 1 and not settings.storage.redis and any(settings.limits.model_dump().values()):
        workers = settings.server.workers
        warnings.append(
            f"storage.redis is empty: each of the {workers} workers keeps limits by itself, "
            f"so together they allow {workers} times as much"
        )
    return warnings


def _catalogue_warnings(catalogue: Catalogue, book: Document) -> list[str]:
    warnings: list[str] = []
    for place, names in book.unset.items():
        provider = catalogue.providers.get(str(place[1])) if place[0] == "providers" and len(place) > 1 else None
        if provider is None:
            consequence = f"{dotted(place)} lacks it"
        else:
            consequence = f"provider {provider.name} " + ("uses another of its keys" if provider.usable else "is off")
        warnings.extend(f"{name} is not set: {consequence}" for name in names)
    unset_providers = {place[1] for place in book.unset if place[0] == "providers"}
    silent = [entry.name for entry in catalogue.providers.values() if not entry.usable]
    warnings.extend(f"provider {name} has no key: it is off" for name in silent if name not in unset_providers)
    models = catalogue.models.values()
    unserved = [model.id for model in models if not any(upstream.provider.usable for upstream in model.upstreams)]
    for model, name in catalogue.unknown_equivalents():
        warnings.append(f"models.{model}.equivalents: there is no model {name!r}, so it is passed over")
    if unserved:
        warnings.append(f"no provider is usable for: {', '.join(unserved)}")
    return warnings
