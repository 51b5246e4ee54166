"""What an upstream can do to us, and what each allows next.

    UpstreamError
    ├── RequestRefused              the caller's request is at fault; asking again cannot help
    │   ├── ContextTooLong          … the prompt does not fit the model
    │   └── ContentFiltered         … the provider's moderation said no
    ├── StreamOptionsRefused        the provider knows no stream_options, by which we ask for usage
    ├── UpstreamModelMissing        our catalogue names a model the provider no longer has
    ├── ProviderKeyRefused          the provider does not accept the key
    ├── ProviderPermissionDenied    … the key may not do this
    ├── ProviderBalanceExhausted    … the key has no money left
    ├── ProviderBusy                asking again later can help
    │   ├── ProviderRateLimited     … too many requests or tokens per minute
    │   ├── ProviderQuotaExhausted  … a quota that comes back in hours, not seconds
    │   └── ProviderOverloaded      … the provider has no capacity left
    ├── ProviderFailed              an error of the provider's own (5xx)
    ├── UpstreamUnreachable         no connection; the request surely did not arrive
    ├── ConnectionLost              the connection ended before any answer: most often a kept one that had died
    ├── UpstreamTimedOut            no answer in time; the request may have arrived, and may be billed
    └── AnswerUnreadable            an answer that cannot be used: no JSON, cut, empty, redirected; may have been billed
        └── StreamCut               … after the first byte had reached the client

Every class says by its attributes what may follow; the routing middleware only reads them. Whoever raises one gives the
provider's own words in ``message``, never a secret.
"""

from __future__ import annotations

from typing import ClassVar


class UpstreamError(Exception):
    """The root of the tree. ``status`` and ``code`` are the provider's own, where it gave any."""

    retry: ClassVar[bool] = False
    """Waiting and asking the same upstream again may help."""
    failover: ClassVar[bool] = True
    """Another candidate may be able to serve the call."""
    unhealthy: ClassVar[bool] = True
    """Says something about the provider's health (and not about the caller's request)."""
    reached: ClassVar[bool] = True
    """The provider received the request."""
    retry_at_once: ClassVar[bool] = False
    """The same upstream may be asked again without waiting, once."""
    may_be_billed: ClassVar[bool] = False
    """The provider may charge us although we have no answer."""
    outcome: ClassVar[str] = "failed"
    """The word for it in attempt rows and metrics."""

    def __init__(
        self,
        message: str,
        *,
        provider: str = "",
        status: int | None = None,
        code: str = "",
        param: str = "",
        retry_after_seconds: float | None = None,
        heard_late: bool = False,
    ) -> None:
        """``param``: the field of the request that is wrong, where the provider names one.
        ``heard_late``: this process had no time to hear the provider, which is not to blame then."""
        super().__init__(message)
        self.message = message
        self.provider = provider
        self.status = status
        self.code = code
        self.param = param
        self.retry_after_seconds = retry_after_seconds
        self.heard_late = heard_late


class RequestRefused(UpstreamError):
    """The provider says the request is wrong."""

    failover = False
    unhealthy = False
    outcome = "request_refused"


class ContextTooLong(RequestRefused):
    """Prompt and answer do not fit the model's context; a larger model may still take it."""

    failover = True
    outcome = "context_too_long"


class ContentFiltered(RequestRefused):
    """The provider's moderation refused the prompt or the answer; deterministic."""

    outcome = "content_filtered"


class StreamOptionsRefused(UpstreamError):
    """The provider does not take the field by which we ask for usage: asked again without it, it may serve."""

    retry = True
    retry_at_once = True
    unhealthy = False
    outcome = "stream_options_refused"


class UpstreamModelMissing(UpstreamError):
    """The provider does not know the upstream model: the catalogue is out of date."""

    outcome = "model_missing"


class ProviderKeyRefused(UpstreamError):
    """Unknown, revoked or foreign provider key."""

    outcome = "key_refused"


class ProviderPermissionDenied(UpstreamError):
    """The provider key may not use this model or this service."""

    outcome = "permission_denied"


class ProviderBalanceExhausted(UpstreamError):
    """The account behind the provider key has no money left."""

    outcome = "balance_exhausted"


class ProviderBusy(UpstreamError):
    """The provider cannot take the request now."""

    retry = True
    outcome = "busy"


class ProviderRateLimited(ProviderBusy):
    """Too many requests or tokens per minute for this provider key. Says nothing about the provider's health."""

    unhealthy = False
    outcome = "rate_limited"


class ProviderQuotaExhausted(ProviderBusy):
    """A quota that is given back in hours or days."""

    retry = False
    unhealthy = False
    outcome = "quota_exhausted"


class ProviderOverloaded(ProviderBusy):
    """No capacity left on the provider's side."""

    outcome = "overloaded"


class ProviderFailed(UpstreamError):
    """The provider answered with an error of its own."""

    retry = True
    outcome = "provider_failed"


class UpstreamUnreachable(UpstreamError):
    """Refused connection, no name, no route: the request surely did not arrive."""

    retry = True
    retry_at_once = True
    reached = False
    outcome = "unreachable"


class ConnectionLost(UpstreamError):
    """The connection ended before a byte of the answer: a kept connection that had died, or a provider that hung up."""

    retry = True
    retry_at_once = True
    may_be_billed = True
    outcome = "connection_lost"


class UpstreamTimedOut(UpstreamError):
    """Nothing came in time."""

    retry = True
    may_be_billed = True
    outcome = "timed_out"


class AnswerUnreadable(UpstreamError):
    """An answer that is no answer; it may have been billed, so it is tried again at most once (routing counts)."""

    may_be_billed = True
    outcome = "unreadable"


class StreamCut(AnswerUnreadable):
    """The stream broke after the first byte had reached the client: nothing can be tried any more."""

    failover = False
    outcome = "stream_cut"
