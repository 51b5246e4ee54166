"""The history as its owner sees it, page by page; both base paths; who is not known sees nothing."""

from __future__ import annotations

from console.shapes import Listed, RechargeShape
from tests.paying import RETURN_URL, Shop


async def test_the_history_page_by_page(shop: Shop) -> None:
    """Newest first, each once, whatever comes in meanwhile."""
    opened = [(await shop.open(10 + number))[0] for number in range(5)]
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await shop.ask("GET", f"/recharges?limit=2{cursor}")).json
        seen += [row["recharge_id"] for row in page["data"]]
        if page["next_cursor"] is None:
            break
        await shop.open(99)
        cursor = f"&cursor={page['next_cursor']}"

    assert opened[::-1] == seen


async def test_a_paid_recharge_is_shown_whole(shop: Shop) -> None:
    """Money as decimal strings, instants in UTC, nothing to keep in a cache."""
    recharge_id, _ = await shop.pay(20)

    reply = await shop.ask("GET", f"/recharges/{recharge_id}")

    shown = reply.json
    RechargeShape.model_validate_json(reply.body, strict=True)
    Listed[RechargeShape].model_validate_json((await shop.ask("GET", "/recharges")).body, strict=True)
    instants = {name: shown.pop(name) for name in ("created", "paid", "refundable_until")}
    assert {
        "recharge_id": recharge_id,
        "status": "paid",
        "amount": "20",
        "charged": "20",
        "credited": "20",
        "refunded": "0",
        "currency": "USD",
        "refundable": "20",
        "refunds": [],
    } == shown
    assert all(text.endswith("Z") for text in instants.values())
    assert "private, no-store" == reply.headers["Cache-Control"]


async def test_errors_are_kept_by_nobody(shop: Shop) -> None:
    """Whatever is wrong: the body, a parameter, the page, the recharge, the address."""
    for method, path, body, status in (
        ("POST", "/credits", b"{", 400),
        ("POST", "/credits", {"amount": 1, "success_url": RETURN_URL, "cancel_url": RETURN_URL}, 400),
        ("GET", "/recharges?limit=101", None, 400),
        ("GET", "/recharges?cursor=x", None, 400),
        ("GET", "/recharges/recharge_none", None, 404),
        ("POST", "/recharges/recharge_none/refund", None, 404),
        ("GET", "/nothing", None, 404),
        ("PUT", "/recharges", None, 405),
    ):
        reply = await shop.ask(method, path, body)
        assert status == reply.status, reply.body
        assert "private, no-store" == reply.headers["Cache-Control"], path


async def test_both_bases_and_no_key(shop: Shop) -> None:
    """/api/v1 serves the same; without a key each route is 401."""
    assert 200 == (await shop.gateway.send(b"", path="/api/v1/user/recharges", method="GET")).status
    for method, path in (
        ("POST", "/credits"),
        ("GET", "/recharges"),
        ("GET", "/recharges/x"),
        ("POST", "/recharges/x/refund"),
    ):
        reply = await shop.gateway.send(b"", path=f"/v1/user{path}", method=method, headers={"Authorization": ""})
        assert (401, "invalid_api_key") == reply.code


async def test_a_recharge_that_is_not_paid_is_not_refunded(shop: Shop) -> None:
    """There is nothing to give back."""
    recharge_id, _ = await shop.open(20)

    assert (409, "not_refundable") == (await shop.ask("POST", f"/recharges/{recharge_id}/refund")).code
