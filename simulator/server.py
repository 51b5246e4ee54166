"""The simulator as a server: all providers on one port, to be started by a test, a demo or the command line.

`start` gives a running simulator to close again; `serve` runs one until it is cancelled.
"""

import asyncio
from collections.abc import Callable

from aiohttp import web

from simulator.chat import ProviderRoutes
from simulator.checkout import CheckoutRoutes
from simulator.control import ControlRoutes
from simulator.delivery import hide_empty_content_type
from simulator.facts import EMBEDDING_MODELS, PROVIDERS
from simulator.settings import Settings
from simulator.state import SimulatorState

MOST_BODY_BYTES = 64 * 1024 * 1024

DEMO_SETTINGS = Settings(latency_seconds=0.02, pieces_per_second=500.0)
"""How fast the simulator answers people: quick, but visibly word by word."""


def create_app(state: SimulatorState, checkout: CheckoutRoutes) -> web.Application:
    """The application: each provider under its name, with and without `/v1`, a place to pay, and the control routes."""
    app = web.Application(client_max_size=MOST_BODY_BYTES)
    app.on_response_prepare.append(hide_empty_content_type)
    for name in PROVIDERS:
        routes = ProviderRoutes(state, name)
        balance_path = state.providers[name].shape.balance_path
        for prefix in (f"/{name}", f"/{name}/v1"):
            app.router.add_post(f"{prefix}/chat/completions", routes.chat)
            app.router.add_get(f"{prefix}/models", routes.models)
            if name in EMBEDDING_MODELS:
                app.router.add_post(f"{prefix}/embeddings", routes.embeddings)
            if balance_path:
                app.router.add_get(f"{prefix}/{balance_path}", routes.balance)
    checkout.add_to(app.router)
    ControlRoutes(state).add_to(app.router)
    return app


class Running:
    """A simulator that is being served. `url` is its root, without a slash at the end; `state` is for looking inside.

    `checkout` is its Stripe, which can be told where a webhook is listened to.
    """

    def __init__(self, runner: web.AppRunner, url: str, state: SimulatorState, checkout: CheckoutRoutes) -> None:
        self._runner = runner
        self.url = url
        self.state = state
        self.checkout = checkout

    async def close(self) -> None:
        """Stop serving and break off what is under way."""
        await self._runner.cleanup()


async def start(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    latency_seconds: float = 0.0,
    pieces_per_second: float = 0.0,
) -> Running:
    """Serve on `host` and `port` (0: any free one) and return at once; the caller closes what it gets.

    Every provider waits `latency_seconds` before its first byte and then speaks at `pieces_per_second`; 0 is without
    pauses. Raises OSError when the port is taken.
    """
    state = SimulatorState(Settings(latency_seconds=latency_seconds, pieces_per_second=pieces_per_second))
    checkout = CheckoutRoutes()
    # Cancelling handlers is how a call that hangs learns that its caller has left.
    runner = web.AppRunner(
        create_app(state, checkout), access_log=None, handler_cancellation=True, shutdown_timeout=0.1
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=1024, reuse_address=True)
        await site.start()
    except OSError:
        await runner.cleanup()
        raise
    bound = runner.addresses[0]
    checkout.root = root_url(host, bound[1])
    return Running(runner, checkout.root, state, checkout)


async def serve(
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    latency_seconds: float = DEMO_SETTINGS.latency_seconds,
    pieces_per_second: float = DEMO_SETTINGS.pieces_per_second,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until cancelled; `ready` is called once with the root address. Raises OSError when the port is taken."""
    running = await start(host, port, latency_seconds=latency_seconds, pieces_per_second=pieces_per_second)
    try:
        if ready is not None:
            ready(running.url)
        await asyncio.Event().wait()
    finally:
        await running.close()


def root_url(host: str, port: int) -> str:
    """The address of a server at `host` and `port`; an IPv6 host stands in brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
