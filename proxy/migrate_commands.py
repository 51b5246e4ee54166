"""`find-token migrate`: the schema up to date, or back to what an older release knows."""

from __future__ import annotations

import click

from proxy.command_line import Command, CommandFailed, Options, answer_with
from proxy.opening import load


@click.command(cls=Command)
@click.option("--to", "name", metavar="NAME", help="Up or back to this migration, which is the last one then.")
@click.option("--yes", is_flag=True, help="Also if rows are lost on the way back.")
@click.pass_obj
def migrate(options: Options, name: str | None, *, yes: bool) -> None:
    """Bring the database's schema up to date, or with --to back to where an older release left it."""
    from storage.database import open_database
    from storage.migrating import migrate as apply

    if yes and name is None:
        raise click.UsageError("--yes belongs to --to")
    if name is not None:
        _move(options, name, lose=yes)
        return
    applied = apply(open_database(load(options).settings.storage.database))
    text = "\n".join(f"applied {name}" for name in applied) or "the schema is up to date"
    answer_with(options, {"applied": applied}, text)


def _move(options: Options, name: str, *, lose: bool) -> None:
    from proxy.faults import did_you_mean
    from storage.database import open_database
    from storage.migrating import NoWayBack, RowsWouldBeLost, UnknownMigration, migrate_to

    try:
        moved = migrate_to(open_database(load(options).settings.storage.database), name, lose=lose)
    except UnknownMigration as error:
        hint = did_you_mean(name, error.known) or f": there are {', '.join(error.known)}"
        raise CommandFailed(f"{error}{hint}") from None
    except NoWayBack as error:
        raise CommandFailed(f"{error}; nothing was changed") from None
    except RowsWouldBeLost as error:
        raise CommandFailed(f"rows would be lost: {error}; make a copy, and say --yes to lose them") from None
    lines = [*(f"applied {name}" for name in moved.applied), *(f"took back {name}" for name in moved.reverted)]
    answer_with(
        options,
        {"applied": moved.applied, "reverted": moved.reverted},
        "\n".join(lines) or f"the schema is at {name} already",
    )
