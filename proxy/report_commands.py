"""`find-token report`: what was earned and what it cost, as a table for people or as JSON for programs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import click

from console.report import AMOUNTS, COUNTS, DAYS_BY_DEFAULT, FIRST_DAY, report_as_json
from proxy.command_line import Command, Options, answer_with
from proxy.opening import session

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
