"""Embeddings over a real wire: OpenAI's own client, the simulated vendors, and upstreams that say exactly what a test wants.

Money is as exact as anywhere: the hold is the bound of the tokens at the input's price, the charge what the provider reported,
each with 5.5 % on top.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.money import UNITS_PER_USD, Money, format_usd
from billing.receipt import verify
from providers.catalogue import Catalogue, build
from proxy.config import Loaded
from proxy.demo import simulated_catalogue
from proxy.embeddings import in_base64
from simulator.server import Running as Simulator
from simulator.server import start
from storage.audit import audit
from storage.identifiers import now_microseconds
from storage.rerating import GIVEN_BACK, Wish, rerate
from tests.fakes.raw_upstream import RawUpstream, completion, failure, http
from tests.gateway import ALPHA_KEY, CREDIT, Gateway, Reply, model, price, quick_settings, running_gateway

Start = Callable[..., Awaitable[Gateway]]
PATH = "/v1/embeddings"
VECTOR = [0.5, -0.25, 1e-3]
USAGE = {"prompt_tokens": 8, "total_tokens": 8}
FEE = Fraction(1055, 1000)
NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def half_up(usd: Fraction) -> Money:
    return floor(usd * UNITS_PER_USD + Fraction(1, 2))


def cost_of(tokens: int, per_million: str) -> Money:
    """What so many tokens cost, worked out with fractions."""
    return half_up(tokens * Fraction(per_million) / 1_000_000 * FEE)


def most_of(input_bytes: int, inputs: int, per_million: str) -> Money:
    """The hold: 64 tokens a request, 16 an input, one a byte, rounded up."""
    tokens = 64 + 16 * inputs + input_bytes
    return ceil(tokens * Fraction(per_million) / 1_000_000 * FEE * UNITS_PER_USD)


def vectors(count: int = 1, *, usage: object = USAGE, **fields: Any) -> dict[str, Any]:
    """An answer in OpenAI's shape."""
    rows = [{"object": "embedding", "index": index, "embedding": VECTOR} for index in range(count)]
    document = {"object": "list", "data": rows, "model": "upstream-name", **fields}
    return document if usage is None else {**document, "usage": usage}


def embedding_book(alpha_url: str, beta_url: str, *corrections: dict[str, Any]) -> Catalogue:
    """`vectors` is served by alpha and by beta at twice its price, `other` by beta alone; `standard` talks."""
    rows = [{"from": "2026-01-01T00:00:00Z", "input": Decimal("0.07")}, *corrections]
    dearer = [{"from": "2026-01-01T00:00:00Z", "input": Decimal("0.14")}]
    embeds: dict[str, Any] = {"context": 8_192, "capabilities": ["embeddings"]}
    ways = [
        {"provider": "alpha", "upstream_model": "alpha-vectors", "prices": rows},
        {"provider": "beta", "upstream_model": "beta-vectors", "prices": dearer},
    ]
    return build(
        {
            "providers": {
                "alpha": {"dialect": "openai", "base_url": alpha_url, "keys": [ALPHA_KEY]},
                "beta": {"dialect": "openai", "base_url": beta_url, "keys": ["canary/beta/0123456789"]},
                "qwen": {"base_url": alpha_url, "keys": ["canary/qwen/0123456789"]},
            },
            "models": {
                "standard": model("alpha", price("0.14", "0.28")),
                "vectors": {**embeds, "upstreams": ways, "aliases": ["vendor/vectors"]},
                "other": {**embeds, "provider": "beta", "prices": rows},
                "both": model(
                    "alpha", price("0.14", "0.28"), capabilities=["embeddings", "n"], equivalents=["standard"]
                ),
                "texts-only": {**embeds, "provider": "qwen", "prices": rows},
            },
        }
    )


async def embed(gateway: Gateway, value: Any = "Hello", *, path: str = PATH, **fields: Any) -> Reply:
    headers = fields.pop("headers", None)
    body = {"model": "vectors", "input": value, **fields}
    return await gateway.send(json.dumps(body).encode(), path=path, headers=headers)


@pytest.fixture
async def gateway(start_gateway: Start, alpha: RawUpstream, beta: RawUpstream) -> Gateway:
    """A gateway over two upstreams that give one vector unless told otherwise."""
    alpha.otherwise = beta.otherwise = [http(vectors())]
    return await start_gateway(embedding_book(alpha.url, beta.url))


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """The simulated vendors."""
    running = await start()
    yield running
    await running.close()


async def test_the_official_client_gets_its_vectors(database_url: str, simulator: Simulator) -> None:
    """In both formats, of texts one and many, at each vendor; charged as reported, and proved by receipt and audit."""
    async with (
        running_gateway(simulated_catalogue(simulator.url), database_url) as gateway,
        openai.AsyncOpenAI(base_url=gateway.url + "/v1", api_key=gateway.key, max_retries=0) as client,
    ):
        # Without a format of its own the client asks for base64, which neither vendor knows.
        unasked = await client.embeddings.create(model="text-embedding-v4", input="How do I settle?", dimensions=64)
        floats = await client.embeddings.with_raw_response.create(
            model="text-embedding-v4", input=["How do I settle?", "Once."], dimensions=64, encoding_format="float"
        )
        zhipu = await client.embeddings.create(
            model="embedding-3", input=["one", "two", "three"], user="someone", dimensions=256
        )
        parsed = floats.parse()
        rows = await gateway.settled(3)
        gateway.prove()
        for row in rows:
            headers = {"Authorization": f"Bearer {gateway.key}"}
            receipt = await gateway.send(
                b"", path=f"/v1/user/billing-logs/{row.request_id}", method="GET", headers=headers
            )
            assert [] == verify(receipt.json, gateway.process.catalogue().price_book())
        generation = await gateway.send(b"", path=f"/v1/generation?id={rows[0].request_id}", method="GET")

    assert ("text-embedding-v4", 64) == (unasked.model, len(unasked.data[0].embedding))
    assert unasked.data[0].embedding == pytest.approx(parsed.data[0].embedding, rel=1e-6)
    assert ([0, 1], (4 + 2)) == ([one.index for one in parsed.data], parsed.usage.prompt_tokens)
    assert [256] * 3 == [len(one.embedding) for one in zhipu.data]
    assert [cost_of(4, "0.07"), cost_of(6, "0.07"), cost_of(4, "0.069")] == [row.cost for row in rows]
    assert format_usd(rows[1].cost) == floats.headers["X-FindToken-Cost"]
    assert ("qwen", "text-embedding-v4", "1") == tuple(
        floats.headers[f"X-FindToken-{name}"] for name in ("Provider", "Model", "Attempts")
    )
    assert [("complete", "provider", 4, 0, False)] == [
        (row.billing_outcome, row.usage_source, row.prompt_tokens, row.completion_tokens, row.estimated)
        for row in rows[:1]
    ]
    assert "embeddings" == generation.json["data"]["api_type"]
    sent = [json.loads(call.body) for call in simulator.state.journal.calls() if call.body]  # Wallets are asked, too.
    assert ["model", "input", "dimensions"] == list(sent[0])
    assert ["model", "input", "dimensions"] == list(sent[2])


async def test_what_the_provider_says_passes_as_it_is(gateway: Gateway, alpha: RawUpstream) -> None:
    """But for the model's name and a key of the operator's; our fields stay here, all others go on."""
    said = b'{ "object":"list", "data": [{"embedding":[0.10, 1E-2],"x":1}],"model" : "alpha-vectors", "usage":{"prompt_tokens":3}'
    alpha.next([http(said + b', "echo": "' + ALPHA_KEY.encode() + b'"}')])

    reply = await embed(
        gateway,
        path="/api/v1/embeddings",
        dimensions=2,
        user="me",
        routing="auto",
        api_key="x",
        instruct="Find.",
        model="vendor/vectors",
    )

    [request] = alpha.requests
    expected = said.replace(b'"alpha-vectors"', b'"vectors"') + b', "echo": "[redacted]"}'
    assert (200, expected) == (reply.status, reply.body)
    assert b"POST /embeddings HTTP/1.1" == request.head.split(b"\r\n")[0]
    assert {
        "model": "alpha-vectors",
        "input": "Hello",
        "dimensions": 2,
        "user": "me",
        "instruct": "Find.",
    } == request.json
    assert cost_of(3, "0.07") == gateway.row().cost == reply.money("Cost")
    assert CREDIT - reply.money("Cost") == reply.money("Balance")


async def test_the_hold_is_the_bound_and_not_a_unit_more(start_gateway: Start, alpha: RawUpstream) -> None:
    """A balance of the bound is enough, one unit less is refused with what is missing, and a shorter input is not clamped."""
    alpha.otherwise = [http(vectors(2, usage={"prompt_tokens": 16 * 2 + 64 + 4_000, "total_tokens": 0}))]
    most = most_of(4_000, 2, "0.07")
    gateway = await start_gateway(embedding_book(alpha.url, "http://127.0.0.1:9"), credit=most)
    _, poorer = gateway.new_account("grace", credit=most - 1)
    inputs, only = ["é" * 1_000, "x" * 2_000], {"provider": {"only": ["alpha"]}}

    served = await embed(gateway, inputs, **only)
    refused = await embed(gateway, inputs, **only, headers={"Authorization": f"Bearer {poorer}"})

    assert (200, 0) == (served.status, served.money("Balance"))
    assert most == served.money("Cost") == gateway.row().held
    assert (402, "insufficient_credits") == refused.code
    assert "This request requires more credits, or a shorter input." == refused.error["message"]
    assert (format_usd(most), format_usd(most - 1)) == (
        refused.error["required_usd"],
        refused.error["available_usd"],
    )
    assert "affordable_max_tokens" not in refused.error
    assert 1 == len(alpha.requests)
    gateway.prove(credit=most)


async def test_another_provider_stands_in_and_another_model_never(
    gateway: Gateway, alpha: RawUpstream, beta: RawUpstream
) -> None:
    """The same model elsewhere, at its price there; where nobody has it, 503, and `models` cannot name others."""
    alpha.next(failure(500), [http(vectors(0))])
    served = await embed(gateway)
    unreadable = await embed(gateway)
    alpha.next(*[failure(500)] * 8)
    beta.next(*[failure(500)] * 8)
    nobody = await embed(gateway)
    listed = await embed(gateway, models=["other"])
    itself = await embed(gateway, models=["vendor/vectors"], headers={"X-FindToken-Explain": "1"})

    assert [(200, "beta", "2")] * 2 == [
        (reply.status, reply.header("Provider"), reply.header("Attempts")) for reply in (served, unreadable)
    ]
    assert cost_of(8, "0.14") == served.money("Cost")
    assert "vectors" == served.json["model"]
    assert (503, "all_providers_unavailable") == nobody.code
    assert (400, "models[0]") == (listed.status, listed.error["param"])
    assert {"alpha-vectors", "beta-vectors"} == {sent.json["model"] for sent in [*alpha.requests, *beta.requests]}
    assert {"vectors"} == {one["model"] for one in itself.json["findtoken"]["candidates"]}
    gateway.prove()


async def test_an_answer_without_its_vectors_is_none(gateway: Gateway, alpha: RawUpstream) -> None:
    """It is asked for once more and then told as 502, free; what the provider reports of it is the operator's to bear."""
    answers: list[Any] = [
        vectors(2),
        vectors(data=None),
        vectors(data=[{"index": 0}]),
        vectors(data=[{"embedding": []}]),
        vectors(data=["x"]),
    ]
    for answer in answers:
        alpha.next([http(answer)], [http(vectors())])
    alpha.next([http(vectors(0))], [http(vectors(0))])

    replies = [await embed(gateway, provider={"only": ["alpha"]}) for _ in range(6)]

    assert [200] * 5 + [502] == [reply.status for reply in replies]
    assert "bad_upstream_response" == replies[-1].error["code"]
    *served, failed = gateway.rows()
    assert [["unreadable", "served"]] * 5 == [[one.outcome for one in row.attempts] for row in served]
    assert (0, ["unreadable"] * 2) == (failed.cost, [one.outcome for one in failed.attempts])
    first = [row.attempts[0] for row in gateway.rows()]
    assert {("operator", 8, half_up(8 * Fraction("0.07") / 1_000_000))} == {
        (one.borne_by, one.prompt_tokens, one.upstream_cost) for one in first
    }
    gateway.prove()


async def test_how_usage_is_read(gateway: Gateway, alpha: RawUpstream) -> None:
    """The prompt alone, or the total; nothing and zeros are an estimate of the bytes."""
    told: list[tuple[object, int, str]] = [
        ({"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}, 5, "provider"),
        ({"total_tokens": 9}, 9, "provider"),
        ({"prompt_tokens": 0, "total_tokens": 0}, 3, "estimated"),
        ({"prompt_tokens": "many"}, 3, "estimated"),
        (None, 3, "estimated"),
    ]
    for usage, _, _ in told:
        alpha.next([http(vectors(usage=usage))])

    replies = [await embed(gateway, "Hello World!") for _ in told]

    assert [(tokens, source, 0, cost_of(tokens, "0.07")) for _, tokens, source in told] == [
        (row.prompt_tokens, row.usage_source, row.completion_tokens, row.cost) for row in gateway.rows()
    ]
    assert [row.cost for row in gateway.rows()] == [reply.money("Cost") for reply in replies]


async def test_base64_is_made_of_numbers_and_passed_where_it_is_there(gateway: Gateway, alpha: RawUpstream) -> None:
    """Four bytes a number, the lowest first, everything else as it was; what is no number cannot be written so."""
    alpha.next([http(vectors(extra=1.0))], [http(vectors(data=[{"embedding": "AAAAPw=="}]))])
    alpha.next([http(vectors(data=[{"embedding": [1, None]}]))], [http(vectors(data=[{"embedding": [1e39]}]))])
    alpha.next([http(vectors(data=[{"embedding": [1], "index": 2**70}]))])
    only = {"provider": {"only": ["alpha"]}, "encoding_format": "base64"}

    made, passed, odd, long = [await embed(gateway, **only) for _ in range(4)]

    [row] = made.json["data"]
    assert struct.pack("<3f", *VECTOR) == base64.b64decode(row["embedding"])
    assert (0, "embedding", 1.0) == (row["index"], row["object"], made.json["extra"])
    assert "AAAAPw==" == passed.json["data"][0]["embedding"]
    assert (502, "bad_upstream_response") == odd.code
    assert 2**70 == long.json["data"][0]["index"]
    assert "base64" == alpha.requests[0].json["encoding_format"]


async def test_tokens_go_to_whom_they_mean_something(gateway: Gateway, alpha: RawUpstream) -> None:
    """A provider of texts alone is not asked; nor is one for more inputs than it takes, or for one that is too long."""
    alpha.next([http(vectors(2))])
    served = await embed(gateway, [[1, 2, 3], [4]])
    tokens = await embed(gateway, [1, 2], model="texts-only")
    many = await embed(gateway, ["x"] * 11, model="texts-only")
    long = await embed(gateway, [7] * 8_193)

    assert ([[1, 2, 3], [4]], 200) == (alpha.requests[0].json["input"], served.status)
    assert most_of(4, 2, "0.14") == gateway.row().held
    assert [(400, "invalid_value", "input")] * 2 == [(*one.code, one.error["param"]) for one in (tokens, many)]
    assert "texts-only takes texts, not tokens: send input as a text or a list of texts" == tokens.error["message"]
    assert "texts-only takes at most 10 inputs in one request, not 11: send them in parts" == many.error["message"]
    assert ((400, "context_length_exceeded"), "input") == (long.code, long.error["param"])
    assert 1 == len(alpha.requests)


async def test_ones_own_key_pays(gateway: Gateway, alpha: RawUpstream, beta: RawUpstream) -> None:
    """At its provider alone, free within the month's free calls, and told as byok."""
    reply = await embed(gateway, headers={"X-Provider-Key": "beta:own-key-0123456789"})
    refused = await embed(gateway, headers={"X-Provider-Key": "elsewhere:own-key-0123456789"})

    assert (200, "byok", "beta", 0) == (
        reply.status,
        reply.header("Mode"),
        reply.header("Provider"),
        reply.money("Cost"),
    )
    assert "Bearer own-key-0123456789" == beta.requests[0].headers["authorization"]
    assert ("provider_key", 8, 0) == (gateway.row().payer, gateway.row().prompt_tokens, gateway.row().cost)
    assert (400, "provider_key.provider") == (refused.status, refused.error["param"])
    assert [] == alpha.requests


async def test_the_same_request_again_is_one_call(gateway: Gateway, alpha: RawUpstream) -> None:
    """Under an Idempotency-Key; the same body as a chat completion is another request."""
    key = {"Idempotency-Key": "7c0f8a52"}
    first, again, other = [await embed(gateway, value, headers=key) for value in ("Hello", "Hello", "Bye")]

    assert (first.body, "true") == (again.body, again.header("Replayed"))
    assert (409, "idempotency_conflict") == other.code
    assert (1, 1) == (len(alpha.requests), len(gateway.rows()))


async def test_a_wrong_price_is_put_right(gateway: Gateway, alpha: RawUpstream) -> None:
    """By a revision, which calls of embeddings are rated again at like others; the receipt and the audit follow."""
    alpha.next([http(vectors(usage={"prompt_tokens": 50_000, "total_tokens": 50_000}))])
    await embed(gateway, "x" * 60_000)
    right = {"from": "2026-01-01T00:00:00Z", "input": Decimal("0.05"), "revision": 2}
    corrected = embedding_book(alpha.url, alpha.url, right).price_book()
    wish = Wish(book=corrected, model="vectors", since=0, until=now_microseconds(), reason="the price was wrong")

    [done] = rerate(gateway.database, wish, now_microseconds())

    difference = cost_of(50_000, "0.05") - cost_of(50_000, "0.07")
    assert (GIVEN_BACK, difference) == (done.outcome, done.difference)
    assert CREDIT - cost_of(50_000, "0.05") == gateway.balance().balance
    with gateway.database.session(snapshot=True) as connection:
        assert [] == audit(connection)


async def test_each_kind_of_model_says_where_it_is_asked(gateway: Gateway, alpha: RawUpstream) -> None:
    """A chat and a quote of a model of embeddings, and embeddings of one that talks, are refused with what to do."""
    chat = await gateway.chat(model="vectors")
    wrong_route = await embed(gateway, path="/v1/chat/completions")
    quote = await embed(gateway, path="/v1/quote")
    stand_in = await gateway.chat(models=["vectors"])
    talks = await embed(gateway, model="standard")
    unknown = await embed(gateway, model="vektors")

    hint = "send its input to POST /v1/embeddings; what that costs stands in GET /v1/models"
    assert [(400, "invalid_value", "model", f"vectors makes embeddings and does not chat: {hint}")] * 3 == [
        (*one.code, one.error["param"], one.error["message"]) for one in (chat, wrong_route, quote)
    ]
    assert (400, "models[0]") == (stand_in.status, stand_in.error["param"])
    assert "standard makes no embeddings; use vectors, other, both, texts-only" == talks.error["message"]
    assert (404, "model_not_found", ["vectors"]) == (*unknown.code, unknown.error["suggestions"])
    assert [] == alpha.requests
    gateway.prove()


async def test_a_model_that_does_both_is_asked_on_both_routes(gateway: Gateway, alpha: RawUpstream) -> None:
    """Its embeddings hold and cost the input alone, nobody stands in for them, and no limit of an answer is told."""
    alpha.next([http(vectors())], [http(completion())], *[failure(500)] * 8)
    embedded, chat = await embed(gateway, model="both"), await gateway.chat(model="both")
    nobody = await embed(gateway, model="both")
    told = next(one for one in (await gateway.get("/v1/models")).json["data"] if one["id"] == "both")

    assert [200, 200] == [embedded.status, chat.status]
    assert (cost_of(8, "0.14"), None) == (embedded.money("Cost"), embedded.header("Max-Tokens"))
    assert most_of(5, 1, "0.14") == gateway.rows()[0].held
    assert 503 == nobody.status
    assert {"both"} == {sent.json["model"] for sent in alpha.requests}
    assert ["text", "embeddings"] == told["architecture"]["output_modalities"]
    assert {"dimensions", "max_tokens", "n"} <= {*told["supported_parameters"]}


async def test_people_see_that_there_is_no_answer(gateway: Gateway) -> None:
    """Neither a price of one nor a length, where a model makes embeddings alone."""
    for path, count in (("/pricing", 1), ("/models", 1)):
        page = (await gateway.get(path)).body.decode()
        rows = {name: page.partition(f"<code>{name}</code>")[2].partition("</tr>")[0] for name in ("other", "both")}

        assert (count, 0) == (rows["other"].count('class="number">–'), rows["both"].count('class="number">–')), path


async def test_limits_of_tokens_count_inputs(start_gateway: Start, alpha: RawUpstream) -> None:
    """A minute's tokens are taken out for them, and put right by what was reported."""
    alpha.otherwise = [http(vectors(usage={"prompt_tokens": 90, "total_tokens": 90}))]
    limits = {"requests_per_minute": 0, "tokens_per_minute": 100}
    gateway = await start_gateway(embedding_book(alpha.url, alpha.url), limits=limits)

    first, second = await embed(gateway, "x" * 40), await embed(gateway, "x" * 80)

    assert (200, 429) == (first.status, second.status)


async def test_faults_of_the_vendors_are_read(simulator: Simulator, start_gateway: Start) -> None:
    """Qwen's refusals are the caller's to mend, its failures are tried again, its silence is bounded, a hidden error found."""
    catalogue = simulated_catalogue(simulator.url)
    gateway = await start_gateway(catalogue, routing={"timeout_seconds": 1})

    async def ask(fault: dict[str, Any] | None = None, value: Any = "Hello", **fields: Any) -> Reply:
        said = value if fault is None else f"{value} SIM:{json.dumps(fault)}"
        return await embed(gateway, said, model="text-embedding-v4", **fields)

    dimensions = await ask(dimensions=3)
    again = await ask({"kind": "status", "name": "server_error", "times": 1})
    hidden = await ask({"kind": "error_in_200", "name": "content_filter"})
    silent = await ask({"kind": "hang"})
    cut = await ask({"kind": "drop_after"})
    wrong = await ask({"kind": "wrong_model"}, "Whose?")

    assert (400, "invalid_value") == dimensions.code
    assert "dimension is invalid" in dimensions.error["message"]
    assert (200, "2") == (again.status, again.header("Attempts"))
    assert (400, "content_filter") == hidden.code
    assert (504, "deadline_exceeded") == silent.code
    assert (502, "bad_upstream_response") == cut.code
    assert (200, "text-embedding-v4") == (wrong.status, wrong.json["model"])
    gateway.prove()


@settings(max_examples=20)
@given(st.lists(st.lists(NUMBERS, min_size=1, max_size=9), min_size=1, max_size=3))
def test_numbers_in_base64_are_the_numbers(numbers: list[list[float]]) -> None:
    """Whatever they are; and what stands around them stays."""
    rows = [{"embedding": vector, "index": index} for index, vector in enumerate(numbers)]

    written = json.loads(in_base64({"a": 1.5, "data": rows, "usage": {}}, rows))

    read = [base64.b64decode(row["embedding"]) for row in written["data"]]
    assert [struct.pack(f"<{len(vector)}f", *vector) for vector in numbers] == read
    assert (1.5, {}, ["a", "data", "usage"]) == (written["a"], written["usage"], list(written))


async def test_a_reload_is_in_force_for_embeddings_too(gateway: Gateway, alpha: RawUpstream) -> None:
    """The whole chain is put in the place of the old one."""
    sections = quick_settings(gateway.database_url, server={"max_body_bytes": 1_024}, billing={"fee_percent": 0})
    gateway.process.apply(Loaded(sections, gateway.process.catalogue(), []))

    assert (413, "request_too_large") == (await embed(gateway, "x" * 1_024)).code
    assert half_up(8 * Fraction("0.07") / 1_000_000) == (await embed(gateway)).money("Cost")
