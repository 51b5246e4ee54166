"""The clock of a call and what is counted of it: by how it ended, and never by what a caller invented."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from metrics.logs import line_of
from tests.fakes.raw_upstream import HANG, RST, STREAM_HEAD, RawUpstream, completion, failure, http, piece, said
from tests.gateway import PATH, Gateway, book, running_gateway

LABELS = ("provider", "model", "mode", "outcome", "code")


async def counted(gateway: Gateway) -> dict[tuple[str, ...], float]:
    """The samples of requests_total by their labels in order."""
    return {
        tuple(labels[name] for name in LABELS): value
        for name, labels, value in await gateway.metrics()
        if name == "findtoken_requests_total"
    }


async def test_calls_are_counted_by_how_they_ended(gateway: Gateway, alpha: RawUpstream) -> None:
    """Complete, refused, failed, cut, empty, left: each under its outcome and status."""
    await gateway.chat()
    await gateway.chat(stream=True)
    await gateway.send(b"no json")
    await gateway.chat(model="made-up-name")
    alpha.next(failure(400))
    await gateway.chat(model="lonely")
    alpha.next(failure(401))
    await gateway.chat(model="lonely")
    alpha.next([STREAM_HEAD, piece(said("Hello")), RST])
    await gateway.chat(stream=True)
    alpha.next([http(completion("", finish=None))])
    await gateway.chat()
    alpha.next([HANG])
    caller = await gateway.dial()
    await alpha.received(7)
    caller.hang_up(by_reset=False)
    await gateway.settled(7)

    assert {
        ("alpha", "standard", "standard", "complete", "200"): 2,
        ("", "", "", "refused", "400"): 1,
        ("", "", "", "refused", "404"): 1,
        ("alpha", "lonely", "standard", "failed", "400"): 1,
        ("alpha", "lonely", "standard", "failed", "503"): 1,
        ("alpha", "standard", "standard", "cut_by_provider", "200"): 1,
        ("alpha", "standard", "standard", "nothing_produced", "200"): 1,
        ("alpha", "standard", "standard", "client_left_before_first_byte", "499"): 1,
    } == await counted(gateway)
    assert 1 == await gateway.metric("client_disconnects_total")
    assert 2 == await gateway.metric("time_to_first_token_seconds_count"), "only streams have a first token"
    assert 9 == await gateway.metric("request_seconds_count")
    assert 0 == await gateway.metric("streams_open")


async def test_strangers_are_not_counted(gateway: Gateway) -> None:
    """Without a key that is known nobody can fill the metrics, nor with other routes."""
    await gateway.chat(headers={"Authorization": "Bearer sk-ft_nonsense"})
    await gateway.get("/v1/models")
    await gateway.get("/nowhere")

    assert {} == await counted(gateway)


async def test_labels_come_from_the_catalogue(gateway: Gateway) -> None:
    """Names that callers invent, keys and accounts never become labels."""
    for number in range(20):
        await gateway.chat(model=f"invented-{number}")
        await gateway.chat(path=f"/v1/{number}")
    await gateway.chat(model="vendor/standard")

    allowed = {"standard", "alternative", "lonely", "dear", "alpha", "beta", ""}
    samples = await gateway.metrics()
    assert allowed >= {labels[name] for _, labels, _ in samples for name in ("model", "provider") if name in labels}
    everything = str(samples)
    for secret in ("invented", "vendor/", gateway.key, gateway.account_id, "canary"):
        assert secret not in everything


async def test_the_start_is_an_instant_in_utc(gateway: Gateway) -> None:
    """It decides which price counts, so it says its time zone; the billing log keeps it."""
    before = datetime.now(UTC)
    await gateway.chat()

    created = datetime.fromtimestamp(gateway.row().created / 1e6, UTC)
    assert before - timedelta(milliseconds=1) <= created <= datetime.now(UTC)


async def test_two_gateways_count_apart(sqlite_database_url: str, gateway: Gateway, alpha: RawUpstream) -> None:
    """Each process tells of itself, also where two run in one process of Python."""
    url = sqlite_database_url.replace("find-token.db", "other.db")
    async with running_gateway(gateway.process.catalogue(), url) as other:
        await gateway.chat()

        assert {} == await counted(other)
        assert 1 == sum((await counted(gateway)).values())


async def test_each_call_has_a_line_without_anything_the_caller_wrote(
    alpha: RawUpstream, beta: RawUpstream, database_url: str
) -> None:
    """Who, which model, what it cost, what was tried; of a refused call what is known; and never more than 1 KB."""
    logged: list[dict[str, Any]] = []
    async with running_gateway(book(alpha.url, beta.url), database_url, log=logged.append) as gateway:
        alpha.next(failure(503))
        answer = await gateway.chat("canary-of-a-prompt", user="canary-of-a-user")
        await gateway.chat(model="canary-of-a-model")
        await gateway.chat(headers={"Authorization": "Bearer sk-ft_canary"})

    served, unknown, stranger = logged
    told = {
        "request_id": answer.headers["X-FindToken-Request-Id"],
        "account_id": gateway.account_id,
        "path": PATH,
        "streamed": False,
        "requested_model": "standard",
        "model": answer.header("Model"),
        "provider": answer.header("Provider"),
        "mode": "standard",
        "status": 200,
        "outcome": "complete",
        "cost": answer.header("Cost"),
    }
    assert told == {name: served[name] for name in told}
    assert "code" not in served
    assert ["alpha/standard: overloaded", f"beta/{answer.header('Model')}: served"] == served["attempts"]
    assert ["alpha/standard: failed", "beta/alternative: served"] == served["candidates"]
    assert (None, None) == (unknown.get("candidates"), stranger.get("candidates"))
    assert ("model_not_found", 404, gateway.account_id) == tuple(
        unknown[name] for name in ("code", "status", "account_id")
    )
    assert ("invalid_api_key", 401, None) == tuple(stranger[name] for name in ("code", "status", "account_id"))
    lines = [line_of("info", "call", facts) for facts in logged]
    assert max(len(line) for line in lines) <= 1_024
    for secret in (b"canary", gateway.key.encode()):
        assert all(secret not in line for line in lines)


async def test_candidates_are_logged_where_there_is_something_to_explain(
    alpha: RawUpstream, beta: RawUpstream, sqlite_database_url: str
) -> None:
    """Not where the model asked for served at once; but where nobody could, and where the caller wants to know."""
    logged: list[dict[str, Any]] = []
    async with running_gateway(book(alpha.url, beta.url), sqlite_database_url, log=logged.append) as gateway:
        await gateway.chat()
        await gateway.chat(headers={"X-FindToken-Explain": "1"})
        await gateway.chat(provider={"only": ["gamma"]})

    assert [
        None,
        ["alpha/standard: served", "beta/alternative: not_needed"],
        ["alpha/standard: not_wanted", "beta/alternative: not_wanted"],
    ] == [facts.get("candidates") for facts in logged]


async def test_a_repeated_answer_is_told_apart(sqlite_database_url: str, alpha: RawUpstream, beta: RawUpstream) -> None:
    """Its line has an id of its own and the id of the call that was made, which alone has a cost."""
    logged: list[dict[str, Any]] = []
    key = {"Idempotency-Key": "order-1"}
    async with running_gateway(book(alpha.url, beta.url), sqlite_database_url, log=logged.append) as gateway:
        await gateway.chat(headers=key)
        await gateway.chat(headers=key)
        counts = await counted(gateway)

    made, repeated = logged
    assert ("0.0002954", None) == (made["cost"], made.get("replay_of"))
    assert (None, made["request_id"]) == (repeated["cost"], repeated["replay_of"])
    assert repeated["request_id"] != made["request_id"]
    assert {("alpha", "standard", "standard", "complete", "200"): 1, ("", "", "", "replayed", "200"): 1} == counts
