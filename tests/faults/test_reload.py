"""Bad files never replace good ones while calls are served, and a good one changes only the calls that come after it."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.faults.processes import SERVER, Running, answer, run, started, write_files
from tests.journeys.mix import simulated_providers

MODEL = "qwen-max"
SLOWLY, QUICKLY = (f'pieces=50 SIM:{{"kind": "none", "pieces_per_second": {speed}}}' for speed in ("4.00", "4000"))
"""The same answer to prompts of the same length."""
PRICES = f"[[models.{MODEL}.prices]]"


@dataclass(frozen=True, slots=True)
class Serving:
    """A gateway as an operator runs it, its files, and a key."""

    running: Running
    folder: Path
    key: str

    @property
    def settings(self) -> Path:
        """The settings file."""
        return self.folder / "find-token.toml"

    @property
    def catalogue(self) -> Path:
        """The catalogue."""
        return self.folder / "catalogue.toml"

    async def ask(self, session: aiohttp.ClientSession, text: str = "Hello", **fields: Any) -> tuple[int, str, Any]:
        """A call of one provider alone: status, cost, and the body's text."""
        body = {"model": MODEL, "messages": [{"role": "user", "content": text}], "provider": {"allow_fallbacks": False}}
        async with session.post(
            f"{self.running.url}/v1/chat/completions",
            json=body | fields,
            headers={"Authorization": f"Bearer {self.key}"},
        ) as reply:
            text = await reply.text()
            return reply.status, reply.headers.get("X-FindToken-Cost", ""), text

    async def reload(self, session: aiohttp.ClientSession) -> tuple[int, Any]:
        """What the admin listener says to POST /-/reload."""
        async with session.post(f"{self.running.told['admin_url']}/-/reload") as reply:
            return reply.status, await reply.json()

    async def metric(self, session: aiohttp.ClientSession, name: str, **labels: str) -> float:
        """One sample; 0 if there is none."""
        async with session.get(f"{self.running.told['admin_url']}/metrics") as reply:
            families = text_string_to_metric_families(await reply.text())
            samples = [one for family in families for one in family.samples]
            return sum(one.value for one in samples if one.name == f"findtoken_{name}" and one.labels == labels)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Serving]:
    """The installed command before the simulator, on SQLite, its admin address written in its file."""
    server: Mapping[str, Any] = {**SERVER, "admin_listen": f"127.0.0.1:{free_port()}"}
    async with simulated_providers() as simulator:
        settings = write_files(folder, f"sqlite:///{folder}/books.db", simulator.url, server=server)
        arguments = ("--config", str(settings))
        await answer(folder, *arguments, "account", "create", "a@example.com")
        await answer(folder, *arguments, "account", "credit", "a@example.com", "10", "--reason", "a test")
        key = (await answer(folder, *arguments, "key", "create", "a@example.com", "--name", "test"))["key"]
        async with started(folder, "serve", *arguments) as running:
            yield Serving(running, folder, key)


def bad_versions(settings: str, catalogue: str) -> Mapping[str, tuple[str | None, str | None, str]]:
    """By name: what the settings file and the catalogue become (None: gone), and what the refusal must name."""
    head, _, rest = catalogue.partition(PRICES)
    without_price = head + rest[rest.index("[models.") :]
    return {
        "broken TOML": (settings + "\n[server\n", catalogue, "syntax"),
        "half written": (settings, catalogue[: catalogue.index(PRICES) + 30], "catalogue.toml"),
        "no price": (settings, without_price, f"models.{MODEL}"),
        "negative price": (settings, head + PRICES + rest.replace("input = ", "input = -", 1), f"models.{MODEL}.prices"),
        "unknown provider": (settings, catalogue.replace('provider = "qwen"', 'provider = "quen"', 1), "quen"),
        "duplicate model": (settings, f"{catalogue}\n[models.{MODEL}]\n", MODEL),
        "empty settings": ("", catalogue, "found none"),
        "empty catalogue": (settings, "", "providers"),
        "settings gone": (None, catalogue, "find-token.toml"),
        "catalogue gone": (settings, None, "catalogue.toml"),
        "unknown setting": (settings.replace("[limits]", "[limits]\nreqests_per_minute = 1"), catalogue, "requests_per_minute"),
        "needs a restart": (settings + '\n[security]\nkey_prefix = "sk-other_"\n', catalogue, "security.key_prefix"),
    }  # fmt: skip


async def test_a_bad_version_changes_nothing(tmp_path: Path) -> None:
    """S-117: refused with its faults, logged, counted; calls go on at the old price."""
    async with serving(tmp_path) as gateway, aiohttp.ClientSession() as session:
        settings, catalogue = gateway.settings.read_text(), gateway.catalogue.read_text()
        before = await gateway.ask(session)
        assert 200 == before[0]
        versions = bad_versions(settings, catalogue)
        for name, (new_settings, new_catalogue, named) in versions.items():
            for path, text in ((gateway.settings, new_settings), (gateway.catalogue, new_catalogue)):
                path.unlink(missing_ok=True)
                if text is not None:
                    path.write_text(text)
            (status, said), *calls = await asyncio.gather(
                gateway.reload(session), *[gateway.ask(session) for _ in range(5)]
            )

            assert 422 == status, name
            assert named in said["error"], (name, said)
            assert 0 == await gateway.metric(session, "config_last_reload_successful")
            assert [before] * 5 == [(*call[:2], before[2]) for call in calls], name

        assert len(versions) == await gateway.metric(session, "config_reloads_total", outcome="refused")
        gateway.settings.write_text(settings)
        gateway.catalogue.write_text(catalogue)
        assert (200, True) == ((answered := await gateway.reload(session))[0], answered[1]["ok"])
        assert 1 == await gateway.metric(session, "config_last_reload_successful")
    logged = [json.loads(line) for line in gateway.running.log.read_text().splitlines() if line.startswith("{")]
    refused = [line for line in logged if line["event"] == "message" and "is not taken" in line["message"]]
    assert len(versions) == len(refused)


@pytest.mark.parametrize("way", ["signal", "command"])
async def test_a_new_price_counts_for_calls_that_come_after_it(tmp_path: Path, way: str) -> None:
    """A stream that is under way when prices double keeps the price it came in with; the next call pays the new one."""
    async with serving(tmp_path) as gateway, aiohttp.ClientSession() as session:
        arguments = ("--config", str(gateway.settings))
        catalogue = gateway.catalogue.read_text()
        _, old_cost, _ = await gateway.ask(session, QUICKLY)
        stream = asyncio.create_task(gateway.ask(session, SLOWLY, stream=True, stream_options={"include_usage": True}))
        await until_open(gateway, session)
        head, _, rest = catalogue.partition(PRICES)
        prices, _, tail = rest.partition("[models.")
        gateway.catalogue.write_text(f"{head}{PRICES}{doubled(prices)}[models.{tail}")

        if way == "signal":
            gateway.running.process.send_signal(signal.SIGHUP)
            async with asyncio.timeout(20):
                while not await gateway.metric(session, "config_reloads_total", outcome="applied"):
                    await asyncio.sleep(0.05)
        else:
            assert (await answer(tmp_path, "reload", *arguments))["ok"]

        assert not stream.done()
        _, new_cost, _ = await gateway.ask(session, QUICKLY)
        assert [] == (await answer(tmp_path, "config", "diff", *arguments))["differences"]
        gateway.catalogue.write_text(catalogue)
        assert [f"models.{MODEL}"] == [
            one["name"] for one in (await answer(tmp_path, "config", "diff", *arguments))["differences"]
        ]
        _, _, body = await stream
        streamed = body.partition("findtoken cost=")[2].split()[0]
        assert old_cost == streamed
        assert 2 * float(old_cost) == pytest.approx(float(new_cost), abs=2e-8)


def doubled(prices: str) -> str:
    """The table with every amount twice as high."""
    lines = []
    for line in prices.splitlines(keepends=True):
        name, equals, amount = line.partition(" = ")
        lines.append(
            f"{name} = {2 * float(amount)}\n" if name in ("input", "cached_input", "output") and equals else line
        )
    return "".join(lines)


async def until_open(gateway: Serving, session: aiohttp.ClientSession) -> None:
    """Until a stream is being relayed."""
    async with asyncio.timeout(20):
        while not await gateway.metric(session, "streams_open"):
            await asyncio.sleep(0.05)


async def test_commands_say_when_nobody_answers(tmp_path: Path) -> None:
    """One sentence with the address, and exit code 1."""
    (tmp_path / "find-token.toml").write_text(f'[server]\nadmin_listen = "127.0.0.1:{free_port()}"\n')

    for command in (("reload",), ("config", "diff")):
        code, _, complained = await run(tmp_path, *command)
        assert (1, True) == (code, "no gateway answers at http://127.0.0.1:" in complained.decode())
