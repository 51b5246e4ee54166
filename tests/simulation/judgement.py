"""The verdict when all is quiet: every call has the one row that the oracle says, and callers were told the truth."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.simulation.oracle import Facts, verdicts
from tests.simulation.upstreams import Attempt

if TYPE_CHECKING:
    from tests.simulation.callers import Caller
    from tests.simulation.world import World


def judge(world: World) -> None:
    """Add to the world's violations whatever is wrong at the end."""
    found = world.violations
    books = world.witness.connection
    held = books.execute("SELECT request_id FROM hold").fetchall()
    if held:
        found.append(f"still held after a minute: {held}")
    found += [f"audit: {line.sentence}" for line in world.audit()]
    entries = Counter(books.execute("SELECT id, amount FROM entry WHERE kind IN ('recharge', 'promotion')").fetchall())
    expected = Counter((name, world.payments[name][1]) for name in world.paid)
    if expected - entries or any(name not in world.payments for name, _ in entries):
        found.append(f"credited {entries}, paid were {expected}")
    (most,) = books.execute("SELECT COALESCE(MAX(used), 0) FROM byok_month").fetchone()
    if most > world.free_limit:
        found.append(f"{most} free BYOK calls of {world.free_limit}")
    for caller in world.callers:
        attempts = [attempt for attempt in world.upstreams.attempts if attempt.call == caller.number]
        found += [f"call {caller.number}: {sentence}" for sentence in _faults(world, caller, attempts)]


def _faults(world: World, caller: Caller, attempts: list[Attempt]) -> list[str]:
    row = world.witness.rows.get(caller.key_id)
    died = caller.process is not None and caller.process.dead
    if row is None:
        if attempts:
            return [f"{len(attempts)} attempts and no row"]
        return [f"told {caller.status} without a row"] if caller.status == 200 else []
    request_id, outcome, cost = row
    if not attempts:
        return [] if (died and outcome == "gateway_died") else [f"a row {row} and no attempt"]
    hold, _, free = world.witness.holds[caller.key_id]
    byok = "provider_key" in caller.body
    prompt = len(caller.body["messages"][0]["content"]) + len("user")
    facts = Facts(prompt, hold, byok, free, caller.left_at, died)
    right = verdicts(facts, attempts)
    withheld = outcome == "failed" and cost == 0 and not attempts[-1].streamed and caller.status in (None, 503)
    faults = []
    if (outcome, cost) not in right and not withheld:
        faults.append(f"the row says {(outcome, cost)}, right is {right}")
    if caller.cost is not None and caller.complete and caller.cost != cost:
        faults.append(f"told {caller.cost}, the row says {cost}")
    if (
        caller.status not in (None, 200)
        and cost
        and caller.left_at is None
        and caller.key_id not in world.witness.in_doubt
    ):
        faults.append(f"told {caller.status} and charged {cost}")
    if caller.complete and caller.status == 200 and outcome not in ("complete", "client_left", "nothing_produced"):
        faults.append(f"a complete answer has the outcome {outcome}")
    return faults + _faults_of_attempts(world, request_id, outcome, attempts)


def _faults_of_attempts(world: World, request_id: str, outcome: str, attempts: list[Attempt]) -> list[str]:
    """Every attempt has its row, and the account bears one only where it pays."""
    sql = "SELECT model, borne_by, upstream_cost FROM attempt WHERE request_id = ? ORDER BY number"
    rows = world.witness.connection.execute(sql, (request_id,)).fetchall()
    if outcome == "gateway_died":
        return [] if not rows else [f"{rows} of a call that nobody knows"]
    if [row[0] for row in rows] != [attempt.model for attempt in attempts]:
        return [f"attempts {[attempt.model for attempt in attempts]}, rows {rows}"]
    borne = [number for number, row in enumerate(rows, 1) if row[1] == "account"]
    if borne and (borne != [len(rows)] or outcome not in ("complete", "client_left")):
        return [f"the account bears attempts {borne} of {rows}, which ended {outcome}"]
    return []
