"""What is asked: read within limits, parsed strictly, and refused by the name of the field that is wrong."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from typing import Any

import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request
from hypothesis import given, settings
from hypothesis import strategies as st

from middlewares.body import body, check_fields, decompress, digest, find_model, parse
from middlewares.call import CALL, Call
from middlewares.errors import Refusal
from tests.fakes.raw_upstream import RawUpstream
from tests.gateway import PATH, Gateway, book, chat_body, http_request

JSON_TYPE = "invalid_request_error"
VALID = chat_body()


def refused(**fields: Any) -> tuple[str | None, str | None]:
    """Code and param of the refusal of a body with these fields."""
    with pytest.raises(Refusal) as caught:
        check_fields({**VALID, **fields})
    problem = caught.value.problem
    assert (400, JSON_TYPE) == (problem.status, problem.type)
    return problem.code, problem.param


NO_JSON: dict[str, bytes] = {
    "empty": b"",
    "words": b"hello",
    "cut": b'{"model": "standard"',
    "trailing": b"{} {}",
    "single quotes": b"{'model': 'standard'}",
    "a list": b"[]",
    "a text": b'"model"',
    "null": b"null",
    "not UTF-8": b'{"model": "\xff\xfe"}',
    "NaN": b'{"temperature": NaN}',
    "Infinity": b'{"temperature": Infinity}',
    "minus Infinity": b'{"temperature": -Infinity}',
    "1e999": b'{"temperature": 1e999}',
    "-1e999": b'{"temperature": -1e999}',
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "deep inside a field": b'{"metadata": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a number of 5,000 digits": b'{"seed": ' + b"9" * 5000 + b"}",
    "a control character": b'{"model": "\n"}',
}


@pytest.mark.parametrize("name", NO_JSON)
def test_what_is_no_json_object(name: str) -> None:
    """Words, cuts, NaN, infinities and numbers that become infinite, however deep it nests."""
    with pytest.raises(Refusal) as caught:
        parse(NO_JSON[name])

    assert (400, "invalid_json", None) == (
        caught.value.problem.status,
        caught.value.problem.code,
        caught.value.problem.param,
    )


@pytest.mark.parametrize(
    ("document", "param"),
    [
        (b'{"model": "a", "model": "b"}', "model"),
        (b'{"messages": [{"role": "user", "role": "system"}]}', "role"),
        (b'{"metadata": {"a": {"b": 1, "c": 2, "b": 3}}}', "b"),
        (b'{"model": "a", "mode\\u006c": "a"}', "model"),
        (b'{"' + b"x" * 500 + b'": 1, "' + b"x" * 500 + b'": 1}', "x" * 100),
    ],
)
def test_a_name_that_stands_twice_is_named(document: bytes, param: str) -> None:
    """Two readers could take different ones, so nobody takes any; at any depth, escapes seen through."""
    with pytest.raises(Refusal) as caught:
        parse(document)

    assert ("invalid_json", param) == (caught.value.problem.code, caught.value.problem.param)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, print_blob=True, max_examples=100)
@given(st.dictionaries(st.text(), JSON_VALUES), st.booleans())
def test_what_is_json_is_read_as_json(document: dict[str, Any], ascii_only: bool) -> None:
    """Any object without duplicates comes out as it went in."""
    written = json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    try:
        written.decode()
    except UnicodeDecodeError:
        return

    assert document == parse(written)


WRONG: dict[str, tuple[Any, ...]] = {
    "model": (5, [], {}, True, ""),
    "messages": ("hello", {}, 5, True, []),
    "stream": ("true", 1, 0, []),
    "stream_options": (True, [], "usage"),
    "max_tokens": (0, -1, -(10**30), 1.5, 5.0, "5", True, [], 10_000_001, 10**30),
    "max_completion_tokens": (0, -1, 1.5, "5", False, {}, 10_000_001, 10**30),
    "n": (0, -1, 17, 10**30, 1.5, "1", True, []),
    "temperature": ("hot", True, [], {}),
    "top_p": ("1", False, []),
    "presence_penalty": ("1", [], True),
    "frequency_penalty": ("1", [], True),
    "seed": (1.5, "7", True, []),
    "logprobs": (1, "true", []),
    "top_logprobs": (1.0, "5", True),
    "logit_bias": ([], "x", 5),
    "stop": (5, True, {}),
    "tools": ({}, "x", 5, True),
    "tool_choice": (5, True, []),
    "parallel_tool_calls": ("true", 1),
    "response_format": ("json", [], 5),
    "user": (5, [], {}),
    "metadata": ("x", [], 5),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_field_of_the_wrong_kind_or_size_is_named(name: str) -> None:
    """Each field that we know has OpenAI's type, and a value in range."""
    assert dict.fromkeys(map(repr, WRONG[name]), ("invalid_value", name)) == {
        repr(value): refused(**{name: value}) for value in WRONG[name]
    }


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (["hello"], "messages[0]"),
        ([{"role": "user", "content": "a"}, {"content": "b"}], "messages[1]"),
        ([{"role": 5}], "messages[0]"),
        ([None], "messages[0]"),
        ([[]], "messages[0]"),
    ],
)
def test_a_message_that_is_none_is_named_by_its_place(messages: list[Any], param: str) -> None:
    """A message is an object with a role; what else stands in it is between caller and provider."""
    assert ("invalid_value", param) == refused(messages=messages)


def test_two_limits_that_differ_are_refused() -> None:
    """Nobody can say which one was meant; the same number twice is fine, and so is one beside null."""
    assert ("invalid_value", "max_tokens") == refused(max_tokens=5, max_completion_tokens=6)
    check_fields({**VALID, "max_tokens": 5, "max_completion_tokens": 5})
    check_fields({**VALID, "max_tokens": None, "max_completion_tokens": 5})


def test_what_is_missing_is_named() -> None:
    """A model and messages are all that must be there."""
    for name in ("model", "messages"):
        with pytest.raises(Refusal) as caught:
            check_fields({key: value for key, value in VALID.items() if key != name})
        assert name == caught.value.problem.param
    check_fields(VALID)


def test_null_means_absent_and_the_edges_are_in_range() -> None:
    """Everywhere but in model and messages; whole numbers are numbers, too."""
    check_fields({**VALID, **{name: None for name in WRONG if name not in ("model", "messages")}})
    check_fields({**VALID, "max_tokens": 1, "n": 1, "temperature": 0, "stop": ["a"], "tool_choice": {"type": "x"}})
    check_fields({**VALID, "max_tokens": 10_000_000, "n": 16, "temperature": 0.7, "stop": "a", "seed": -(10**30)})
    check_fields({**VALID, "something_new": {"anything": [1, "x"]}})


def test_models_are_spelled_exactly() -> None:
    """A name or an alias finds its model; a near miss is answered with the nearest names, anything else without."""
    catalogue = book("http://127.0.0.1:1", "http://127.0.0.1:2")
    assert "standard" == find_model(catalogue, "standard").id == find_model(catalogue, "vendor/standard").id
    told = {}
    for name in ("Standard", "standart", "zzzzzzzzzzzz", "x" * 10_000):
        with pytest.raises(Refusal) as caught:
            find_model(catalogue, name)
        problem = caught.value.problem
        assert (404, "not_found_error", "model_not_found", "model") == (
            problem.status,
            problem.type,
            problem.code,
            problem.param,
        )
        assert len(problem.message) < 300
        told[name[:20]] = problem.fields["suggestions"][:1]

    assert {"Standard": ["standard"], "standart": ["standard"], "zzzzzzzzzzzz": [], "x" * 20: []} == told


async def test_bad_bodies_are_refused_before_anything_else_happens(gateway: Gateway, alpha: RawUpstream) -> None:
    """Over the wire: the contract's JSON, no upstream call, no hold, no charge, no line in the billing log."""
    tried: dict[str, tuple[bytes, tuple[int, str, str | None]]] = {
        name: (document, (400, "invalid_json", None)) for name, document in NO_JSON.items()
    }
    tried["twice"] = (b'{"model": "a", "model": "b"}', (400, "invalid_json", "model"))
    tried["half a character twice"] = (b'{"\\ud800": 1, "\\ud800": 2}', (400, "invalid_json", "\ud800"))
    for name, values in WRONG.items():
        body = json.dumps({**VALID, name: values[0]}).encode()
        tried[name] = (body, (400, "invalid_value", name))
    tried["limits that differ"] = (
        json.dumps({**VALID, "max_tokens": 5, "max_completion_tokens": 6}).encode(),
        (400, "invalid_value", "max_tokens"),
    )
    tried["a longer answer than any model gives"] = (
        json.dumps({**VALID, "max_tokens": 100_001}).encode(),
        (400, "invalid_value", "max_tokens"),
    )
    tried["a prompt longer than any context"] = (
        json.dumps(chat_body("word " * 200_000)).encode(),
        (400, "context_length_exceeded", "messages"),
    )
    tried["a picture for a model without eyes"] = (
        json.dumps(
            {**VALID, "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}
        ).encode(),
        (400, "invalid_value", "messages"),
    )
    tried["unknown model"] = (json.dumps({**VALID, "model": "standart"}).encode(), (404, "model_not_found", "model"))

    told = {}
    for name, (body, _) in tried.items():
        reply = await gateway.send(body)
        told[name] = (reply.status, reply.error["code"], reply.error["param"])
        assert reply.error["type"] in ("invalid_request_error", "not_found_error")
        assert reply.header("Cost") is None

    assert {name: expected for name, (_, expected) in tried.items()} == told
    assert ([], []) == (alpha.requests, gateway.rows())
    gateway.prove()


async def test_what_passes_reaches_the_provider_as_it_was(gateway: Gateway, alpha: RawUpstream) -> None:
    """Fields nobody knows, half characters, huge numbers and every kind of value, deep inside, too."""
    strange = {
        "future_field": {"nested": [1, 2.5, None, True, "𝄞 \ud800"], "": {}},
        "seed": 10**40,
        "metadata": {"api_key": "theirs to send, inside an object of theirs"},
    }
    reply = await gateway.chat("\udfff half a character", **strange)

    assert 200 == reply.status
    [request] = alpha.requests
    assert strange == {name: request.json[name] for name in strange}
    assert [{"role": "user", "content": "\udfff half a character"}] == request.json["messages"]


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("GZIP", gzip.compress),
        ("identity", bytes),
    ],
)
async def test_bodies_may_be_compressed(encoding: str, compress: Any, gateway: Gateway, alpha: RawUpstream) -> None:
    """gzip and deflate, in any spelling; the provider gets them plain."""
    body = compress(json.dumps(chat_body("squeezed " * 100)).encode())
    reply = await gateway.send(body, headers={"Content-Encoding": encoding})

    assert 200 == reply.status
    assert "squeezed " * 100 == alpha.requests[0].json["messages"][0]["content"]
    assert "content-encoding" not in alpha.requests[0].headers


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "nonsense"])
async def test_other_encodings_are_refused_in_our_words(encoding: str, gateway: Gateway, alpha: RawUpstream) -> None:
    """415 as JSON, whatever the server library thinks of the encoding."""
    reply = await gateway.send(b"\x0b\x02\x80{}\x03", headers={"Content-Encoding": encoding})

    assert (415, "unsupported_encoding") == reply.code
    assert reply.error["request_id"] == reply.header("Request-Id")
    assert [] == alpha.requests


@pytest.mark.parametrize(
    "kind", ["text/xml", "application/xml; charset=utf-8", "multipart/form-data; boundary=x", "text/html"]
)
async def test_a_body_of_another_kind_is_refused(kind: str, gateway: Gateway, alpha: RawUpstream) -> None:
    """415, in the data plane as in the account plane."""
    body = json.dumps(chat_body()).encode()
    replies = [
        await gateway.send(body, headers={"Content-Type": kind}, path=path)
        for path in (PATH, "/v1/quote", "/v1/user/keys")
    ]

    assert [(415, "unsupported_media_type")] * 3 == [reply.code for reply in replies]
    assert [] == alpha.requests


@pytest.mark.parametrize(
    "kind",
    [
        *("application/json; charset=utf-8", "Application/JSON", "application/vnd.api+json", "text/json"),
        *("application/x-www-form-urlencoded", "text/plain;charset=UTF-8", "application/octet-stream", ""),
    ],
)
async def test_what_programs_call_any_body_may_be_json(kind: str, gateway: Gateway) -> None:
    """As curl, fetch and the libraries of Python send a text when nobody says what it is."""
    reply = await gateway.send(json.dumps(chat_body()).encode(), headers={"Content-Type": kind})

    assert 200 == reply.status


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_broken_compressed_body_is_refused(encoding: str, gateway: Gateway) -> None:
    """No such format, cut, with something behind it, or empty: 400 as JSON."""
    whole = (gzip if encoding == "gzip" else zlib).compress(json.dumps(VALID).encode())
    for damaged in (b"not compressed at all", whole[:-6], whole + b"more", b""):
        reply = await gateway.send(damaged, headers={"Content-Encoding": encoding})
        assert (400, "invalid_json") == reply.code, damaged


def test_deflate_with_and_without_its_header() -> None:
    """Two things are called deflate; both are read."""
    raw = zlib.compressobj(wbits=-15)
    bare = raw.compress(b'{"a": 1}' * 100) + raw.flush()

    assert b'{"a": 1}' * 100 == decompress(bare, "deflate", 1000)
    assert b'{"a": 1}' * 100 == decompress(zlib.compress(b'{"a": 1}' * 100), "deflate", 1000)


def test_decompression_stops_at_the_limit() -> None:
    """Exactly as much as is allowed passes; a byte more is refused, without the rest being made."""
    bomb = zlib.compress(bytes(1001))

    assert bytes(1001) == decompress(bomb, "deflate", 1001)
    with pytest.raises(Refusal) as caught:
        decompress(bomb, "deflate", 1000)
    assert (413, "request_too_large") == (caught.value.problem.status, caught.value.problem.code)


async def test_the_limit_counts_what_comes_out(start_gateway: Any, alpha: RawUpstream) -> None:
    """A body of a few kilobytes that becomes many megabytes is refused like one that was as large from the start."""
    gateway: Gateway = await start_gateway(server={"max_body_bytes": 100_000})
    large = json.dumps(chat_body("x" * 100_000)).encode()
    bomb = gzip.compress(b'{"model": "' + b"x" * 50_000_000 + b'"}')
    fits = json.dumps(chat_body("")).encode()
    fits = json.dumps(chat_body("x" * (100_000 - len(fits)))).encode()
    assert 100_000 == len(fits)

    assert (413, "request_too_large") == (await gateway.send(large)).code
    assert len(bomb) < 100_000
    assert (413, "request_too_large") == (await gateway.send(bomb, headers={"Content-Encoding": "gzip"})).code
    assert 200 == (await gateway.send(fits)).status
    assert 200 == (await gateway.send(gzip.compress(fits), headers={"Content-Encoding": "gzip"})).status
    assert 2 == len(alpha.requests)


async def test_a_body_that_says_it_is_too_large_is_not_read(start_gateway: Any) -> None:
    """The answer comes at once, and the connection is not used again; chunked bodies are stopped at the limit."""
    gateway: Gateway = await start_gateway(server={"max_body_bytes": 1024})
    head = http_request(b"", gateway.key).replace(b"Content-Length: 0", b"Content-Length: 1000000000")
    announced = await gateway.dial_raw(head)
    answer = await announced.read_until(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()
    announced.hang_up(by_reset=False)
    endless = await gateway.dial_raw(
        http_request(b"", gateway.key).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        + b"1000\r\n%s\r\n" % (b"x" * 4096)
    )
    assert (await endless.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 413 ")
    endless.hang_up(by_reset=False)
    whole = await gateway.dial_raw(
        http_request(b"", gateway.key).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        + b"401\r\n%s\r\n0\r\n\r\n" % (b"x" * 1025)
    )
    assert (await whole.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 413 ")


async def test_a_body_whose_framing_breaks_is_refused(start_gateway: Any, alpha: RawUpstream) -> None:
    """Nobody can tell where it ends, so its end is waited for in vain, and no longer than for any other."""
    gateway: Gateway = await start_gateway(server={"body_timeout_seconds": 0.2})
    caller = await gateway.dial_raw(
        http_request(b"", gateway.key).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    )
    await asyncio.sleep(0.05)
    caller.writer.write(b"zz\r\nno chunk\r\n")
    answer = await caller.read_until(b"}}")

    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 408 "))
    assert b"application/json" in answer
    assert b"connection: close" in answer.lower()
    assert [] == alpha.requests


async def test_a_body_that_cannot_be_read_is_refused() -> None:
    """Whatever the server library finds wrong with its bytes."""
    broken = StreamReader(BaseProtocol(asyncio.get_running_loop()), 2**16)
    broken.set_exception(web.RequestPayloadError("cut"))
    request = make_mocked_request("POST", PATH, payload=broken)
    request[CALL] = Call()

    async def never(_request: web.Request) -> web.StreamResponse:
        raise AssertionError

    with pytest.raises(Refusal) as caught:
        await body(1000, 1.0, lambda: book("http://127.0.0.1:1", "http://127.0.0.1:2"))(request, never)

    assert "invalid_json" == caught.value.problem.code


async def test_a_body_that_does_not_come_is_not_waited_for(start_gateway: Any, alpha: RawUpstream) -> None:
    """408 as JSON after the time the operator set, and the connection is closed."""
    gateway: Gateway = await start_gateway(server={"body_timeout_seconds": 0.2})
    caller = await gateway.dial_raw(http_request(b"x" * 1000, gateway.key)[:-900])
    head = await caller.read_until(b"\r\n\r\n")
    body = await caller.read_until(b"}}")

    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in head.lower()
    assert ("request_timeout", "timeout_error") == (
        json.loads(body)["error"]["code"],
        json.loads(body)["error"]["type"],
    )
    caller.hang_up(by_reset=False)
    assert [] == alpha.requests


@pytest.mark.parametrize("by_reset", [False, True])
async def test_a_caller_who_leaves_while_sending_leaves_nothing(
    by_reset: bool, gateway: Gateway, alpha: RawUpstream
) -> None:
    """No call, no hold, no charge; the next caller is served."""
    caller = await gateway.dial_raw(http_request(b"x" * 1000, gateway.key)[:-900])
    await asyncio.sleep(0.02)
    caller.hang_up(by_reset=by_reset)
    assert 200 == (await gateway.chat()).status

    assert 1 == len(alpha.requests)
    gateway.prove()


async def test_a_connection_serves_one_call_after_another(gateway: Gateway) -> None:
    """Refused and served calls leave it in order; a pipelined one is answered in turn."""
    body = json.dumps(VALID).encode()
    caller = await gateway.dial_raw(http_request(b"no json", gateway.key) + http_request(body, gateway.key))
    first = await caller.read_until(b"}}")
    second = await caller.read_until(b'"total_tokens": 1500}}')
    caller.writer.write(http_request(body, gateway.key, path="/api" + PATH))
    third = await caller.read_until(b'"total_tokens": 1500}}')
    caller.hang_up(by_reset=False)

    assert [b"400", b"200", b"200"] == [answer[9:12] for answer in (first, second, third)]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(), JSON_VALUES, max_size=5), st.randoms(use_true_random=False), JSON_VALUES)
def test_a_digest_is_of_what_a_body_means(document: dict[str, Any], dice: Any, other: Any) -> None:
    """Spaces, escapes and the order of fields, however deep, change nothing; another value does."""

    def shuffled(value: Any) -> Any:
        if isinstance(value, list):
            return [shuffled(item) for item in value]
        if not isinstance(value, dict):
            return value
        names = list(value)
        dice.shuffle(names)
        return {name: shuffled(value[name]) for name in names}

    spelled = json.dumps(shuffled(document), indent=dice.choice([None, 1]), ensure_ascii=dice.random() < 0.5)
    try:
        again = parse(spelled.encode())
    except UnicodeEncodeError:
        again = shuffled(document)  # Half a surrogate pair can only be spelled as an escape.
    assert digest(document) == digest(again)
    assert (document.get("x") == other) or digest({**document, "x": other}) != digest({**document, "x": [other]})
