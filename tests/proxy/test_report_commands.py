"""`find-token report` as an operator runs it, over calls that were made on a real wire, on both kinds of database."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from billing.money import format_usd
from proxy.cli import main
from tests.fakes.raw_upstream import RawUpstream, completion, http
from tests.gateway import Gateway

StartGateway = Callable[..., Awaitable[Gateway]]
NOTHING = {"cost": "0", "revenue": "0", "fee": "0", "absorbed": "0", "failed_attempt_cost": "0", "margin": "0"}


def run(settings: Path, *arguments: str) -> Result:
    """The command in this process."""
    return CliRunner().invoke(main, ["report", *arguments, "--config", str(settings)])


def answer(settings: Path, *arguments: str) -> Any:
    """Its JSON."""
    result = run(settings, *arguments, "--json")
    assert (0, "") == (result.exit_code, result.stderr), result.output
    return json.loads(result.stdout)


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Path:
    """A settings file that names the database."""
    path = tmp_path / "settings.toml"
    path.write_text(f'[storage]\ndatabase = "{database_url}"\n')
    return path


async def test_what_was_earned_and_what_it_cost(
    settings: Path, database_url: str, start_gateway: StartGateway, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """A failed attempt that was billed stands with its provider, the revenue with the one that served; what was absorbed, too.

    The totals are those of the billing log, summed by hand.
    """
    gateway = await start_gateway(database_url=database_url)
    alpha.next([http({"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 500}})])
    await gateway.chat()
    alpha.next([http(completion(usage={"prompt_tokens": 10, "completion_tokens": 1_000_000}))])
    await gateway.chat(model="dear", max_tokens=1000)
    rows = gateway.rows()
    absorbed = rows[1].absorbed
    today = f"{datetime.fromtimestamp(rows[0].created / 1e6, UTC):%Y-%m-%d}"
    tomorrow = f"{datetime.fromtimestamp(rows[1].created / 1e6, UTC):%Y-%m-%d}"

    told = answer(settings, "--by", "provider", "--from", today, "--to", tomorrow)
    one, two = told["data"]
    assert (["provider"], False, today, tomorrow) == (told["by"], told["truncated"], told["from"], told["to"])
    assert {
        "provider": "alpha",
        "calls": 1,
        "attempts": 2,
        "cost": format_usd(28_000 + 3_000_010_000),
        "revenue": format_usd(rows[1].cost),
        "fee": format_usd(rows[1].fee),
        "absorbed": format_usd(absorbed),
        "failed_attempt_cost": "0.00028",
        "margin": format_usd(rows[1].cost - 28_000 - 3_000_010_000),
    } == one
    assert ("beta", 1, 1, "0.002", "0.00211", "0.00011") == tuple(
        two[name] for name in ("provider", "calls", "attempts", "cost", "revenue", "fee")
    )
    assert format_usd(sum(row.cost for row in rows)) == told["totals"]["revenue"]
    assert format_usd(sum(one.upstream_cost for row in rows for one in row.attempts)) == told["totals"]["cost"]
    by_model = answer(settings, "--by", "model", "--by", "day")
    assert ["alternative", "dear", "standard"] == [line["model"] for line in by_model["data"]]
    assert {today, tomorrow} == {line["day"] for line in by_model["data"]}
    assert {"day", "provider", *told["totals"]} == set(answer(settings)["data"][0]), "by day and provider by itself"

    lines = run(settings, "--by", "provider").stdout.splitlines()
    assert ["provider", "calls", "attempts", "cost", "revenue", "fee", "absorbed", "failed", "attempt"] == lines[
        1
    ].split()[:9]
    assert ["alpha", "1", "2", one["cost"], one["revenue"]] == lines[2].split()[:5]
    assert ["total", "2", "3", told["totals"]["cost"]] == lines[-1].split()[:4]
    assert len(lines[1]) == len(lines[2]) == len(lines[-1])


def test_days_without_calls(settings: Path) -> None:
    """Nothing is a report as well: zeros, and the days that were asked for."""
    told = answer(settings, "--to", "2026-03-31")

    assert ("2026-03-02", "2026-03-31") == (told["from"], told["to"])
    assert ([], {"calls": 0, "attempts": 0, **NOTHING}) == (told["data"], told["totals"])
    assert {"calls": 0, "attempts": 0, **NOTHING} == answer(settings, "--from", "1970-01-01", "--to", "9999-12-31")[
        "totals"
    ]


@pytest.mark.parametrize(
    "arguments", [["--from", "2026-02-02", "--to", "2026-02-01"], ["--from", "yesterday"], ["--by", "hour"]]
)
def test_what_cannot_be_reported(arguments: list[str], tmp_path: Path) -> None:
    """Days the wrong way round, a day that is none, a group that is none: wrong usage, in one sentence."""
    settings = tmp_path / "settings.toml"
    settings.write_text(f'[storage]\ndatabase = "sqlite:///{tmp_path / "books.db"}"\n')
    result = run(settings, *arguments)

    assert (2, "") == (result.exit_code, result.stdout)
    assert result.stderr.startswith("error: ")


def test_what_is_left_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that was cut says so below its totals."""
    from proxy.report_commands import report_as_json, report_as_text
    from storage.report import Figures, Line, Report

    figures = Figures(1, 1, 2, 3, 1, 0, 0)
    made = report_as_json(Report((Line((None,), figures),), truncated=True, totals=figures), ("model",))
    text = report_as_text({**made, "from": "2026-01-01", "to": "2026-01-02"})

    assert "2026-01-01 to 2026-01-02, UTC, in USD" == text.splitlines()[0]
    assert "only the first 1 lines are shown; the totals count everything" == text.splitlines()[-1]
    assert "-" == text.splitlines()[2].split()[0]
