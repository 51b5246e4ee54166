"""The operator's settings as the parts of the chain take them: each part knows only what it needs."""

from __future__ import annotations

from prometheus_client import Gauge

from billing.pricing import Fee
from middlewares.budget import BudgetSettings
from middlewares.headers import HeadersOf
from middlewares.routing import RoutingSettings
from proxy.relay import RelaySettings
from proxy.settings import Settings
from proxy.stopping import OpenStreams


def fees_of(settings: Settings) -> tuple[Fee, Fee]:
    """The fee of a standard call, and of one on the caller's own provider key."""
    billing = settings.billing
    return Fee.percent(billing.usage_fee_percent), Fee.percent(billing.byok_fee_percent)


def budget_settings_of(settings: Settings) -> BudgetSettings:
    """Fees, free calls, and the header by which a caller asks why."""
    fee, byok_fee = fees_of(settings)
    free_requests = settings.billing.byok_free_requests_per_month
    return BudgetSettings(fee, byok_fee, free_requests, f"{settings.security.header_prefix}Explain")


def routing_settings_of(settings: Settings) -> RoutingSettings:
    """The times of decision D5: as many waits as there are retries, the last one repeated."""
    routing = settings.routing
    waits = routing.backoff_seconds
    return RoutingSettings(
        backoff_seconds=tuple(waits[min(number, len(waits) - 1)] for number in range(routing.retries)),
        timeout_seconds=routing.timeout_seconds,
        first_content_timeout_seconds=routing.first_content_timeout_seconds,
        candidate_first_content_seconds=routing.candidate_first_content_seconds,
        candidate_plain_seconds=routing.candidate_plain_seconds,
        patient=routing.failover == "patient",
    )


def relay_settings_of(
    settings: Settings, streams_open: Gauge, headers_of: HeadersOf, open_streams: OpenStreams
) -> RelaySettings:
    """How long a stream may be silent, its reader slow, and its upstream be read on."""
    return RelaySettings(
        silence_timeout_seconds=settings.routing.silence_timeout_seconds,
        client_stall_seconds=settings.server.client_stall_seconds,
        disconnect_drain_seconds=settings.routing.disconnect_drain_seconds,
        keep_alive_seconds=settings.routing.keep_alive_comment_seconds,
        streams_open=streams_open,
        headers_of=headers_of,
        open_streams=open_streams,
    )
