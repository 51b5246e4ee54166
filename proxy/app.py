"""Composes the gateway: the only file that knows every part."""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
from collections.abc import Callable, Coroutine, Iterator
from datetime import datetime
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from billing.money import format_usd
from console.services import Parts
from metrics.instruments import Instruments
from middlewares.auth import auth
from middlewares.body import body
from middlewares.budget import budget
from middlewares.byok import byok
from middlewares.choice import Choice
from middlewares.correlate import correlate, new_request_id
from middlewares.errors import errors
from middlewares.headers import headers, headers_of_calls, write_headers
from middlewares.idempotency import idempotency
from middlewares.metering import metering
from middlewares.observe import LogCall, observe, utc_now
from middlewares.overload import Overload, overload
from middlewares.rate_limit import rate_limit
from middlewares.routing import routing
from middlewares.runs import Runs
from middlewares.token_limit import token_limit
from middlewares.tracing import open_tracing
from providers.catalogue import Catalogue
from providers.experience import Experience
from providers.health import Health
from providers.prompt_caches import PromptCaches
from providers.transport import PooledTransport
from proxy.chain import AROUND_ALL, CHAIN, arranged
from proxy.chat import chat
from proxy.config import Loaded
from proxy.dialects.speaking import DIALECTS, speak
from proxy.embeddings import embeddings
from proxy.endpoints import list_endpoints
from proxy.extensions import make_extensions
from proxy.free_probes import free_probes
from proxy.front import Front
from proxy.listening import listen
from proxy.models import list_models, show_model
from proxy.pages import market_of
from proxy.part_settings import budget_settings_of, fees_of, relay_settings_of, routing_settings_of
from proxy.payments import SWEEP_SECONDS as PAYMENT_SECONDS
from proxy.payments import PaymentPlane
from proxy.people import ROUTES as PEOPLE_ROUTES
from proxy.people import add_people
from proxy.probes import READY_SECONDS, healthz, metrics, readyz
from proxy.probes import ROUTES as PROBE_ROUTES
from proxy.quote import quote
from proxy.reloading import Reloading, reload_now, settings_in_force
from proxy.repeating import every
from proxy.settings import Settings
from proxy.shortcut import SHORTCUT, Shortcut, fold
from proxy.sign_in import SignInPlane
from proxy.stopping import OpenStreams, close_runners
from proxy.streams import resume
from storage.connection import StorageUnavailable
from storage.database import Database
from storage.expiry import Expiry
from storage.idempotency import Answers
from storage.key_changes import KeyUses
from storage.keys import KeyRing
from storage.ledger import Ledger
from storage.limits import Limits
from storage.postings import find_total_held
from storage.provider_keys import ProviderKeys
from storage.sealing import Sealer
from storage.shared_limits import open_limits

logger = logging.getLogger("find-token.app")

BASES: Final = ("/v1", "/api/v1")
"""The second is for people who come from OpenRouter."""

ROUTES: Final = (
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/embeddings"),
    *(("POST", f"/v1{path}") for path in DIALECTS),
    ("POST", "/v1/quote"),
    ("GET", "/v1/streams/{id}"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{id}"),
    ("GET", "/v1/models/{id}/endpoints"),
    ("GET", "/openapi.json"),
    *PROBE_ROUTES,
    ("POST", "/-/reload"),
    ("GET", "/-/settings"),
    *PEOPLE_ROUTES,
)

HEARTBEAT_SECONDS: Final = 5.0
EXPIRY_SECONDS: Final = 3600.0
"""Often enough that what is due by the day is done within the hour, also by a process that is restarted daily."""
FAREWELL_SECONDS: Final = 0.5
"""How long a process that is told to stop still takes what is on its way: longer than a busy loop lets a connection wait."""
SWEEP_SECONDS: Final = 10.0


class Gateway:
    """Everything of one process, started and closed in order."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        database: Database,
        *,
        clock: Callable[[], datetime] = utc_now,
        log: LogCall | None = None,
        share_port: bool = False,
    ) -> None:
        """``clock`` tells when calls come in; everything else takes the machine's. ``log`` takes the facts of each call.

        ``share_port``: other processes listen on the public port, too.
        """
        self._share_port = share_port
        self._log = log
        self._clock = clock
        self._settings = settings
        self._catalogue = catalogue
        self._database = database
        self.instruments = self._instruments = Instruments(importlib.metadata.version("find-token"))
        self._health = Health()
        self._caches = PromptCaches()
        self._experience = Experience()
        self._transport = PooledTransport()
        process_id = f"process_{new_request_id()[4:]}"
        self._ledger = Ledger(database, owner=process_id)
        self._expiry = Expiry(database, settings.billing.credit_expiry_days)
        self._keys = KeyRing(database, settings.security.key_prefix, process_id)
        self._key_uses = KeyUses(database)
        self._sealer = Sealer(settings.security.secret_key.get_secret_value())
        self._provider_keys = ProviderKeys(database, self._sealer)
        self._answers = Answers(database, self._sealer, process_id)
        self._runs = Runs(settings.routing.reconnect_seconds)
        self._limiter = open_limits(settings.storage.redis, on_local=self._instruments.limits_local.inc)
        self._overload = Overload(lambda: database.queue_length)
        self._payments = PaymentPlane(lambda: self._settings, database, self._instruments)
        self.sign_in = SignInPlane(lambda: self._settings, lambda: self.url, database, self._limiter, self._instruments)
        self._tracing = open_tracing(process_id, self._instruments, **dict(settings.tracing))
        self._tasks: list[asyncio.Task[None]] = []
        self._runners: list[web.AppRunner] = []
        self._headers_of = headers_of_calls(settings.security.header_prefix)
        self._shortcut: Shortcut | None = None
        self._extensions = make_extensions(settings.middlewares, settings.extensions)
        self.reloading: Reloading | None = None
        """How other settings come in force, where there are files to take them from."""
        self._stopping = False
        self._open_streams = OpenStreams()
        self._front = Front(
            header_timeout_seconds=settings.server.header_timeout_seconds,
            most_connections=settings.server.max_connections,
            headers_of=self._headers_of,
            on_refused=self._instruments.turned_away,
        )
        self.url = ""
        """The address of the public API, once started."""
        self.admin_url = ""

    def catalogue(self) -> Catalogue:
        """The catalogue in force now."""
        return self._catalogue

    async def start(self) -> None:
        """Open the database, both listeners and the background work. Raises OSError for a port that is taken."""
        await self._database.start()
        self._database.on_commit = self._committed
        self._instruments.watch_circuits(self._circuits)
        self._instruments.calls_in_flight.set_function(lambda: self._experience.calls_in_flight)
        await self._transport.start()
        await self._payments.payments.start()
        await self._ledger.heartbeat()
        await self._limiter.start()
        self._in_background(self._overload.watch())
        told = self._health, self._experience, self.catalogue, lambda: self._settings, self._instruments
        self._in_background(free_probes(self._transport, *told))
        self._in_background(self._keys.watch())
        self._in_background(self._key_uses.watch())
        self._in_background(self._provider_keys.watch())
        self._in_background(every(HEARTBEAT_SECONDS, self._ledger.heartbeat))
        self._in_background(every(SWEEP_SECONDS, self._sweep))
        self._in_background(every(EXPIRY_SECONDS, self._expire, first_after_seconds=SWEEP_SECONDS))
        self._in_background(every(EXPIRY_SECONDS, self._answers.forget_expired, first_after_seconds=SWEEP_SECONDS))
        if not self._answers.can_keep:
            logger.warning("no secret key is set: answers to calls with an Idempotency-Key are kept in memory only")
        self._in_background(every(PAYMENT_SECONDS, self._payments.desk.sweep))
        server = self._settings.server
        self.url = await self._listen(
            self.public_application(), server.listen, share_port=self._share_port, front=self._front
        )
        self.admin_url = await self._listen(self.admin_application(), server.admin_listen)
        for job in self.sign_in.start():  # Only now is it sure where mailed links lead.
            self._in_background(job)

    async def say_farewell(self) -> None:
        """Not ready any more; but whoever was on the way here when the order to stop came is still answered, because a
        connection that is reset tells a load balancer nothing that it could repeat."""
        self._stopping = True
        if self._front.expects_calls(asyncio.get_running_loop().time()):
            await asyncio.sleep(FAREWELL_SECONDS)

    async def close(self, at_once: asyncio.Event | None = None) -> None:
        """Stop accepting, let calls in flight finish and settle, but for so long only, and until ``at_once`` is set; then
        close everything."""
        self._stopping = True
        await close_runners(
            self._runners, self._open_streams, self._settings.server.shutdown_seconds, at_once or asyncio.Event()
        )
        await self._runs.close()
        await self.sign_in.office.close()
        await self._answers.close()
        await self._ledger.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._limiter.close()
        await self._payments.payments.close()
        await self._transport.close()
        await self._database.close()
        if self._tracing is not None:
            await self._tracing.close()

    def public_application(self) -> web.Application:
        """The data plane."""
        around_all = [errors(), correlate()]
        application = web.Application(middlewares=around_all)
        application.on_response_prepare.append(write_headers(self._headers_of))
        # Whoever comes back to a stream is known, counted and limited like whoever makes a call.
        links = self._call_chain()
        known = [links[name] for name in ("overload", "observe", "auth", "rate_limit")]
        stream = fold(known, resume(self._runs, self._settings.server.client_stall_seconds))
        paths = tuple(f"{base}/chat/completions" for base in BASES)
        self._shortcut = Shortcut(paths, around_all, self._call(), self._headers_of)
        application[SHORTCUT] = self._shortcut
        models, model = list_models(self.catalogue), show_model(self.catalogue)
        endpoints = list_endpoints(self.catalogue, self._health.standing, self._health.report)
        for base in BASES:
            application.router.add_post(f"{base}/chat/completions", self._shortcut.route)
            application.router.add_post(f"{base}/embeddings", self._embed)
            for path, dialect in DIALECTS.items():
                application.router.add_post(base + path, speak(dialect, self._shortcut.route))
            application.router.add_post(f"{base}/quote", self._quote)
            # No HEAD: the stream's bytes would come after the head of its answer.
            application.router.add_get(base + "/streams/{id}", stream, allow_head=False)
            application.router.add_get(f"{base}/models", models)
            application.router.add_get(base + "/models/{id:.+}/endpoints", endpoints)
            application.router.add_get(base + "/models/{id:.+}", model)
        market = market_of(lambda: self._settings, self.sign_in.sessions.public_url, self.catalogue, self._health)
        add_people(application, BASES, self._account_parts(), self._payments, self.sign_in, market)
        return application

    def admin_application(self) -> web.Application:
        """The operating plane."""
        application = web.Application()
        application.router.add_get("/healthz", healthz())
        application.router.add_get("/readyz", readyz(self._database, self.catalogue, lambda: self._stopping))
        application.router.add_get("/metrics", metrics(self._instruments.registry, self._refresh_gauges))
        application.router.add_post("/-/reload", reload_now(lambda: self.reloading))
        application.router.add_get("/-/settings", settings_in_force(lambda: self.reloading))
        return application

    def apply(self, loaded: Loaded) -> None:
        """Put other settings and another catalogue in force; calls under way keep theirs."""
        self._extensions = make_extensions(loaded.settings.middlewares, loaded.settings.extensions)
        self._settings, self._catalogue = loaded.settings, loaded.catalogue
        self._expiry = Expiry(self._database, loaded.settings.billing.credit_expiry_days)
        self._runs.away_seconds = loaded.settings.routing.reconnect_seconds
        if self._shortcut is not None:
            self._shortcut.put(self._call())

    def _call(self) -> Handler:
        """What a call that costs money goes through, without what stands around every route.

        A quote is asked for within the same limits and read in the same way, so it goes through the same first links.
        """
        links = self._call_chain()
        chain = list(links.values())
        asked = [links[name] for name in ("auth", "rate_limit", "body", "byok")]
        asked.insert(0, observe(self._instruments, self._clock, counted=False))
        self._quoted = fold(asked, quote(self._ledger, self._choice()))
        relayed = relay_settings_of(
            self._settings, self._instruments.streams_open, self._headers_of, self._open_streams
        )
        self._embedded = embeddings(links, self._settings.server, self.catalogue, self._transport, relayed)
        return fold(chain, chat(self._transport, relayed, self._experience.without_usage))

    async def _embed(self, request: web.Request) -> web.StreamResponse:
        return await self._embedded(request)

    async def _quote(self, request: web.Request) -> web.StreamResponse:
        return await self._quoted(request)

    def _choice(self) -> Choice:
        fee, byok_fee = fees_of(self._settings)
        return Choice(self.catalogue, self._health, self._caches, fee=fee, byok_fee=byok_fee)

    def _account_parts(self) -> Parts:
        return Parts(
            self._database,
            self._keys,
            self._key_uses,
            self._sealer,
            self._provider_keys,
            self.catalogue,
            self._settings.security.key_prefix,
            lambda: (self._settings.billing.credit_expiry_days, self._settings.billing.refund_window_days),
            self.sign_in.sessions,
        )

    def _call_chain(self) -> dict[str, Middleware]:
        """What happens to calls that cost money, by name and in order; AROUND_ALL stand around every route."""
        settings, instruments = self._settings, self._instruments
        self._overload.allow(settings.server.max_calls, settings.server.overload_lag_seconds)
        links = [
            overload(self._overload, instruments),
            observe(instruments, self._clock, self._log, None if self._tracing is None else self._tracing.trace),
            auth(self._keys, self._key_uses),
            rate_limit(self._limiter, Limits(**settings.limits.model_dump()), instruments),
            body(settings.server.max_body_bytes, settings.server.body_timeout_seconds, self.catalogue),
            idempotency(
                self._runs,
                self._answers,
                header_prefix=settings.security.header_prefix,
                stall_seconds=settings.server.client_stall_seconds,
            ),
            token_limit(self._limiter, instruments),
            byok(self._provider_keys, self.catalogue),
            budget(self._ledger, budget_settings_of(settings), self._choice(), instruments),
            routing(routing_settings_of(settings), self._health, instruments, self._experience),
            metering(*fees_of(settings)),
            headers(),
        ]
        named = dict(zip((name for name in CHAIN if name not in AROUND_ALL), links, strict=True)) | self._extensions
        return {name: named[name] for name in arranged(settings.middlewares) if name not in AROUND_ALL}

    async def _listen(
        self, application: web.Application, address: str, *, share_port: bool = False, front: Front | None = None
    ) -> str:
        """Serve ``application`` until we close, and return its URL."""
        server = self._settings.server
        runner, url = await listen(
            application,
            address,
            keepalive_seconds=server.keepalive_seconds,
            shutdown_seconds=server.shutdown_seconds,
            share_port=share_port,
            front=front,
        )
        self._runners.append(runner)
        return url

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work))

    async def _sweep(self) -> None:
        self._runs.forget_old()
        released = await self._ledger.sweep()
        if released:
            logger.warning("released %d holds of a process that died", len(released))

    async def _expire(self) -> None:
        done = await self._expiry.run()
        if done.notices or done.expired or done.deactivated:
            logger.info(
                "recorded %d notices, expired the credits of %d accounts (%s USD), deactivated %d accounts",
                done.notices,
                done.expired,
                format_usd(done.amount),
                done.deactivated,
            )

    def _committed(self, seconds: float, _jobs: int) -> None:
        self._instruments.committed(seconds)

    async def _refresh_gauges(self) -> None:
        self._instruments.ledger_queue_length.set(self._database.queue_length)
        try:
            async with asyncio.timeout(READY_SECONDS):
                held = await self._database.read(find_total_held)
        except (StorageUnavailable, TimeoutError):
            held = None
        self._instruments.held(held)

    def _circuits(self) -> Iterator[tuple[tuple[str, str], bool]]:
        return ((key, standing.healthy) for key, standing in self._health)
