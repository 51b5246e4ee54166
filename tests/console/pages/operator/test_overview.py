"""What needs attention stands on the first page; providers as calls and the books have them."""

from __future__ import annotations

from storage.audit_runs import record_audit
from storage.report import MICROSECONDS_PER_DAY
from storage.tickets import open_ticket
from tests.console.pages.parts import faults_of
from tests.console.pages.test_public import text_of
from tests.operating import Office


async def test_what_needs_attention(office: Office) -> None:
    """Open tickets, upstreams that fail, holds past their time, an audit that is old, then one that disagrees."""
    gateway = office.gateway
    await gateway.chat()
    await gateway.settled(1)
    never = text_of(await office.grace.get("/operator"))
    with gateway.database.session() as connection:
        now = connection.now()
        open_ticket(connection, gateway.account_id, "Where <b>is</b> it?", "It?", None, now)
        connection.execute(
            "INSERT INTO hold VALUES ('req_held', ?, 250000000, NULL, 'p', 1, ?, 'k', '/', 'm', 'credits', FALSE, NULL)",
            (gateway.account_id, now),
        )
        record_audit(connection, now - 8 * MICROSECONDS_PER_DAY, [])
    for number in range(5):
        gateway.process._health.failed(("beta", "alternative-upstream"), number)
    reply = await office.grace.get("/operator")
    account = text_of(await office.grace.get(f"/operator/accounts/{gateway.account_id}"))
    with gateway.database.session() as connection:
        connection.execute("DELETE FROM hold")
        record_audit(connection, connection.now(), ["account acct_1: the balance is <wrong>"])
    disagreeing = text_of(await office.grace.get("/operator"))
    providers = await office.grace.get("/operator/providers")

    shown = text_of(reply)
    assert "Audit never" in never
    assert "Tickets 1 waits for an answer" in shown
    assert "Where <b>is</b> it?" in shown
    assert "Providers 1 of 4 upstreams fail" in shown
    assert "beta alternative-upstream down" in shown
    assert "Held $2.50 for 1 call under way" in shown
    assert "1 past the deadline" in shown
    assert "8 days ago: run find-token audit again" in shown
    assert "from 1 call," in shown
    assert "req_held m $2.50" in account
    assert "account acct_1: the balance is <wrong>" in disagreeing
    lines = text_of(providers)
    assert "standard-upstream up closed 100.0 % of 1" in lines
    assert "alternative-upstream failing open asked again in" in lines
    assert [] == faults_of(reply.body.decode()) + faults_of(providers.body.decode())
    assert b"canary" not in providers.body
