"""What deploy/ has for watching a gateway, against a gateway: every panel of the dashboard shows something, every rule is good.

One gateway under load and one Prometheus that scrapes it serve all tests of this file.
"""

from __future__ import annotations

import asyncio
import math
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

import aiohttp
import pytest
import pytest_asyncio

from deploy import dashboard
from metrics.instruments import FAMILIES, PREFIX
from tests.deploy.panels import faults_of
from tests.fakes.programs import program
from tests.fakes.prometheus import Prometheus, running_prometheus
from tests.faults.processes import SERVER, started, write_files
from tests.faults.serving import Serving, open_account
from tests.journeys.mix import Arrivals, make, plan_in_turn, simulated_providers

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

MOST_CALLS = 24
KINDS = ("well", "streamed", "server error once", "hopeless", "cut", "without usage", "left while listening")


@dataclass(frozen=True, slots=True)
class Watched:
    """A gateway that has seen a bit of everything, and the Prometheus that saw it."""

    gateway: Serving
    prometheus: Prometheus
    page: str
    """Its metrics after the load."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def watched(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Watched]:
    """Two waves of every kind of trouble: rates are what changed between two scrapes, so nothing may happen only once."""
    folder = tmp_path_factory.mktemp("watched")
    url = f"sqlite:///{folder}/books.db"
    async with simulated_providers() as simulator:
        server = {**SERVER, "max_calls": MOST_CALLS}
        stripe = {"webhook_secret": "whsec_a_test"}
        settings = write_files(folder, url, simulator.url, server=server, stripe=stripe, routing={"wallet_seconds": 60})
        key = open_account(url)
        async with (
            started(folder, "serve", "--config", str(settings)) as running,
            running_prometheus(running.told["admin_url"]) as prometheus,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        ):
            gateway = Serving(running, folder, key)
            arrivals = Arrivals(simulator)
            for wave in range(2):
                await trouble(gateway, session, arrivals, wave)
                seen = await count(session, gateway)
                await prometheus.until(f"sum(findtoken_requests_total) >= {seen}")
            async with session.get(f"{running.told['admin_url']}/metrics") as reply:
                page = await reply.text()
            yield Watched(gateway, prometheus, page)


async def trouble(gateway: Serving, session: aiohttp.ClientSession, arrivals: Arrivals, wave: int) -> None:
    """Calls of every kind, more of them at once than may be, a webhook that nobody signed, and what is no HTTP."""
    planned = plan_in_turn(wave, [("", gateway.key)] * 2 * len(KINDS), KINDS, 1000 * wave)
    await make(gateway.running.url, planned, arrivals, concurrency=2 * len(KINDS))
    slow = 'pieces=4 SIM:{"kind": "none", "latency_seconds": 0.3}'
    replies = await asyncio.gather(*(gateway.ask(session, slow) for _ in range(2 * MOST_CALLS)))
    assert {200, 503} == {reply[0] for reply in replies}
    async with session.post(f"{gateway.running.url}/webhooks/stripe", data=b"{}") as reply:
        assert 400 <= reply.status < 500
    host, _, port = gateway.running.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"no http at all\r\n\r\n")
    assert b" 400 " in await reader.readline()
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def count(session: aiohttp.ClientSession, gateway: Serving) -> int:
    """How many calls the gateway has counted."""
    async with session.get(f"{gateway.running.told['admin_url']}/metrics") as reply:
        found = re.findall(r"^findtoken_requests_total{.*} (\S+)$", await reply.text(), re.MULTILINE)
    return int(sum(map(float, found)))


async def test_every_panel_shows_something(watched: Watched) -> None:
    """No query is wrong, asks for a metric or a label that is not there, or is empty while there is load."""
    async with asyncio.timeout(20):
        while faults := await faults_of(dashboard.dashboard(), watched.prometheus):
            if all(": no number: " not in fault for fault in faults):
                break
            await asyncio.sleep(0.2)

    assert [] == faults


@pytest.mark.parametrize(
    ("query", "legend", "fault"),
    [
        ("sum(rate(findtoken_request_total[$__rate_interval]))", "calls", "no number"),
        ("sum by (model) (findtoken_requests_total)", "{{provider}}", "no label provider"),
        ("sum(rate(findtoken_requests_total)", "calls", "parse error"),
        ('findtoken_streams_open{instance=~"$node"}', "", "a variable"),
        ("histogram_quantile(0.5, findtoken_request_seconds_sum)", "", "no number"),
    ],
)
async def test_a_planted_wrong_query_is_caught(query: str, legend: str, fault: str, watched: Watched) -> None:
    """A metric, a label, a bracket, a variable and a histogram that are not what they should be."""
    planted = {"panels": [{"type": "stat", "title": "x", "targets": [{"expr": query, "legendFormat": legend}]}]}

    faults = await faults_of(planted, watched.prometheus)

    assert 1 == len(faults)
    assert fault in faults[0]


async def test_every_rule_is_evaluated_without_a_fault(watched: Watched) -> None:
    """By a real Prometheus over a real scrape, each of them; recorded series are there."""
    async with asyncio.timeout(20):
        while any(rule["health"] == "unknown" for rule in await watched.prometheus.rules()):
            await asyncio.sleep(0.1)
    rules = await watched.prometheus.rules()

    assert {"ok"} == {rule["health"] for rule in rules}
    for rule in rules:
        if rule["type"] == "recording":
            found = await watched.prometheus.until(rule["name"])
            assert all(math.isfinite(float(one["value"][1])) for one in found), rule["name"]


async def test_what_is_wrong_is_an_alert(watched: Watched) -> None:
    """The load sheds calls and burns its budget: alerts say so. Nobody drops log lines, so none says that."""
    expected = {"FindTokenShedding", "FindTokenErrorBudgetFast"}
    async with asyncio.timeout(20):
        while True:
            raised = {rule["name"] for rule in await watched.prometheus.rules() if rule.get("alerts")}
            if expected <= raised:
                break
            await asyncio.sleep(0.2)

    assert not raised & {
        "FindTokenDown",
        "FindTokenBooksAway",
        "FindTokenLogLinesLost",
        "FindTokenConfigurationRefused",
    }


async def test_the_page_has_no_fault_that_promtool_finds(watched: Watched) -> None:
    """Names, units, types and help texts are as Prometheus wants them, but for one that people read in hours; every family is
    there."""
    done = subprocess.run(
        [program("promtool"), "check", "metrics"], input=watched.page, capture_output=True, text=True, check=False
    )

    told = (done.stdout + done.stderr).splitlines()
    assert [] == [line for line in told if not line.startswith("findtoken_provider_runway_hours use base unit")]
    names = set(re.findall(r"^# TYPE (\w+) ", watched.page, re.MULTILINE))
    assert names >= {PREFIX + family for family in FAMILIES}
