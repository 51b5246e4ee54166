"""`find-token status` tells how the running gateway is, for people and for programs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer
from click.testing import CliRunner, Result

from proxy.cli import main
from proxy.status_commands import status_from
from tests.fakes.raw_upstream import HANG, RawUpstream, as_asked, failure
from tests.gateway import Gateway


async def ask(gateway: Gateway, folder: Path, *options: str) -> Result:
    """What the command prints beside this gateway."""
    settings = folder / "find-token.toml"
    settings.write_text(f'[server]\nadmin_listen = "{gateway.process.admin_url.removeprefix("http://")}"\n')
    return await asyncio.to_thread(CliRunner().invoke, main, ["status", "--config", str(settings), *options])


async def test_status_tells_circuits_calls_in_flight_and_the_ledger(
    gateway: Gateway, alpha: RawUpstream, beta: RawUpstream, tmp_path: Path
) -> None:
    """An open circuit, a call under way and what it holds; as text and as JSON."""
    alpha.otherwise = lambda _request: failure(503)
    while (gateway.process._health.standing(("alpha", "standard-upstream"))).healthy:
        await gateway.chat()
    beta.next([HANG])
    caller = await gateway.dial()
    await beta.received(len(beta.requests) + 1)
    text, answer = await ask(gateway, tmp_path), json.loads((await ask(gateway, tmp_path, "--json")).stdout)

    assert (1, 0, 0) == (answer["calls_in_flight"], answer["streams_open"], answer["ledger_queue"])
    assert float(answer["held_usd"]) > 0
    assert {"alpha": False, "beta": True} == {one["provider"]: one["up"] for one in answer["providers"]}
    circuits = {(one["provider"], one["upstream_model"]): one["state"] for one in answer["circuits"]}
    assert {("alpha", "standard-upstream"): "open", ("beta", "alternative-upstream"): "closed"} == circuits
    assert "open: alpha/standard-upstream" in text.stdout
    assert "alpha: DOWN, 0 of 5 attempts served" in text.stdout
    caller.hang_up(by_reset=True)
    beta.otherwise = as_asked()
    await gateway.settled(len(beta.requests))
    rest = json.loads((await ask(gateway, tmp_path, "--json")).stdout)
    assert (0, "0") == (rest["calls_in_flight"], rest["held_usd"])


async def test_the_metrics_of_another_program_are_told_apart(tmp_path: Path) -> None:
    """Prometheus itself, say, whose usual port is that of our admin listener: exit code 1, and no status made of nothing."""

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(text="# TYPE go_goroutines gauge\ngo_goroutines 8\n")

    application = web.Application()
    application.router.add_get("/metrics", metrics)
    async with TestServer(application) as other:
        settings = tmp_path / "find-token.toml"
        settings.write_text(f'[server]\nadmin_listen = "127.0.0.1:{other.port}"\n')
        done = await asyncio.to_thread(CliRunner().invoke, main, ["status", "--config", str(settings), "--json"])

    assert 1 == done.exit_code
    assert "another program" in json.loads(done.stderr)["error"]


def test_no_gateway_is_a_sentence(tmp_path: Path) -> None:
    """Exit code 1, and where it was looked for."""
    settings = tmp_path / "find-token.toml"
    settings.write_text('[server]\nadmin_listen = "127.0.0.1:9"\n')
    done = CliRunner().invoke(main, ["status", "--config", str(settings), "--json"])

    assert 1 == done.exit_code
    assert "http://127.0.0.1:9/metrics" in json.loads(done.stderr)["error"]


def test_books_out_of_reach_are_not_shown_as_nothing_held() -> None:
    """What is not known is null."""
    assert status_from([("holds_usd", {}, float("nan"))])["held_usd"] is None
