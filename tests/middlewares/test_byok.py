"""Who pays: the account's credits, or a provider key of the caller's own, which goes to its provider and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from providers.catalogue import build
from storage.provider_keys import register_provider_key
from storage.sealing import Sealer
from tests.fakes.raw_upstream import FIN, STREAM_HEAD, RawUpstream, completion, failure, http, piece, said
from tests.gateway import ALPHA_KEY, BETA_KEY, QUICK, Gateway, model, price

OWN = "caller-own-key-0123456789"


def inline(provider: str = "alpha", key: str = OWN) -> dict[str, Any]:
    """The field that makes a call run on a key of the caller's own."""
    return {"provider_key": {"provider": provider, "api_key": key}}


def register(gateway: Gateway, provider: str = "alpha", key: str = OWN) -> None:
    """Register a provider key for the account."""
    sealer = Sealer(QUICK["security"]["secret_key"])
    with gateway.database.session() as connection:
        register_provider_key(connection, sealer, gateway.account_id, provider, "mine", key)


def authorizations(upstream: RawUpstream) -> list[str]:
    """The keys an upstream saw."""
    return [request.headers["authorization"].removeprefix("Bearer ") for request in upstream.requests]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_on_an_own_key_is_free(stream: bool, start_gateway: Any, alpha: RawUpstream) -> None:
    """In the body or in the header, at a balance of nothing: the provider sees the caller's key, the account pays nothing."""
    gateway: Gateway = await start_gateway(credit=0)
    replies = [
        await gateway.chat(stream=stream, **inline()),
        await gateway.chat(stream=stream, headers={"X-Provider-Key": f"alpha:{OWN}"}),
        await gateway.chat(stream=stream, headers={"X-Provider-Key": OWN}),
    ]

    assert [OWN, OWN, OWN] == authorizations(alpha)
    for reply in replies:
        assert (200, "byok", None) == (reply.status, reply.header("Mode"), reply.header("Balance"))
        assert "0" == (reply.bill["cost"] if stream else reply.header("Cost"))
    if stream:
        assert "balance" not in replies[0].bill
    for row in gateway.rows():
        assert ("byok", "provider_key", 0, 1000) == (row.mode, row.payer, row.cost, row.prompt_tokens)
        assert [(0, "nobody")] == [(attempt.upstream_cost, attempt.borne_by) for attempt in row.attempts]
    gateway.prove(credit=0)


async def test_beyond_the_free_calls_the_fee_is_five_percent(start_gateway: Any, alpha: RawUpstream) -> None:
    """Two are free here, the third costs 5 % of the list price: 0.00028 x 0.05 = 0.000014."""
    gateway: Gateway = await start_gateway(billing={"byok_free_requests_per_month": 2})
    replies = [await gateway.chat(**inline()) for _ in range(3)]

    assert ["0", "0", "0.000014"] == [reply.header("Cost") for reply in replies]
    assert [0, 0, 1400] == [row.cost for row in gateway.rows()]
    assert (0, 1400) == (gateway.rows()[2].provider_cost, gateway.rows()[2].fee)
    gateway.prove()


async def test_what_was_not_delivered_is_not_counted(start_gateway: Any, alpha: RawUpstream) -> None:
    """A call that failed, or broke, gives its free call back."""
    gateway: Gateway = await start_gateway(credit=0, billing={"byok_free_requests_per_month": 1})
    alpha.next(failure(400), [STREAM_HEAD, piece(said("Hello")), FIN])
    assert 400 == (await gateway.chat(**inline())).status
    assert b'"finish_reason": "error"' in (await gateway.chat(stream=True, **inline())).body
    assert "0" == (await gateway.chat(**inline())).header("Cost")

    reply = await gateway.chat(**inline())

    assert (402, "insufficient_credits") == reply.code
    assert ("0", "byok") == (reply.error["available_usd"], reply.header("Mode"))
    assert float(reply.error["required_usd"]) > 0
    assert "affordable_max_tokens" not in reply.error
    assert 3 == len(alpha.requests)
    gateway.prove(credit=0)


async def test_the_fee_is_held_and_never_exceeded(start_gateway: Any, alpha: RawUpstream) -> None:
    """Usage beyond the bound is absorbed, as with standard calls."""
    gateway: Gateway = await start_gateway(billing={"byok_free_requests_per_month": 0})
    alpha.next([http(completion(usage={"prompt_tokens": 10, "completion_tokens": 1_000_000}))])
    await gateway.chat(max_tokens=100, **inline())

    row = gateway.row()
    assert row.anomalous
    assert row.absorbed > 0
    assert 0 < row.cost < 1000
    gateway.prove()


async def test_a_registered_key_is_used_by_itself(gateway: Gateway, alpha: RawUpstream) -> None:
    """`auto` takes it where there is one, `credits_only` does not, `byok_only` insists, an inline one comes first."""
    assert 200 == (await gateway.chat()).status
    register(gateway)
    # The gateway may have looked before: it follows changes within a second, or sooner where it is told.
    gateway.process._provider_keys._cache.forget()
    modes = [
        (await gateway.chat(**fields)).header("Mode")
        for fields in ({}, {"payer": "credits_only"}, {"payer": "byok_only"}, inline(key="another-key-0123"))
    ]

    assert ["byok", "standard", "byok", "byok"] == modes
    assert [ALPHA_KEY, OWN, ALPHA_KEY, OWN, "another-key-0123"] == authorizations(alpha)


THEN = {"payer": "byok_then_credits"}


async def test_an_own_key_that_works_is_not_followed_by_credits(start_gateway: Any, alpha: RawUpstream) -> None:
    """Nor one whose request is refused for its own fault, nor a stream that broke; without a key the account pays at once."""
    gateway: Gateway = await start_gateway()
    alpha.next([http(completion())], failure(400), [STREAM_HEAD, piece(said("Hello")), FIN])
    served = await gateway.chat(**THEN, **inline())
    refused = await gateway.chat(**THEN, **inline())
    broken = await gateway.chat(stream=True, **THEN, **inline())
    assert [OWN] * 3 == authorizations(alpha)
    assert ("byok", 400, True) == (served.header("Mode"), refused.status, b'"finish_reason": "error"' in broken.body)
    assert "standard" == (await gateway.chat(**THEN)).header("Mode")

    assert [0, 0, 0, 29_540] == [row.cost for row in gateway.rows()]
    gateway.prove()


async def test_byok_only_without_a_key_is_refused(gateway: Gateway, alpha: RawUpstream) -> None:
    """401 that names the provider a key is needed for."""
    reply = await gateway.chat(payer="byok_only")

    assert (401, "invalid_provider_key") == reply.code
    assert "payer" == reply.error["param"]
    assert "alpha" in reply.error["message"]
    assert ([], []) == (alpha.requests, gateway.rows())


async def test_a_key_for_a_provider_that_does_not_serve_the_model(gateway: Gateway, alpha: RawUpstream) -> None:
    """400 that names both: the key's provider, and those of the model and its allowed stand-ins."""
    for fields, serving in (
        ({"model": "standard", **inline("gamma")}, "alpha, beta"),
        ({"model": "standard", "provider": {"allow_fallbacks": False}, **inline("beta")}, "alpha"),
        ({"model": "lonely", **inline("beta")}, "alpha"),
        ({"model": "lonely", "models": ["dear", "standard"], **inline("beta")}, "alpha"),
    ):
        reply = await gateway.chat(**fields)
        assert (400, "invalid_value") == reply.code
        assert "provider_key.provider" == reply.error["param"]
        assert repr(fields["provider_key"]["provider"]) in reply.error["message"]
        assert reply.error["message"].endswith(serving)
    assert ([], []) == (alpha.requests, gateway.rows())


async def test_a_stand_in_that_is_not_for_sale_opens_nothing(start_gateway: Any, alpha: RawUpstream) -> None:
    """A short catalogue may keep the names of a long one; nobody serves them."""
    providers = {"alpha": {"dialect": "openai", "base_url": alpha.url, "keys": [ALPHA_KEY]}}
    models = {"standard": model("alpha", price("1", "2"), equivalents=["gone"])}
    gateway: Gateway = await start_gateway(build({"providers": providers, "models": models}))

    assert (400, "invalid_value") == (await gateway.chat(**inline("beta"))).code
    assert 200 == (await gateway.chat(**inline("alpha"))).status


async def test_a_key_may_open_a_stand_in(gateway: Gateway, alpha: RawUpstream, beta: RawUpstream) -> None:
    """The key's own provider serves, although it does not offer the model that was asked for."""
    reply = await gateway.chat(**inline("beta"))

    assert ("beta", "alternative") == (reply.header("Provider"), reply.header("Model"))
    assert ([], [OWN]) == (alpha.requests, authorizations(beta))


@pytest.mark.parametrize("status", [401, 429, 500, 503])
async def test_it_never_falls_over_to_the_operators_keys(
    status: int, gateway: Gateway, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """However the provider fails, no other provider and no other key is tried."""
    alpha.otherwise = lambda _request: failure(status)
    reply = await gateway.chat(**inline())

    assert reply.status >= 400
    assert {OWN} == set(authorizations(alpha))
    assert [] == beta.requests
    assert ALPHA_KEY not in str(alpha.requests)
    assert BETA_KEY not in str(alpha.requests)
    row = gateway.row()
    assert ("byok", 0) == (row.mode, row.cost)


async def test_troubles_of_an_own_key_are_the_callers_to_know(gateway: Gateway, alpha: RawUpstream) -> None:
    """Unknown key 401, empty account 402, no permission 403, in our words; nobody else's calls suffer from them."""
    told = {}
    for status in (401, 402, 403):
        for _ in range(6):
            alpha.next(failure(status, f"go away {OWN}"))
            reply = await gateway.chat(**inline())
        told[status] = (*reply.code, reply.error["type"])
        assert "alpha" in reply.error["message"]
        assert OWN not in reply.body.decode()

    assert {
        401: (401, "invalid_provider_key", "authentication_error"),
        402: (402, "insufficient_provider_balance", "insufficient_credits"),
        403: (403, "provider_permission_denied", "permission_error"),
    } == told
    assert 18 == len(alpha.requests), "none of them is retried, and no circuit opens"
    served = await gateway.chat()
    assert (200, "alpha") == (served.status, served.header("Provider"))
    gateway.prove()


async def test_a_model_that_an_own_key_does_not_open_says_nothing_of_the_provider(
    gateway: Gateway, alpha: RawUpstream
) -> None:
    """A caller's key without access to a model must not take the model away from everybody."""
    for _ in range(6):
        alpha.next(failure(404, "The model does not exist or you do not have access to it.", "model_not_found"))
        assert 503 == (await gateway.chat(model="lonely", **inline())).status

    assert 200 == (await gateway.chat(model="lonely")).status


async def test_no_trace_of_a_provider_key_is_left(
    gateway: Gateway, sqlite_database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in the database, the metrics, the log, nor in any answer."""
    caplog.set_level(0)
    register(gateway, key="canary-registered-0123")
    replies = [await gateway.chat(**inline(key="canary-inline-0123456")), await gateway.chat()]

    folder = Path(sqlite_database_url.removeprefix("sqlite:///")).parent
    everything = b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())
    everything += (await gateway.get("/metrics", admin=True)).body + caplog.text.encode()
    for reply in replies:
        everything += reply.body + str(reply.headers).encode()
    assert b"canary-inline" not in everything
    assert b"canary-registered" not in everything


THEN_CREDITS = {"payer": "byok_then_credits"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [401, 402, 403, 429, 503])
async def test_where_the_own_key_does_not_serve_credits_do(
    status: int, stream: bool, start_gateway: Any, alpha: RawUpstream
) -> None:
    """Only for a caller who said so: one call, one row with both attempts, paid once, and its free call given back."""
    gateway: Gateway = await start_gateway(routing={"backoff_seconds": [0.02], "retries": 0})
    alpha.next(failure(status))

    reply = await gateway.chat(stream=stream, model="lonely", **THEN_CREDITS, **inline())

    assert (200, OWN, ALPHA_KEY) == (reply.status, authorizations(alpha)[0], authorizations(alpha)[-1])
    row = gateway.row()
    assert ("standard", "credits") == (row.mode, row.payer)
    assert row.cost > 0
    assert [1, 2] == [attempt.number for attempt in row.attempts]
    assert ["nobody", "account"] == [attempt.borne_by for attempt in row.attempts]
    with gateway.database.session() as connection:
        assert [(0,)] == connection.execute("SELECT used FROM byok_month").fetchall()
    gateway.prove()


async def test_an_own_key_that_serves_is_what_pays(gateway: Gateway, alpha: RawUpstream) -> None:
    """Registered or sent; without one the call is paid from the balance at once."""
    without = await gateway.chat(**THEN_CREDITS)
    sent = await gateway.chat(**THEN_CREDITS, **inline())
    register(gateway)
    gateway.process._provider_keys.forget()
    registered = await gateway.chat(**THEN_CREDITS)

    assert ["standard", "byok", "byok"] == [reply.header("Mode") for reply in (without, sent, registered)]
    assert [ALPHA_KEY, OWN, OWN] == authorizations(alpha)
    gateway.prove()


async def test_credits_do_not_mend_the_caller_s_own_mistakes(gateway: Gateway, alpha: RawUpstream) -> None:
    """A request that the provider refuses is told, and so is an answer that broke after its first byte."""
    alpha.next(failure(400), [STREAM_HEAD, piece(said("Hello")), FIN])

    refused = await gateway.chat(model="lonely", **THEN_CREDITS, **inline())
    broken = await gateway.chat(model="lonely", stream=True, **THEN_CREDITS, **inline())

    assert 400 == refused.status
    assert b'"finish_reason": "error"' in broken.body
    assert [OWN, OWN] == authorizations(alpha)
    assert ["byok", "byok"] == [row.mode for row in gateway.rows()]
    gateway.prove()


async def test_without_credits_either_the_call_has_its_row(start_gateway: Any, alpha: RawUpstream) -> None:
    """402 for the second try; what was tried on the own key stands in the billing log, free."""
    gateway: Gateway = await start_gateway(credit=0)
    alpha.next(failure(401))

    reply = await gateway.chat(model="lonely", **THEN_CREDITS, **inline())

    assert (402, "insufficient_credits") == reply.code
    row = gateway.row()
    assert (402, 0, [OWN]) == (row.status, row.cost, authorizations(alpha))
    assert [1] == [attempt.number for attempt in row.attempts]
    gateway.prove(credit=0)
