"""The commands of `find-token`: arguments to calls, and what comes back to text or JSON.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration. ``--config FILE`` and ``--json`` may stand before or after the
command. What a command needs is imported when it runs, so that asking for help does not wait for a database driver.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from proxy import credit_commands, key_commands
from proxy.announce_commands import announce
from proxy.answers import account_as_json, instant, key_as_json, plain, summary_as_json
from proxy.command_line import (
    CommandFailed,
    CommandGroup,
    Options,
    answer_with,
    faults_as_json,
    foreign_packages,
    global_options,
    read_instant,
)
from proxy.migrate_commands import migrate
from proxy.opening import account_of, load, open_books, session
from proxy.price_commands import prices, receipt
from proxy.recharge_commands import recharges
from proxy.reload_commands import config, reload
from proxy.report_commands import report
from proxy.status_commands import status
from proxy.ticket_commands import tickets

if TYPE_CHECKING:  # only for annotations: see the module's docstring
    from storage.database import Database

LATEST_CALLS = 10
PORT = click.IntRange(0, 65_535)


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="find-token")
def main() -> None:
    """An LLM API gateway you run yourself."""


# --- running ------------------------------------------------------------------------------------------------------------


@main.command()
@click.option("--port", type=PORT, default=8080, show_default=True, help="Port of the API; 0 lets the system choose.")
@click.option("--admin-port", type=PORT, default=9090, show_default=True, help="Port of metrics and health.")
@click.option("--simulator-port", type=PORT, default=9100, show_default=True, help="Port of the simulated providers.")
@click.option("--seconds", type=click.FloatRange(min=0), help="Stop by itself after so many seconds.")
@click.pass_obj
def demo(options: Options, port: int, admin_port: int, simulator_port: int, seconds: float | None) -> None:
    """Run everything on this machine, with simulated providers, a funded account and a key. Needs nothing, keeps nothing."""
    if options.config is not None:
        raise click.UsageError("demo reads no configuration; use serve with --config")
    import asyncio

    from proxy.demo import Demo
    from proxy.running import run_demo

    def ready(running: Demo) -> None:
        for note in running.notes:
            click.echo(f"note: {note}", err=True)
        answer_with(options, running.to_json(), running.to_text())

    asyncio.run(run_demo(ready, seconds, port=port, admin_port=admin_port, simulator_port=simulator_port))


@main.command()
@click.option("--workers", type=click.IntRange(1, 64), help="How many processes; server.workers where it is not said.")
@click.option("--worker-listen", hidden=True, help="Be one of several: the public address that all share.")
@click.option("--worker-admin", hidden=True, help="Be one of several: the socket of this one's admin listener.")
@click.pass_obj
def serve(options: Options, workers: int | None, worker_listen: str | None, worker_admin: str | None) -> None:
    """Run the gateway until it is told to stop (SIGTERM, SIGINT)."""
    import asyncio

    from proxy.config import service_manager_socket
    from proxy.running import run_gateway, run_supervisor
    from proxy.service_manager import READY, notify

    loaded = load(options)
    as_worker = (worker_listen, f"unix:{worker_admin}") if worker_listen and worker_admin else None
    count = 1 if as_worker else workers or loaded.settings.server.workers
    for warning in () if as_worker else loaded.warnings:
        click.echo(f"warning: {warning}", err=True)

    def ready(url: str, admin_url: str) -> None:
        answer_with(
            options, {"url": url, "admin_url": admin_url}, f"listening on {url}\nadmin listening on {admin_url}"
        )
        if as_worker is None:
            notify(service_manager_socket(), READY)

    with open_books(loaded) as database:
        if count > 1:
            asyncio.run(run_supervisor(loaded, count, global_options(options), ready))
        else:
            asyncio.run(run_gateway(loaded, database, ready, options.config, as_worker=as_worker))


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=PORT, default=9100, show_default=True, help="The port to listen on; 0 lets the system choose."
)
@click.pass_obj
def simulate(options: Options, host: str, port: int) -> None:
    """Run the simulated providers alone, at /<provider>/…, until told to stop."""
    import asyncio

    from proxy.running import run_simulator

    def ready(url: str) -> None:
        answer_with(options, {"url": url}, f"simulator listening on {url}")

    asyncio.run(run_simulator(ready, host, port))


# --- configuration and books --------------------------------------------------------------------------------------------


@main.command()
@click.pass_obj
@click.pass_context
def check(context: click.Context, options: Options) -> None:
    """Check the settings and the catalogue, and say everything that is wrong at once."""
    from proxy.faults import ConfigurationFaults

    if foreign := foreign_packages():
        raise CommandFailed(f"another program has replaced {', '.join(foreign)}: install find-token on its own")
    try:
        loaded = load(options)
    except ConfigurationFaults as error:
        count = len(error.faults)
        text = f"{error}\n{count} {'fault' if count == 1 else 'faults'}"
        answer_with(options, {"ok": False, "error": str(error), **faults_as_json(error)}, text)
        context.exit(2)
    providers = [entry.name for entry in loaded.catalogue.providers.values() if entry.usable]
    models = len(loaded.catalogue.models)
    lines = [f"warning: {warning}" for warning in loaded.warnings]
    lines.append(f"the configuration is good: {models} models, usable providers: {', '.join(providers) or 'none'}")
    answer = {"ok": True, "warnings": loaded.warnings, "usable_providers": providers, "models": models}
    answer_with(options, answer, "\n".join(lines))


@main.command()
@click.pass_obj
@click.pass_context
def audit(context: click.Context, options: Options) -> None:
    """Prove the books: every balance is the sum of its entries. Exits 1 and names what disagrees."""
    from storage.audit import audit as prove
    from storage.audit import summary

    with open_books(load(options)) as database:
        with database.session(snapshot=True) as connection:
            disagreements = prove(connection)
            figures = summary(connection)
        unrecorded = _record_audit(database, [disagreement.sentence for disagreement in disagreements])
    answer = {
        "ok": not disagreements,
        "disagreements": [plain(disagreement) for disagreement in disagreements],
        "summary": summary_as_json(figures),
    }
    lines = [disagreement.sentence for disagreement in disagreements]
    lines.append("the books agree" if not disagreements else f"{len(disagreements)} disagreements")
    answer_with(options, answer, "\n".join(lines))
    if unrecorded:
        click.echo(f"the pages for operators will not know of this audit: {unrecorded}", err=True)
    if disagreements:
        context.exit(1)


def _record_audit(database: Database, sentences: list[str]) -> str:
    """Write down when the books were proved. Returns why that could not be: it is no reason to keep the proof to ourselves."""
    from storage.audit_runs import record_audit
    from storage.connection import StorageUnavailable

    try:
        with database.session() as connection:
            record_audit(connection, connection.now(), sentences)
    except StorageUnavailable as error:
        return str(error)
    return ""


main.add_command(migrate)
main.add_command(report)
main.add_command(status)
main.add_command(receipt)
main.add_command(recharges)
main.add_command(prices)
main.add_command(reload)
main.add_command(config)
main.add_command(announce)
main.add_command(tickets)


# --- accounts and keys --------------------------------------------------------------------------------------------------


@main.group()
def account() -> None:
    """Open, list, show, credit and deactivate accounts; works while the gateway runs."""


@account.command("create")
@click.argument("email")
@click.pass_obj
def create_account(options: Options, email: str) -> None:
    """Open an account for EMAIL, with nothing on it."""
    from storage import accounts

    with session(options) as connection:
        created = accounts.create_account(connection, email)
    answer_with(options, account_as_json(created), f"{created.id}  {created.email}")


@account.command("list")
@click.pass_obj
def list_accounts(options: Options) -> None:
    """List all accounts, oldest first."""
    from storage import accounts

    with session(options) as connection:
        found = [account_as_json(one) for one in accounts.list_accounts(connection)]
    lines = [f"{one['account_id']}  {one['status']:11}  {one['available']:>14}  {one['email']}" for one in found]
    answer_with(options, {"data": found}, "\n".join(lines) or "there are no accounts yet")


@account.command("show")
@click.argument("email")
@click.pass_obj
def show_account(options: Options, email: str) -> None:
    """Show EMAIL's balance, lots, keys and latest calls."""
    from console.balance import credits_as_json
    from storage import calls, keys

    loaded = load(options)
    billing = loaded.settings.billing
    with open_books(loaded) as database, database.session(snapshot=True) as connection:
        found = account_of(connection, email)
        credit = credits_as_json(
            connection, found, billing.credit_expiry_days, billing.refund_window_days, connection.now()
        )
        records = [key_as_json(record) for record in keys.list_keys(connection, found.id)]
        rows, _ = calls.list_calls(connection, found.id, limit=LATEST_CALLS)
    shown = {**account_as_json(found), **credit}
    lines = [f"{name:11} {value}" for name, value in shown.items() if name != "lots" and value is not None]
    lines += credit_commands.credits_as_lines(shown)
    lines += [f"key         {one['key_id']}  …{one['last_four']}  {one['status']}  {one['name']}" for one in records]
    latest = [row.to_json() for row in rows]
    lines += [
        f"call        {one['created']}  {one['status']}  {one['cost']:>12}  {one['model']}  {one['request_id']}"
        for one in latest
    ]
    answer_with(options, {**shown, "keys": records, "calls": latest}, "\n".join(lines))


@account.command("credit")
@click.argument("email")
@click.argument("amount")
@click.option("--reason", required=True, help="Why; it is kept with the entry.")
@click.option(
    "--expires", help="When what is left of it is taken back, such as 2026-12-31; never where it is not said."
)
@click.pass_obj
def credit_account(options: Options, email: str, amount: str, reason: str, expires: str | None) -> None:
    """Give EMAIL a promotional credit of AMOUNT dollars; it cannot be refunded."""
    from billing.money import InvalidAmount, format_usd, parse_usd
    from storage.identifiers import new_id, now_microseconds
    from storage.promotions import give_promotion

    try:
        money = parse_usd(amount)
    except InvalidAmount as error:
        raise click.UsageError(str(error)) from None
    if money <= 0:
        raise click.UsageError(f"a credit is more than nothing, not {amount}")
    entry_id, lapses = new_id("promotion_"), read_instant(expires)
    if lapses is not None and lapses <= now_microseconds():
        raise click.UsageError(f"a credit expires in the future, not {expires}")
    with session(options) as connection:
        found = account_of(connection, email)
        balance = give_promotion(connection, entry_id, found.id, money, reason, now_microseconds(), lapses)
    answer: dict[str, Any] = {"entry_id": entry_id, "account_id": found.id, "email": found.email}
    answer |= {"amount": format_usd(money)}
    answer |= {"balance": format_usd(balance.balance), "available": format_usd(balance.available)}
    answer["lapses_at"] = None if lapses is None else instant(lapses)
    answer_with(options, answer, f"credited {answer['amount']} USD, balance {answer['balance']} USD")


@account.command("deactivate")
@click.argument("email")
@click.pass_obj
def deactivate_account(options: Options, email: str) -> None:
    """Deactivate EMAIL's account: its keys stop working within a second. Its balance stays."""
    from storage import accounts

    with session(options) as connection:
        found = accounts.set_status(connection, account_of(connection, email).id, "deactivated")
    answer_with(options, account_as_json(found), f"deactivated {found.email}")


credit_commands.add_to(account)


main.add_command(key_commands.key)
main.add_command(key_commands.rotate_seal)
