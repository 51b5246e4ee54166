"""`find-token report`: what was earned and what it cost, as a table for people or as JSON for programs."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from billing.money import format_usd
from proxy.command_line import Command, Options, answer_with
from proxy.opening import session

if TYPE_CHECKING:  # only for annotations, so that asking for help waits for no database driver
    from storage.report import Figures, Report

DAYS_BY_DEFAULT: Final = 30
FIRST_DAY: Final = date(1970, 1, 1)
COUNTS: Final = ("calls", "attempts")
AMOUNTS: Final = ("cost", "revenue", "fee", "absorbed", "failed_attempt_cost", "margin")
DAY = click.DateTime(formats=["%Y-%m-%d"])


@click.command(cls=Command)
@click.option("--from", "first", type=DAY, help="The first day, UTC; without it 30 days up to the last.")
@click.option("--to", "last", type=DAY, help="The last day, UTC, included; without it today.")
@click.option(
    "--by",
    type=click.Choice(["day", "provider", "model"]),
    multiple=True,
    help="What to break down by; may be given several times. Without it by day and provider.",
)
@click.pass_obj
def report(options: Options, first: datetime | None, last: datetime | None, by: tuple[str, ...]) -> None:
    """What providers charged, what accounts paid, and what the operator bears, in US dollars."""
    from storage.report import MICROSECONDS_PER_DAY, make_report

    end = last.date() if last is not None else datetime.now(UTC).date()
    begin = first.date() if first is not None else max(FIRST_DAY, end - timedelta(days=DAYS_BY_DEFAULT - 1))
    if begin > end:
        raise click.UsageError(f"--from {begin} is after --to {end}")
    groups = tuple(dict.fromkeys(by)) or ("day", "provider")
    since, until = (begin - FIRST_DAY).days, (end - FIRST_DAY).days + 1
    with session(options, snapshot=True) as connection:
        made = make_report(connection, since * MICROSECONDS_PER_DAY, until * MICROSECONDS_PER_DAY, groups)
    answer = report_as_json(made, groups) | {"from": begin.isoformat(), "to": end.isoformat()}
    answer_with(options, answer, report_as_text(answer))


def report_as_json(made: Report, groups: tuple[str, ...]) -> dict[str, Any]:
    """The report with decimal strings for amounts."""
    lines = [
        {**{name: _shown(name, part) for name, part in zip(groups, line.group, strict=True)}, **_figures(line.figures)}
        for line in made.lines
    ]
    return {"by": list(groups), "data": lines, "truncated": made.truncated, "totals": _figures(made.totals)}


def report_as_text(answer: dict[str, Any]) -> str:
    """A table with a heading and the totals last; the figures are set to the right."""
    groups: list[str] = answer["by"]
    names = [*groups, *COUNTS, *AMOUNTS]
    table = [[name.replace("_", " ") for name in names]]
    table += [[str(line[name] if line[name] is not None else "-") for name in names] for line in answer["data"]]
    table.append(["total", *[""] * (len(groups) - 1), *(str(answer["totals"][name]) for name in (*COUNTS, *AMOUNTS))])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if position < len(groups) else cell.rjust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]
    lines.insert(0, f"{answer['from']} to {answer['to']}, UTC, in USD")
    if answer["truncated"]:
        lines.append(f"only the first {len(answer['data'])} lines are shown; the totals count everything")
    return "\n".join(lines)


def _figures(figures: Figures) -> dict[str, Any]:
    counts = {name: getattr(figures, name) for name in COUNTS}
    return counts | {name: format_usd(getattr(figures, name)) for name in AMOUNTS}


def _shown(name: str, part: int | str | None) -> str | None:
    if name == "day":
        assert isinstance(part, int), "every call has a day"
        return (FIRST_DAY + timedelta(days=part)).isoformat()
    return None if part is None else str(part)
