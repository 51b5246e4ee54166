"""Every exception becomes one error object: the only place that knows status codes.

Rules: the answer is always JSON of the one shape, always with the request id, never with a secret, a stack trace or an
upstream's raw page. What is not known here is ours: 500, logged with its trace, told without detail. Once a stream's
headers have left nobody else may answer: without content yet it tells the error itself, with content its connection is ended.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from middlewares.call import CALL, Call
from middlewares.explaining import explanation
from providers import errors as upstream
from storage.connection import StorageUnavailable

logger = logging.getLogger("find-token.errors")

RETRY_SECONDS: Final = 5
"""What a 503 of ours asks the caller to wait where nothing better is known."""


CLIENT_LEFT: Final = 499
"""The status of a call whose caller left: never sent, but logged."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One error as a caller sees it."""

    status: int
    type: str
    code: str | None
    message: str
    param: str | None = None
    retry_after_seconds: float | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Further machine-readable members of the error object."""


# Every code an answer of ours can carry, with its status and type; docs/errors.md lists them and a test holds it to that.
CODES: Final[dict[str, tuple[int, str]]] = {
    "invalid_json": (400, "invalid_request_error"),
    "invalid_value": (400, "invalid_request_error"),
    "context_length_exceeded": (400, "invalid_request_error"),
    "content_filter": (400, "invalid_request_error"),
    "invalid_api_key": (401, "authentication_error"),
    "key_revoked": (401, "authentication_error"),
    "key_expired": (401, "authentication_error"),
    "not_signed_in": (401, "authentication_error"),
    "invalid_provider_key": (401, "authentication_error"),
    "insufficient_credits": (402, "insufficient_credits"),
    "key_limit_reached": (402, "insufficient_credits"),
    "insufficient_provider_balance": (402, "insufficient_credits"),
    "link_invalid": (400, "invalid_request_error"),
    "invalid_signature": (400, "invalid_request_error"),
    "account_deactivated": (403, "permission_error"),
    "provider_permission_denied": (403, "permission_error"),
    "model_not_allowed": (403, "permission_error"),
    "key_restricted": (403, "permission_error"),
    "sign_in_refused": (403, "permission_error"),
    "cross_site_request": (403, "permission_error"),
    "model_not_found": (404, "not_found_error"),
    "not_found": (404, "not_found_error"),
    "method_not_allowed": (405, "invalid_request_error"),
    "request_timeout": (408, "timeout_error"),
    "idempotency_conflict": (409, "idempotency_error"),
    "idempotency_in_progress": (409, "idempotency_error"),
    "idempotency_answer_lost": (409, "idempotency_error"),
    "stream_no_longer_available": (410, "not_found_error"),
    "not_refundable": (409, "invalid_request_error"),
    "request_too_large": (413, "invalid_request_error"),
    "head_too_large": (431, "invalid_request_error"),
    "unsupported_encoding": (415, "invalid_request_error"),
    "unsupported_media_type": (415, "invalid_request_error"),
    "refused_value": (422, "invalid_request_error"),
    "rate_limit_exceeded": (429, "rate_limit_error"),
    "concurrency_limit_exceeded": (429, "rate_limit_error"),
    "provider_rate_limited": (429, "rate_limit_error"),
    "server_error": (500, "server_error"),
    "bad_upstream_response": (502, "upstream_error"),
    "all_providers_unavailable": (503, "service_unavailable"),
    "overloaded": (503, "service_unavailable"),
    "storage_unavailable": (503, "service_unavailable"),
    "sealing_unavailable": (503, "service_unavailable"),
    "sign_in_unavailable": (503, "service_unavailable"),
    "sign_in_off": (503, "service_unavailable"),
    "payments_off": (503, "service_unavailable"),
    "payments_unavailable": (503, "service_unavailable"),
    "deadline_exceeded": (504, "timeout_error"),
}


class Refusal(Exception):
    """A call that we refuse, in the words of the contract. ``code`` is one of CODES."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_seconds: float | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(message)
        status, kind = CODES[code]
        self.problem = Problem(status, kind, code, message, param, retry_after_seconds, fields)


class ClientGone(Exception):
    """The caller hung up, or stopped reading, while a stream was on its way: nobody is left to answer."""


def invalid(param: str | None, message: str) -> Refusal:
    """A 400 that names the field."""
    return Refusal("invalid_value", message, param=param)


def problem_of(error: BaseException) -> Problem:
    """What ``error`` tells the caller. Total: whatever is not known is a 500 without detail."""
    if isinstance(error, Refusal):
        return error.problem
    if isinstance(error, upstream.UpstreamError):
        return _upstream_problem(error)
    if isinstance(error, StorageUnavailable):
        return _problem(
            "storage_unavailable", "the books cannot be reached, so nothing was called or charged; try again"
        )
    if isinstance(error, web.HTTPException):
        return _http_problem(error)
    return _problem("server_error", "something went wrong on our side; it was logged under this request id")


def status_of(error: BaseException) -> int:
    """The HTTP status that ``error`` becomes; 499 for a caller who left (never sent, but logged)."""
    if isinstance(error, (asyncio.CancelledError, ClientGone)):
        return CLIENT_LEFT
    return problem_of(error).status


def code_of(error: BaseException) -> str | None:
    """The code that ``error`` becomes; None for a caller who left."""
    return None if isinstance(error, (asyncio.CancelledError, ClientGone)) else problem_of(error).code


def errors() -> Middleware:
    """The outermost middleware: whatever comes back up becomes an answer."""

    @web.middleware
    async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            call = request.get(CALL)
            if not isinstance(
                error, (Refusal, upstream.UpstreamError, web.HTTPException, ClientGone, StorageUnavailable)
            ):
                logger.exception("request %s failed", call.request_id if call is not None else "?", exc_info=error)
            if call is not None and call.stream is not None:
                return _end(request, call.stream, call.end_stream, error)
            response = error_response(problem_of(error), call)
            if request.content.exception() is not None:
                # Its body broke, so nobody can say where another request would begin.
                response.force_close()
            if isinstance(error, web.HTTPMethodNotAllowed):
                response.headers["Allow"] = error.headers["Allow"]
            return response

    return answer_errors


def error_response(problem: Problem, call: Call | None) -> web.Response:
    """The one error shape as a response; in other words where the caller's route has its own."""
    body = error_body(problem, call)
    if call is not None and call.caller_dialect is not None:
        body = call.caller_dialect.tell_error(problem.status, body)
    response = web.Response(status=problem.status, body=_encode(body), content_type="application/json")
    if problem.retry_after_seconds is not None or problem.status == 503:
        seconds = RETRY_SECONDS if problem.retry_after_seconds is None else problem.retry_after_seconds
        response.headers["Retry-After"] = str(max(1, -int(-seconds // 1)))
    if problem.status in (408, 413, 415):
        # The rest of the body was not read, so the connection cannot be used again.
        response.force_close()
    return response


def error_body(problem: Problem, call: Call | None) -> dict[str, Any]:
    """The one error shape."""
    body: dict[str, Any] = {
        "error": {
            "message": problem.message,
            "type": problem.type,
            "code": problem.code,
            "param": problem.param,
            "request_id": call.told_id if call is not None else None,
            **problem.fields,
        }
    }
    if call is not None and call.explained and call.selection is not None:
        body["findtoken"] = explanation(call)
    return body


def _encode(body: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        # A caller's field name may be half a surrogate pair, which has no UTF-8: as an escape it can be told.
        return json.dumps(body).encode()


def _end(
    request: web.Request, stream: web.StreamResponse, tell: Callable[[Exception], None] | None, error: Exception
) -> web.StreamResponse:
    """The end of a stream whose headers have left: it tells the error, or its connection ends without a proper end, so that
    it cannot be taken for complete."""
    if tell is not None and not isinstance(error, ClientGone):
        tell(error)
    elif request.transport is not None:
        request.transport.abort()
    return stream


def _problem(code: str, message: str, *, retry_after_seconds: float | None = None) -> Problem:
    status, kind = CODES[code]
    return Problem(status, kind, code, message, retry_after_seconds=retry_after_seconds)


_UPSTREAM_CODES: Final[tuple[tuple[type[upstream.UpstreamError], str], ...]] = (
    # The first class that fits; every class of providers/errors.py has a row or a parent with one (a test says so).
    (upstream.ContextTooLong, "context_length_exceeded"),
    (upstream.ContentFiltered, "content_filter"),
    (upstream.RequestRefused, "invalid_value"),
    (upstream.ProviderRateLimited, "provider_rate_limited"),
    (upstream.ProviderQuotaExhausted, "provider_rate_limited"),
    (upstream.UpstreamTimedOut, "deadline_exceeded"),
    (upstream.AnswerUnreadable, "bad_upstream_response"),
    (upstream.UpstreamError, "all_providers_unavailable"),
)

_SENTENCES: Final[dict[str, str]] = {
    "provider_rate_limited": "the provider limits requests at the moment; try again later",
    "deadline_exceeded": "no provider answered in time",
    "bad_upstream_response": "the provider's answer could not be read",
    "all_providers_unavailable": "no provider could serve this model at the moment; try again later or use another model",
}


def _upstream_problem(error: upstream.UpstreamError) -> Problem:
    """An upstream's error in our words; its own words only where the caller's request is at fault."""
    code = next(code for kind, code in _UPSTREAM_CODES if isinstance(error, kind))
    status, kind_name = CODES[code]
    if isinstance(error, upstream.RequestRefused):
        if code == "invalid_value" and error.status in (413, 422):
            status = error.status
            code = "request_too_large" if status == 413 else "refused_value"
        return Problem(
            status, kind_name, code, error.message or "the provider refused the request", error.param or None
        )
    return Problem(status, kind_name, code, _SENTENCES[code], retry_after_seconds=error.retry_after_seconds)


_HTTP_CODES: Final[dict[int, str]] = {
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "request_too_large",
    415: "unsupported_media_type",
}


def _http_problem(error: web.HTTPException) -> Problem:
    """aiohttp's own errors: unknown paths, wrong methods, bodies that are too large."""
    code = _HTTP_CODES.get(error.status)
    if code is None:
        code = "invalid_value" if 400 <= error.status < 500 else "server_error"
    messages = {
        "not_found": "there is nothing at this address",
        "method_not_allowed": "this address does not take this method",
        "request_too_large": "the request body is larger than this server accepts",
    }
    return _problem(code, messages.get(code, error.reason or "the request cannot be read"))
