"""The OpenAI wire as most providers speak it: how a request is shaped, and what their errors mean.

``OpenAIDialect`` passes every field through and touches only what it names. A vendor's file subclasses it and says what
differs: tables of names for what is dropped, renamed or understood, and ``adapt`` for the rest. Nothing that belongs to the
caller is changed in place; what must change is copied first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, ClassVar, Final

from providers.error_bodies import Complaint, complaint_in, read_complaint, retry_after_seconds
from providers.errors import (
    AnswerUnreadable,
    ContentFiltered,
    ContextTooLong,
    ProviderBalanceExhausted,
    ProviderFailed,
    ProviderKeyRefused,
    ProviderOverloaded,
    ProviderPermissionDenied,
    ProviderRateLimited,
    RequestRefused,
    UpstreamError,
    UpstreamModelMissing,
    UpstreamTimedOut,
)
from providers.provider import Ask, EmbeddingTerms
from providers.rewriting import merged, pseudonym, with_system_role_only

ErrorClass = type[UpstreamError]

_LIMIT_FIELDS: Final = ("max_tokens", "max_completion_tokens")

# What a status means where the body says nothing better.
_STATUS_CLASSES: Final[Mapping[int, ErrorClass]] = {
    401: ProviderKeyRefused,
    402: ProviderBalanceExhausted,
    403: ProviderPermissionDenied,
    408: UpstreamTimedOut,
    429: ProviderRateLimited,
    451: ContentFiltered,
    503: ProviderOverloaded,
    504: UpstreamTimedOut,
    524: UpstreamTimedOut,
    529: ProviderOverloaded,
}

# Finish reasons by which a provider says that it gave up: DeepSeek's, Zhipu's, and the one gateways like this one send.
_GAVE_UP: Final[Mapping[str, ErrorClass]] = {
    "insufficient_system_resource": ProviderOverloaded,
    "network_error": ProviderFailed,
    "error": ProviderFailed,
}


_BLAMES_THE_KEY: Final = (ProviderKeyRefused, ProviderBalanceExhausted)
_REFUSALS: Final = (400, 404, 413, 422)


class OpenAIDialect:
    """Any provider that speaks OpenAI's chat completions as OpenAI does, and the base of the six that nearly do."""

    dialect: str = "openai"

    limit_field: ClassVar[str] = ""
    """The only name under which the vendor knows the limit of the answer; empty: the caller's name, or ``max_tokens``."""
    dropped: ClassVar[frozenset[str]] = frozenset()
    """Fields the vendor refuses, or ignores; they are not sent."""
    pseudonym_field: ClassVar[str] = ""
    """Where the vendor wants to know the end user; ``user`` goes there as a hash, so that no personal id leaves."""
    developer_role: ClassVar[bool] = True
    """Whether the vendor knows the role ``developer``; otherwise it becomes ``system``."""
    wallet_path: ClassVar[str] = ""
    """Where the vendor tells what is left on the account, behind the base URL; empty where it does not."""
    largest_n: ClassVar[int | None] = None
    """The most answers to one request; None: no limit known."""

    function_tools_only: ClassVar[bool] = False
    """Whether tools other than functions are refused: the vendors' own (searches and the like) are billed apart from tokens."""
    embeddings: ClassVar[EmbeddingTerms | None] = EmbeddingTerms(2_048, takes_tokens=True, knows_formats=True)
    """What the vendor's embeddings take; None where it has none in OpenAI's shape."""

    codes: ClassVar[Mapping[str, ErrorClass]] = {
        "context_length_exceeded": ContextTooLong,
        "content_filter": ContentFiltered,
        "content_policy_violation": ContentFiltered,
        "model_not_found": UpstreamModelMissing,
        "invalid_api_key": ProviderKeyRefused,
        "insufficient_quota": ProviderBalanceExhausted,
        "rate_limit_exceeded": ProviderRateLimited,
        "overloaded_error": ProviderOverloaded,
    }
    """The vendor's codes and types that leave no doubt, in lower case."""
    sentences: ClassVar[tuple[tuple[str, ErrorClass], ...]] = (
        ("maximum context length", ContextTooLong),
        ("^insufficient balance", ProviderBalanceExhausted),
    )
    """Patterns of the vendor's messages, in lower case, that tell what a vague code or status hides; the first that fits.

    Those that say something about a model or a key are anchored at the start, because a message may quote the caller."""
    vague_codes: ClassVar[Mapping[str, ErrorClass]] = {
        "authentication_error": ProviderKeyRefused,
        "permission_error": ProviderPermissionDenied,
        "rate_limit_error": ProviderRateLimited,
        "insufficient_balance_error": ProviderBalanceExhausted,
        "server_error": ProviderFailed,
        "api_error": ProviderFailed,
        "timeout_error": UpstreamTimedOut,
        "invalid_request_error": RequestRefused,
    }
    """Codes that only count where no status tells more: in an answer under HTTP 200."""

    def shape(self, ask: Ask) -> dict[str, Any]:
        """The body to send for ``ask``. Raises RequestRefused for more answers per request than the vendor gives, and for
        tools it does not have."""
        request = ask.request
        self._refuse_unservable(request)
        body = {name: value for name, value in request.items() if name not in self.dropped}
        body["model"] = ask.upstream_model
        self._set_stream(body, ask)
        self._set_limit(body, ask)
        if self.pseudonym_field:
            user = body.pop("user", None)
            if isinstance(user, str) and user:
                body[self.pseudonym_field] = pseudonym(user)
        if not self.developer_role:
            with_system_role_only(body)
        self.adapt(body, ask)
        return merged(body, ask.force) if ask.force else body

    def adapt(self, body: dict[str, Any], ask: Ask) -> None:
        """What else the vendor wants different, done to ``body``, whose top level is ours and whose inside is the caller's.

        Forced fields are laid over it afterwards.
        """

    def read_wallet(self, answer: Mapping[str, Any], base_url: str) -> Mapping[str, Decimal]:  # noqa: ARG002
        """What is left on the account, by currency; whoever has a ``wallet_path`` reads it."""
        return {}

    def headers(self, key: str) -> dict[str, str]:
        """Content type, and the authorization where there is a key."""
        headers = {"Content-Type": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        return headers

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """The error in an answer that is no success. ``provider`` is left for the caller to fill in."""
        complaint = read_complaint(body)
        error_class = self._told_class(complaint, status)
        if error_class is None and status < 400:
            error_class = self._vague_class(complaint)
        if error_class is None:
            error_class = _class_of_status(status, complaint.message)
        fallback = f"The provider answered with status {status} and no readable message."
        return self._error(error_class, complaint, fallback, status, headers)

    def read_hidden_error(self, answer: Mapping[str, Any]) -> UpstreamError | None:
        """The error in a JSON answer or chunk under HTTP 200; None for a proper one (``error: null`` included)."""
        choices = answer.get("choices")
        if _complains(answer, choices):
            complaint = complaint_in(answer)
            status = next((int(code) for code in complaint.codes if _is_error_status(code)), None)
            error_class = self._told_class(complaint, status)
            if error_class is None and status is not None:
                error_class = _class_of_status(status, complaint.message)
            if error_class is None:
                error_class = self._vague_class(complaint) or ProviderFailed
            return self._error(error_class, complaint, "The provider reported an error without a message.", status, {})
        if isinstance(choices, list):
            for choice in choices:
                reason = choice.get("finish_reason") if isinstance(choice, dict) else None
                if isinstance(reason, str) and reason in _GAVE_UP:
                    return _GAVE_UP[reason](f"The provider gave up: {reason}.", code=reason)
        return None

    def codes_in(self, complaint: Complaint) -> tuple[str, ...]:
        """Every code of ``complaint``; for vendors that hide one in the text."""
        return complaint.codes

    def _error(
        self,
        error_class: ErrorClass,
        complaint: Complaint,
        fallback: str,
        status: int | None,
        headers: Mapping[str, str],
    ) -> UpstreamError:
        return error_class(
            complaint.message or fallback,
            status=status,
            code=next(iter(self.codes_in(complaint)), ""),
            param=complaint.param,
            retry_after_seconds=retry_after_seconds(headers, complaint.message),
        )

    def _told_class(self, complaint: Complaint, status: int | None) -> ErrorClass | None:
        """The class that the vendor's own codes, then its known sentences, leave no doubt about."""
        for code in self.codes_in(complaint):
            if code in self.codes:
                return self.codes[code]
        message = complaint.message.lower()
        for pattern, error_class in self.sentences:
            # A refusal may quote the request, and nobody may put the operator's key out of use by a quotation.
            if re.search(pattern, message) and not (error_class in _BLAMES_THE_KEY and status in _REFUSALS):
                return error_class
        return None

    def _vague_class(self, complaint: Complaint) -> ErrorClass | None:
        # The type says more than the code here: DeepSeek writes code "invalid_request_error" beside every type.
        for code in reversed(self.codes_in(complaint)):
            if code in self.vague_codes:
                return self.vague_codes[code]
        return None

    def _refuse_unservable(self, request: Mapping[str, Any]) -> None:
        n = request.get("n")
        if self.largest_n is not None and isinstance(n, int) and n > self.largest_n:
            raise RequestRefused(
                f"n: this provider gives at most {self.largest_n} answer(s) to a request, not {n}.",
                code="unsupported_parameter",
                param="n",
            )
        tools = request.get("tools")
        if self.function_tools_only and isinstance(tools, list):
            for tool in tools:
                if isinstance(tool, dict) and tool.get("type", "function") != "function":
                    raise RequestRefused(
                        "tools: only tools of type function are offered with this provider.",
                        code="unsupported_parameter",
                        param="tools",
                    )

    def _set_stream(self, body: dict[str, Any], ask: Ask) -> None:
        body["stream"] = ask.streamed
        if not (ask.streamed and ask.ask_for_usage):
            # OpenAI refuses stream options where nothing is streamed, and others refuse them everywhere.
            body.pop("stream_options", None)
            return
        options = body.get("stream_options")
        # Usage is what we bill by, so it is asked for whether the caller wants to see it or not.
        body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}

    def _set_limit(self, body: dict[str, Any], ask: Ask) -> None:
        name = self.limit_field
        if not name:
            name = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
        for field in _LIMIT_FIELDS:
            body.pop(field, None)
        body[name] = ask.max_tokens


def _complains(answer: Mapping[str, Any], choices: object) -> bool:
    """Whether ``answer`` carries an error in one of the known envelopes."""
    if answer.get("error"):
        return True
    base_resp = answer.get("base_resp")
    if isinstance(base_resp, dict) and base_resp.get("status_code") not in (None, 0, "0", ""):
        return True
    # Flat: DashScope's native {"code", "message"}, Zhipu's {"code": 401, "msg", "success": false}. No chunk has these.
    return not choices and bool(answer.get("code")) and (isinstance(answer.get("message", answer.get("msg")), str))


def _is_error_status(code: str) -> bool:
    return len(code) == 3 and code.isascii() and code.isdigit() and code[0] in "45"


def _class_of_status(status: int, message: str) -> ErrorClass:
    """What an HTTP status means where the vendor's codes and sentences did not tell."""
    if status in _STATUS_CLASSES:
        return _STATUS_CLASSES[status]
    if status == 404 and ("model" in message.lower() or "模型" in message):
        return UpstreamModelMissing
    if 400 <= status < 500:
        return RequestRefused
    if 500 <= status < 600:
        return ProviderFailed
    # A redirect, or a success with nothing usable in it.
    return AnswerUnreadable
