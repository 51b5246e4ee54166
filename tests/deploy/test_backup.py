"""The page on backups is right (S-120): run while calls go on, its commands give books that agree and can be served from."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import psycopg2
import pytest

from storage.audit import audit
from storage.database import open_database
from storage.provider_keys import ProviderKeys, register_provider_key
from storage.sealing import SealBroken, Sealer
from tests.fakes.postgres import programs_of_postgres
from tests.fakes.raw_upstream import RawUpstream
from tests.faults.pace import EXAM
from tests.gateway import QUICK, Gateway, book, running_gateway

PAGE = Path(__file__).parents[2] / "docs" / "backup-and-restore.md"
SECRET_KEY = str(QUICK["security"]["secret_key"])
SECRET = "sk-of-a-caller-0123456789"
COMMANDS = Path(sys.executable).parent


def steps(heading: str) -> str:
    """The commands under one heading of the page."""
    section = PAGE.read_text("utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return "\n".join(re.findall(r"^```sh\n(.*?)^```", section, re.DOTALL | re.MULTILINE))


async def carry_out(script: str, folder: Path, path: str = "", **environment: str) -> str:
    """Run commands in a folder; what they print. AssertionError with their complaints where one fails."""
    given = {**os.environ, **environment, "PATH": f"{COMMANDS}:{path}:{os.environ['PATH']}"}
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euc", script), cwd=folder, env=given, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(90):
        printed, complained = await process.communicate()
    assert 0 == process.returncode, complained.decode() + printed.decode()
    return printed.decode()


@asynccontextmanager
async def under_load(gateway: Gateway) -> AsyncIterator[int]:
    """Calls that go on meanwhile; how many were settled before. A key of a caller's own is registered."""
    with gateway.database.session() as connection:
        register_provider_key(connection, Sealer(SECRET_KEY), gateway.account_id, "beta", "mine", SECRET)
    going_on = True

    async def call() -> None:
        while going_on:
            assert 200 == (await gateway.chat()).status
            await asyncio.sleep(0.1)

    callers = [asyncio.create_task(call()) for _ in range(2)]
    try:
        async with asyncio.timeout(30):
            while (before := gateway.logged()[0]) < 8:
                await asyncio.sleep(0.01)
        yield before
    finally:
        going_on = False
        await asyncio.gather(*callers)


async def look_at(copy_url: str, live: Gateway, before: int, alpha: RawUpstream, beta: RawUpstream) -> None:
    """The copy has what was settled before, opens with the secret key alone, and serves."""
    database = open_database(copy_url)
    with database.session() as connection:
        assert [] == audit(connection)
        calls, held = (connection.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0] for name in ("call", "hold"))
        # Who held something at that moment will not be heard of again; the minute until that is sure is not waited for.
        connection.execute("UPDATE process SET heartbeat = 0")
    assert before <= calls <= live.logged()[0]
    async with running_gateway(book(alpha.url, beta.url), copy_url, name="eve") as restored:
        found = await ProviderKeys(restored.database, Sealer(SECRET_KEY)).find_for(live.account_id, "beta")
        assert SECRET == (found.secret if found else None)
        with pytest.raises(SealBroken):
            await ProviderKeys(restored.database, Sealer("B" * 43 + "=")).find_for(live.account_id, "beta")
        restored.account_id, restored.key = live.account_id, live.key
        assert 200 == (await restored.chat()).status
        await restored.process._sweep()
        restored.prove_balance(calls + held + 1)


async def test_sqlite_is_copied_while_calls_go_on(tmp_path: Path, alpha: RawUpstream, beta: RawUpstream) -> None:
    """With the page's own commands; the file by itself would lack calls."""
    url = f"sqlite:///{tmp_path}/find-token.db"
    async with running_gateway(book(alpha.url, beta.url), url) as gateway:
        async with under_load(gateway) as before:
            (tmp_path / "alone.db").write_bytes((tmp_path / "find-token.db").read_bytes())
            told = await carry_out(steps("SQLite"), tmp_path)
        gateway.prove_balance(gateway.logged()[0])

        assert "the books agree" in told
        with closing(sqlite3.connect(tmp_path / "alone.db")) as alone:
            assert before > alone.execute("SELECT COUNT(*) FROM call").fetchone()[0]
        await look_at(f"sqlite:///{tmp_path}/books.db", gateway, before, alpha, beta)


async def test_postgresql_is_dumped_while_calls_go_on(
    tmp_path: Path, postgres_url: str, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """With the page's own commands, into an empty database beside."""
    with closing(psycopg2.connect(postgres_url)) as connection:
        connection.autocommit = True
        for name in ("live", "proof"):
            connection.cursor().execute(f"CREATE DATABASE {name}")
    live, proof = (postgres_url.rpartition("/")[0] + f"/{name}" for name in ("live", "proof"))
    async with running_gateway(book(alpha.url, beta.url), live) as gateway:
        async with under_load(gateway) as before:
            programs = str(programs_of_postgres())
            # The audit of the page is `look_at`'s, too; a process for it is the exam's.
            script = steps("PostgreSQL").replace("find-token audit", "find-token audit" if EXAM else "true")
            await carry_out(script, tmp_path, programs, DATABASE_URL=live, PROOF_URL=proof)
        gateway.prove_balance(gateway.logged()[0])

        await look_at(proof, gateway, before, alpha, beta)
