"""Whatever goes wrong becomes one error object with the right status, and says neither too much nor too little."""

from __future__ import annotations

import ast
import asyncio
import importlib
import logging
import pkgutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

import storage
from middlewares.call import CALL
from middlewares.correlate import correlate
from middlewares.errors import CODES, ClientGone, Problem, Refusal, error_response, errors, problem_of, status_of
from providers import errors as upstream
from storage.connection import StorageUnavailable
from tests.fakes.raw_upstream import Answer, RawUpstream, failure, http, said, streamed
from tests.gateway import ALPHA_KEY, Gateway, serving

ROOT = Path(__file__).parents[2]

UPSTREAM_PROBLEMS = {
    "UpstreamError": (503, "all_providers_unavailable"),
    "RequestRefused": (400, "invalid_value"),
    "ContextTooLong": (400, "context_length_exceeded"),
    "ContentFiltered": (400, "content_filter"),
    "StreamOptionsRefused": (503, "all_providers_unavailable"),
    "UpstreamModelMissing": (503, "all_providers_unavailable"),
    "ProviderKeyRefused": (503, "all_providers_unavailable"),
    "ProviderPermissionDenied": (503, "all_providers_unavailable"),
    "ProviderBalanceExhausted": (503, "all_providers_unavailable"),
    "ProviderBusy": (503, "all_providers_unavailable"),
    "ProviderRateLimited": (429, "provider_rate_limited"),
    "ProviderQuotaExhausted": (429, "provider_rate_limited"),
    "ProviderOverloaded": (503, "all_providers_unavailable"),
    "ProviderFailed": (503, "all_providers_unavailable"),
    "UpstreamUnreachable": (503, "all_providers_unavailable"),
    "ConnectionLost": (503, "all_providers_unavailable"),
    "UpstreamTimedOut": (504, "deadline_exceeded"),
    "AnswerUnreadable": (502, "bad_upstream_response"),
    "StreamCut": (502, "bad_upstream_response"),
}

# What becomes of each exception that storage defines: a status of its own, the middlewares that turn it into a refusal, or
# a mistake of ours (or of an operator's command) that no caller can cause.
STORAGE_EXCEPTIONS = {
    "StorageUnavailable": "503",
    "MalformedKey": "auth",
    "UnknownKey": "auth",
    "KeyRevoked": "auth",
    "KeyExpired": "auth",
    "AccountInactive": "auth budget",
    "InsufficientCredit": "budget",
    "KeyLimitReached": "budget",
    "UnknownAccount": "500",
    "NothingRefundable": "500",
    "EmailTaken": "500",
    "InvalidEmail": "500",
    "UnknownProviderKey": "500",
    "UnknownTicket": "500",
    "TooManyTickets": "500",
    "UnknownAnnouncement": "500",
    "NotAnswered": "500",
    "UnknownMigration": "500",
    "NoWayBack": "500",
    "RowsWouldBeLost": "500",
    "InvalidCursor": "500",
    "Conflict": "500",
    "TransactionAborted": "500",
    "LedgerViolation": "500",
    "NotTogether": "500",
    "SealBroken": "500",
    "SealingUnavailable": "500",
}


def classes_below(root: type[Exception]) -> Iterator[type[Exception]]:
    """A class and everything that inherits from it."""
    yield root
    for child in root.__subclasses__():
        yield from classes_below(child)


def storage_exceptions() -> set[str]:
    """The names of the exceptions that modules of storage define."""
    found = set()
    for module_info in pkgutil.iter_modules(storage.__path__):
        module = importlib.import_module(f"storage.{module_info.name}")
        for name, value in vars(module).items():
            if isinstance(value, type) and issubclass(value, Exception) and value.__module__ == module.__name__:
                found.add(name)
    return found


def test_every_upstream_error_is_mapped() -> None:
    """Each class of the tree in providers/errors.py has the status and the code that the contract gives it."""
    told = {}
    for kind in classes_below(upstream.UpstreamError):
        if kind.__module__ == upstream.__name__:
            problem = problem_of(kind("sk-something secret"))  # type: ignore[arg-type]
            told[kind.__name__] = (problem.status, problem.code)

    assert told == UPSTREAM_PROBLEMS


def test_only_words_about_the_callers_own_request_are_passed_on() -> None:
    """What a provider says of our key, our balance or itself stays with us."""
    for kind in classes_below(upstream.UpstreamError):
        shown = problem_of(kind("the provider's own words")).message  # type: ignore[arg-type]
        assert issubclass(kind, upstream.RequestRefused) == (shown == "the provider's own words"), kind


def test_a_refused_request_keeps_its_status_where_that_says_more() -> None:
    """413 and 422 of a provider are the caller's to know; everything else is a 400."""
    told = {}
    for status in (400, 404, 413, 418, 422):
        problem = problem_of(upstream.RequestRefused("no", status=status))
        told[status] = (problem.status, problem.code, problem.type)

    kind = "invalid_request_error"
    assert {
        400: (400, "invalid_value", kind),
        404: (400, "invalid_value", kind),
        413: (413, "request_too_large", kind),
        418: (400, "invalid_value", kind),
        422: (422, "refused_value", kind),
    } == told
    assert "the provider refused the request" == problem_of(upstream.RequestRefused("")).message


def test_a_wait_the_provider_asked_for_is_passed_on() -> None:
    """The Retry-After of the last error is the best that is known."""
    assert 7.5 == problem_of(upstream.ProviderRateLimited("no", retry_after_seconds=7.5)).retry_after_seconds


def test_every_exception_of_storage_has_a_place() -> None:
    """None is unmapped: it has a status, or a middleware catches it by name, or it can only be a mistake of ours."""
    assert set(STORAGE_EXCEPTIONS) == storage_exceptions()
    for name, place in STORAGE_EXCEPTIONS.items():
        if place == "503":
            problem = problem_of(StorageUnavailable("secret details of a disk"))
            assert (503, "storage_unavailable") == (problem.status, problem.code)
            assert "secret" not in problem.message
        elif place != "500":
            for module in place.split():
                source = ast.parse((ROOT / "middlewares" / f"{module}.py").read_text())
                caught = [ast.unparse(node.type) for node in ast.walk(source) if isinstance(node, ast.ExceptHandler)]
                assert any(name in one for one in caught), f"{module} does not catch {name}"


def refusals_in(path: Path) -> set[str]:
    """The codes that a source file refuses with."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Call(func=ast.Name("Refusal" | "_problem"), args=[ast.Constant(str() as code), *_]):
                found.add(code)
    return found


def test_every_code_that_is_raised_is_known() -> None:
    """`Refusal` with a code that has no status would itself be an error; the table names every code that is used."""
    sources = [*(ROOT / "middlewares").glob("*.py"), *(ROOT / "proxy").glob("*.py")]
    raised = set().union(*map(refusals_in, sources))

    assert raised <= CODES.keys()
    assert {"invalid_json", "model_not_found", "key_revoked", "storage_unavailable"} <= raised
    with pytest.raises(KeyError):
        Refusal("invented", "no")


def test_a_refusal_is_told_in_its_own_words() -> None:
    """Status and type from the table; message, field, wait and machine fields as given."""
    refusal = Refusal("insufficient_credits", "more", param="max_tokens", retry_after_seconds=3, available_usd="1")

    assert Problem(
        402, "insufficient_credits", "insufficient_credits", "more", "max_tokens", 3, {"available_usd": "1"}
    ) == problem_of(refusal)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (web.HTTPNotFound(), (404, "not_found_error", "not_found")),
        (web.HTTPMethodNotAllowed("GET", ["POST"]), (405, "invalid_request_error", "method_not_allowed")),
        (web.HTTPRequestTimeout(), (408, "timeout_error", "request_timeout")),
        (web.HTTPRequestEntityTooLarge(1, 2), (413, "invalid_request_error", "request_too_large")),
        (web.HTTPUnsupportedMediaType(), (415, "invalid_request_error", "unsupported_media_type")),
        (web.HTTPBadRequest(), (400, "invalid_request_error", "invalid_value")),
        (web.HTTPExpectationFailed(), (400, "invalid_request_error", "invalid_value")),
        (web.HTTPInternalServerError(), (500, "server_error", "server_error")),
        (LookupError("secret"), (500, "server_error", "server_error")),
    ],
)
def test_errors_of_the_server_library_and_of_ours(error: Exception, expected: tuple[int, str, str]) -> None:
    """The server library's own errors fit the table; whatever else there is, is a 500 without detail."""
    problem = problem_of(error)

    assert expected == (problem.status, problem.type, problem.code)
    assert "secret" not in problem.message
    assert expected[0] == status_of(error)


def test_a_caller_who_left_is_logged_as_499() -> None:
    """Never sent, because nobody is there; but it tells such calls apart in the billing log."""
    assert (499, 499) == (status_of(ClientGone()), status_of(asyncio.CancelledError()))


@pytest.mark.parametrize(("seconds", "shown"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.001, "2"), (59.5, "60")])
def test_retry_after_is_a_whole_number_that_is_long_enough(seconds: float, shown: str) -> None:
    """Rounded up, at least one second."""
    response = error_response(Problem(429, "t", "c", "m", retry_after_seconds=seconds), None)

    assert shown == response.headers["Retry-After"]


def test_a_503_always_says_when_to_come_back() -> None:
    """Also where nothing better is known; other statuses only where there is something to wait for."""
    assert "5" == error_response(Problem(503, "t", "c", "m"), None).headers["Retry-After"]
    assert "Retry-After" not in error_response(Problem(500, "t", "c", "m"), None).headers


def test_half_characters_of_a_caller_do_not_break_the_answer() -> None:
    """A lone surrogate has no UTF-8; it is told as an escape."""
    response = error_response(Problem(400, "t", "c", "twice: \ud800", param="\ud800"), None)

    assert isinstance(response.body, bytes)
    assert b'"param": "\\ud800"' in response.body


def raising(error: BaseException) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A handler that fails."""

    async def handle(_request: web.Request) -> web.StreamResponse:
        raise error

    return handle


@asynccontextmanager
async def answered(application: web.Application) -> AsyncIterator[aiohttp.ClientResponse]:
    """An application's answer to GET /."""
    async with serving(application) as url, aiohttp.ClientSession() as session, session.get(url) as response:
        yield response


def application_of(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.Application:
    """The two outermost links of the chain around a handler."""
    application = web.Application(middlewares=[errors(), correlate()])
    application.router.add_get("/", handler)
    return application


async def test_a_mistake_of_ours_is_logged_and_told_without_detail(caplog: pytest.LogCaptureFixture) -> None:
    """The trace stays here, under the id that the caller is told."""
    async with answered(application_of(raising(LookupError("a secret of ours")))) as response:
        error = (await response.json())["error"]
        text = await response.text()

    assert (500, "server_error", None) == (response.status, error["code"], error["param"])
    assert "secret" not in text
    assert "Traceback" not in text
    [record] = [record for record in caplog.records if record.name == "find-token.errors"]
    assert error["request_id"] in record.getMessage()
    assert record.exc_info is not None


@pytest.mark.parametrize(
    "error", [Refusal("not_found", "no"), upstream.ProviderFailed("no"), web.HTTPNotFound(), StorageUnavailable("no")]
)
async def test_what_is_expected_is_not_logged_as_a_mistake(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Refusals are the callers' business, and anybody could fill the log with them."""
    caplog.set_level(logging.WARNING)
    async with answered(application_of(raising(error))) as response:
        assert "error" in await response.json()

    assert [] == caplog.records


async def test_a_started_stream_is_broken_and_never_answered_twice() -> None:
    """Its connection ends without a proper end, so that nobody can take it for complete."""

    async def begin_and_fail(request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse()
        request[CALL].stream = stream
        await stream.prepare(request)
        await stream.write(b"data: {}\n\n")
        raise upstream.StreamCut("gone")

    async with answered(application_of(begin_and_fail)) as response:
        assert 200 == response.status
        assert b"data: {}\n\n" == await response.content.readany()
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_every_path_and_method_answers_in_the_one_shape(gateway: Gateway) -> None:
    """Unknown paths and wrong methods, with and without a key: JSON with exactly the members of the contract."""
    replies = [
        await gateway.get("/nothing-here"),
        await gateway.get("/metrics"),
        await gateway.get("/v1/chat/completions"),
        await gateway.send(b"{}", path="/v1/models"),
        await gateway.send(b"{}", path="/v2/chat/completions"),
        await gateway.send(b"", method="DELETE"),
    ]

    expected = [(404, "not_found")] * 2 + [(405, "method_not_allowed")] * 2 + [(404, "not_found")]
    assert [*expected, (405, "method_not_allowed")] == [reply.code for reply in replies]
    for reply in replies:
        assert {"message", "type", "code", "param", "request_id"} == reply.error.keys()


async def test_no_error_shows_a_key_of_ours(gateway: Gateway, alpha: RawUpstream, beta: RawUpstream) -> None:
    """A provider that quotes the operator's key does not hand it to callers, whatever the key looks like."""
    quotes: list[Answer] = []
    for quoted in (ALPHA_KEY, ALPHA_KEY.replace("/", "\\/")):
        document = b'{"error": {"message": "no good: %s", "code": "invalid_request_error"}}' % quoted.encode()
        quotes += [[http(document, status=status)] for status in (400, 401, 403, 404, 422, 429, 500)]
        quotes.append([http(document)])
        quotes.append(streamed(b"data: " + document + b"\n\n"))
        quotes.append(streamed(said("Hello"), b"data: " + document + b"\n\n"))

    for number, quote in enumerate(quotes):
        alpha.next(quote)
        beta.next(failure(400, "beta refuses"))
        reply = await gateway.chat(stream=number % 10 >= 8)
        assert reply.status >= 400 or '"finish_reason":"error"' in reply.body.decode().replace(" ", "")
        assert b"canary" not in reply.body, (number, reply.body)
