"""Bad files never replace good ones while calls are served, and a good one changes only the calls that come after it."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import pytest

from tests.faults.processes import answer, run
from tests.faults.serving import MODEL, QUICKLY, SLOWLY, Serving, free_port, serving

PRICES = f"[[models.{MODEL}.prices]]"


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
    async with (
        serving(tmp_path, admin_listen=f"127.0.0.1:{free_port()}") as gateway,
        aiohttp.ClientSession() as session,
    ):
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
        await gateway.running.stop()  # Whoever is killed takes the last lines of the log along.
    logged = [json.loads(line) for line in gateway.running.log.read_text().splitlines() if line.startswith("{")]
    refused = [line for line in logged if line["event"] == "message" and "is not taken" in line["message"]]
    assert len(versions) == len(refused)


@pytest.mark.parametrize("way", ["signal", "command"])
async def test_a_new_price_counts_for_calls_that_come_after_it(tmp_path: Path, way: str) -> None:
    """A stream that is under way when prices double keeps the price it came in with; the next call pays the new one."""
    async with (
        serving(tmp_path, admin_listen=f"127.0.0.1:{free_port()}") as gateway,
        aiohttp.ClientSession() as session,
    ):
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
