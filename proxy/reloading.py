"""Taking the files anew while calls are served: a new version is in force whole, or nothing changes.

Calls in flight keep the settings and prices with which they came in. A version with faults, one that changes what needs a
restart, or a file that has become empty (as one that is just being written) is refused: its faults are logged and
counted, and what was in force stays.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

from metrics.instruments import Instruments
from proxy.config import DEFAULT_FILE, Loaded, load
from proxy.faults import ConfigurationFaults, Fault, dotted
from proxy.settings import Section, Settings

logger = logging.getLogger("find-token.reloading")

NEEDS_RESTART: Final = (
    "server.listen",
    "server.admin_listen",
    "server.workers",
    "server.header_timeout_seconds",
    "server.keepalive_seconds",
    "server.max_connections",
    "server.shutdown_seconds",
    "storage.",
    "security.",
    "logs.",
    "tracing.",
    "stripe.api_key",
    "stripe.webhook_secret",
    "stripe.api_base",
)
"""What is used once, at the start: settings, and whole tables."""

_HIDDEN: Final = (
    "storage.",
    "security.secret_key",
    "stripe.api_key",
    "stripe.webhook_secret",
    "mail.password",
    "google.client_secret",
    "extensions",
)
"""What may hold a secret and is never shown."""


class Reloading:
    """What is in force, and how another version comes to be."""

    def __init__(
        self, path: Path | None, loaded: Loaded, apply: Callable[[Loaded], None], instruments: Instruments
    ) -> None:
        self._path = path
        self._loaded = loaded
        self._apply = apply
        self._instruments = instruments
        self._one_at_a_time = asyncio.Lock()
        instruments.config_is_good(good=True)

    @property
    def loaded(self) -> Loaded:
        """What is in force."""
        return self._loaded

    async def reload(self) -> Loaded:
        """Read both files and put them in force. Raises ConfigurationFaults, and then nothing has changed."""
        async with self._one_at_a_time:
            try:
                # Reading and checking takes longer than a call may wait, so it is done in a thread.
                loaded = await asyncio.to_thread(load, self._path)
                _refuse_what_cannot_be(self._path, self._loaded, loaded)
                self._apply(loaded)
            except ConfigurationFaults as error:
                self._instruments.config_reloaded(good=False)
                logger.error("the new configuration is not taken, the old one stays: %s", error)
                raise
            self._loaded = loaded
            self._instruments.config_reloaded(good=True)
            logger.info("a new configuration is in force")
            return loaded

    async def reload_quietly(self) -> None:
        """For a signal, which has nobody to tell: the log has said what was wrong."""
        try:
            await self.reload()
        except ConfigurationFaults:
            pass


def _refuse_what_cannot_be(path: Path | None, before: Loaded, after: Loaded) -> None:
    file = str(path or DEFAULT_FILE)
    if before.written and not after.written:
        raise ConfigurationFaults(
            [Fault(file, 0, "file", "expected settings, found none where there were some: restart to run on defaults")]
        )
    old, new = flat(before.settings), flat(after.settings)
    faults = [
        Fault(file, 0, key, "expected its old value until the next restart, found another")
        for key, value in new.items()
        if key.startswith(NEEDS_RESTART) and value != old[key]
    ]
    if faults:
        raise ConfigurationFaults(faults)


def flat(settings: Settings) -> dict[str, Any]:
    """Every setting by its dotted name."""
    return {dotted(place): value for place, value in _walk(settings, ())}


def _walk(table: Section, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name in type(table).model_fields:
        value = getattr(table, name)
        if isinstance(value, Section):
            yield from _walk(value, (*place, name))
        else:
            yield (*place, name), value


# --- what is in force, so that it can be compared without being shown ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shown:
    """One setting, provider or model as others may see it: equal digests under one salt are equal values."""

    value: str
    digest: str


def shown(loaded: Loaded, salt: str) -> dict[str, Shown]:
    """Every setting, and every provider and model of the catalogue, by name. Secrets and tables have no value."""
    told = {
        key: Shown("" if key.startswith(_HIDDEN) else _text(value), _digest(salt, value))
        for key, value in flat(loaded.settings).items()
    }
    for table in ("providers", "models"):
        for name, value in loaded.catalogue_data.get(table, {}).items():
            told[f"{table}.{name}"] = Shown("", _digest(salt, value))
    return told


def differences(running: Mapping[str, Shown], file: Mapping[str, Shown]) -> list[tuple[str, str, str]]:
    """What differs: its name, its value as it runs, and in the file; "…" for what is not shown, "–" for what is not there."""
    return [
        (name, _value(running.get(name)), _value(file.get(name)))
        for name in sorted({*running, *file})
        if name not in running or name not in file or running[name].digest != file[name].digest
    ]


def _value(one: Shown | None) -> str:
    return "–" if one is None else one.value or "…"


def _text(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)


def _digest(salt: str, value: Any) -> str:
    if hasattr(value, "get_secret_value"):
        value = value.get_secret_value()
    text = json.dumps(value, default=str, sort_keys=True)
    return hmac.new(salt.encode(), text.encode(), hashlib.sha256).hexdigest()[:16]


# --- on the admin listener ----------------------------------------------------------------------------------------------


_WITHOUT_FILES: Final = {"ok": False, "error": "this gateway was started without files"}


def reload_now(reloading_of: Callable[[], Reloading | None]) -> Handler:
    """POST /-/reload: 200 with the warnings, or 422 with every fault; 409 where there are no files to take."""

    async def handle(_request: web.Request) -> web.StreamResponse:
        reloading = reloading_of()
        if reloading is None:
            return web.json_response(_WITHOUT_FILES, status=409)
        try:
            loaded = await reloading.reload()
        except ConfigurationFaults as error:
            faults = [
                {"file": fault.file, "line": fault.line, "key": fault.key, "sentence": fault.sentence}
                for fault in error.faults
            ]
            return web.json_response({"ok": False, "error": str(error), "faults": faults}, status=422)
        return web.json_response({"ok": True, "warnings": loaded.warnings})

    return handle


def settings_in_force(reloading_of: Callable[[], Reloading | None]) -> Handler:
    """GET /-/settings: what is in force, secrets as digests under a salt of this answer."""

    async def handle(_request: web.Request) -> web.StreamResponse:
        reloading = reloading_of()
        if reloading is None:
            return web.json_response(_WITHOUT_FILES, status=409)
        salt = secrets.token_hex(16)
        told = shown(reloading.loaded, salt)
        return web.json_response(
            {"salt": salt, "settings": {name: {"value": one.value, "digest": one.digest} for name, one in told.items()}}
        )

    return handle
