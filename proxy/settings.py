"""Every setting of `find-token.toml`: its type, its default and one sentence about it, by table.

The documentation's table and the faults' sentences are made from these classes. Reading and checking the file is the work
of proxy/config.py.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

import pydantic
from pydantic import Field, SecretStr

from proxy.chain import MIDDLEWARES
from proxy.checks import (
    Chain,
    CollectorUrl,
    DatabaseUrl,
    Dollars,
    HeaderPrefix,
    KeyPrefix,
    Listen,
    MailAddress,
    Percent,
    RedisUrl,
    Seconds,
    SecretKey,
    Title,
    Url,
    Wait,
    Whole,
)


class Section(pydantic.BaseModel):
    """What all tables share: unknown names are errors, and nothing changes once it is read."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ServerSettings(Section):
    """Where the gateway listens, and how long it waits for callers."""

    listen: Listen = Field(
        default="127.0.0.1:8080", description="Host and port of the public API; port 0 lets the system choose."
    )
    admin_listen: Listen = Field(
        default="127.0.0.1:9090", description="Host and port of metrics and health; keep it away from the public."
    )
    public_url: Url = Field(
        default="http://127.0.0.1:8080",
        description="The address under which people reach the gateway: mailed links lead there, and sessions are its own.",
    )
    workers: Whole = Field(
        default=1,
        ge=1,
        le=64,
        description="How many processes serve on the one port; a supervisor watches over several.",
    )
    max_body_bytes: Whole = Field(
        default=33_554_432,
        ge=1_024,
        le=1_073_741_824,
        description="The largest request body that is read, after decompression.",
    )
    client_stall_seconds: Seconds = Field(
        default=60,
        description="A caller that stops reading its stream for this long is dropped, and pays as one that left.",
    )
    header_timeout_seconds: Seconds = Field(
        default=15,
        description="How long a caller may take to send the head of a request.",
    )
    body_timeout_seconds: Seconds = Field(
        default=30, description="How long a caller may take to send the body of a request."
    )
    keepalive_seconds: Seconds = Field(
        default=75, description="How long an idle connection is kept open for the next request."
    )
    max_connections: Whole = Field(
        default=10_000, ge=1, description="Connections that may be open at the same time; more are turned away."
    )
    max_calls: Whole = Field(
        default=2_000, ge=1, description="Calls that may be under way at the same time; more get 503 at once."
    )
    overload_lag_seconds: Seconds = Field(
        default=0.25, description="New calls get 503 while the process has been late by this much for a while."
    )
    shutdown_seconds: Seconds = Field(
        default=30, description="How long calls in flight may take to finish when the gateway stops."
    )


class StorageSettings(Section):
    """Where the books are kept."""

    database: DatabaseUrl = Field(
        default="sqlite:///find-token.db",
        repr=False,
        description="The book of record: a SQLite file, relative to this file, or a PostgreSQL address.",
    )
    redis: RedisUrl = Field(
        default="",
        repr=False,
        description="The address of a Redis, redis://host:6379/0, in which several processes share their limits.",
    )


class SecuritySettings(Section):
    """Secrets, and the names that appear on the outside."""

    secret_key: SecretKey = Field(
        default=SecretStr(""),
        description="32 bytes in base64 that seal provider keys and kept answers; without it neither can be stored.",
        json_schema_extra={
            "environment": "FIND_TOKEN_SECRET_KEY",
            "off": "callers' own provider keys, and answers to repeat, cannot be stored",
        },
    )
    key_prefix: KeyPrefix = Field(default="sk-ft_", description="What every key begins with.")
    header_prefix: HeaderPrefix = Field(
        default="X-FindToken-", description="What the names of the gateway's own response headers begin with."
    )


class BillingSettings(Section):
    """What callers pay on top of the providers' prices, and the rules of recharging."""

    fee_percent: Percent = Field(
        default=Decimal("5.5"), description="Added to the provider's price of every standard call."
    )
    fee_on: Literal["usage", "recharge"] = Field(
        default="usage",
        description='Where the fee is taken: "usage" adds it to every standard call, "recharge" leaves calls without.',
    )
    byok_fee_percent: Percent = Field(
        default=Decimal(5), description="Share of the list price taken for a call on the caller's own provider key."
    )
    byok_free_requests_per_month: Whole = Field(
        default=1_000_000,
        ge=0,
        description="Delivered calls on own provider keys that are free, per account and calendar month (UTC).",
    )
    minimum_recharge_usd: Dollars = Field(default=Decimal(10), description="The smallest recharge, in dollars.")
    maximum_recharge_usd: Dollars = Field(default=Decimal(10_000), description="The largest recharge, in dollars.")
    credit_expiry_days: Whole = Field(
        default=365, ge=1, le=36_500, description="Credits expire this many days after the account's last activity."
    )
    refund_window_days: Whole = Field(
        default=14, ge=0, le=36_500, description="For how many days the unspent part of a recharge can be given back."
    )

    @property
    def usage_fee_percent(self) -> Decimal:
        """What is added to the price of a standard call."""
        return self.fee_percent if self.fee_on == "usage" else Decimal(0)

    @pydantic.model_validator(mode="after")
    def _recharges_have_room(self) -> BillingSettings:
        if self.minimum_recharge_usd > self.maximum_recharge_usd:
            raise ValueError("expected minimum_recharge_usd to be at most maximum_recharge_usd")
        return self


class LimitsSettings(Section):
    """How much one account may ask; 0 is no limit."""

    requests_per_minute: Whole = Field(
        default=600, ge=0, description="Calls per minute and account, refilled continuously."
    )
    tokens_per_minute: Whole = Field(
        default=0, ge=0, description="Tokens per minute and account, of prompts and answers, refilled continuously."
    )
    concurrent_requests: Whole = Field(
        default=0, ge=0, description="Calls of one account that may run at the same time; 0 does not limit them."
    )


class RoutingSettings(Section):
    """How long the gateway tries, and how it moves on when a provider fails."""

    retries: Whole = Field(
        default=3, ge=0, le=10, description="How often one provider is asked again after the first try."
    )
    backoff_seconds: tuple[Wait, ...] = Field(
        default=(1, 2, 4),
        min_length=1,
        max_length=10,
        description="The waits before each retry; the last one is repeated.",
    )
    timeout_seconds: Seconds = Field(default=30, description="The whole time of a plain call, all attempts included.")
    first_content_timeout_seconds: Seconds = Field(
        default=120, description="How long a streamed call may take to its first content, all attempts included."
    )
    silence_timeout_seconds: Seconds = Field(
        default=120, description="The longest silence inside a stream before it is given up."
    )
    keep_alive_comment_seconds: Wait = Field(
        default=15,
        description="A stream whose provider is silent for this long before its first content gets a comment; 0 sends none.",
    )
    disconnect_drain_seconds: Wait = Field(
        default=30,
        description="How long a stream is read on for its usage after the caller left, where cancelling saves nothing.",
    )
    reconnect_seconds: Wait = Field(
        default=30,
        description="How long a resumable stream, or a call with an Idempotency-Key, goes on without its caller.",
    )
    candidate_first_content_seconds: Seconds = Field(
        default=30,
        description="A streamed candidate silent for this long is left for the next, where a healthy one stands by.",
    )
    candidate_plain_seconds: Seconds = Field(
        default=15,
        description="A plain candidate silent for this long is left for the next, where a healthy one stands by.",
    )
    probe_seconds: Wait = Field(
        default=60,
        description="A provider that no call has told of for so long is asked for its list of models, free; 0 asks nobody.",
    )
    probe_away_seconds: Seconds = Field(default=5, description="The same for a provider that is away.")
    probe_timeout_seconds: Seconds = Field(default=5, description="How long such a probe may take.")
    wallet_seconds: Wait = Field(
        default=300,
        description="How often a provider that tells it is asked what is left on your account there; 0 asks nobody.",
    )
    spare_below_hours: Wait = Field(
        default=1,
        description="A provider whose account lasts no longer is tried after all others; 0 spares nobody.",
    )
    failover: Literal["auto", "patient"] = Field(
        default="auto",
        description='"auto" moves on at once while a healthy candidate stands by; "patient" retries each first.',
    )


class LogSettings(Section):
    """What is written to standard error, as JSON lines."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least serious messages that are written."
    )
    calls: bool = Field(default=True, description="Whether each call has a line of its own.")


class TracingSettings(Section):
    """Traces of calls, for a collector that speaks OpenTelemetry's protocol; off without its address."""

    endpoint: CollectorUrl = Field(
        default="",
        repr=False,
        description="Where a collector takes OTLP over HTTP, such as http://127.0.0.1:4318; empty traces nothing.",
    )
    sample_percent: Percent = Field(
        default=Decimal(100), le=100, description="How many of a hundred calls are traced, drawn for each."
    )


class StripeSettings(Section):
    """Payments by Stripe; off without an API key."""

    api_key: SecretStr = Field(
        default=SecretStr(""),
        description="Stripe's secret API key; with a live one the webhook secret must be set, too.",
        json_schema_extra={"environment": "STRIPE_API_KEY", "off": "payments by Stripe are off"},
    )
    webhook_secret: SecretStr = Field(
        default=SecretStr(""),
        description="The secret with which Stripe signs its webhooks.",
        json_schema_extra={"environment": "STRIPE_WEBHOOK_SECRET", "off": "webhooks of Stripe are refused"},
    )
    api_base: Url = Field(default="https://api.stripe.com", description="Where Stripe's API is reached.")
    return_hosts: tuple[str, ...] = Field(
        default=(), description="Hosts to which a payment page may send the customer back."
    )

    @pydantic.model_validator(mode="after")
    def _live_payments_are_heard_of(self) -> StripeSettings:
        live = self.api_key.get_secret_value().startswith(("sk_live_", "rk_live_"))
        if live and not self.webhook_secret.get_secret_value().strip():
            raise ValueError("expected webhook_secret beside a live api_key: without it no payment would be believed")
        return self


class MailSettings(Section):
    """Mail by SMTP; off without a host (or, to try things out, a folder)."""

    host: str = Field(
        default="",
        description="The SMTP server that takes mails; empty sends none.",
        json_schema_extra={"environment": "SMTP_HOST", "off": "no mail is sent: sign-in by e-mail and notices are off"},
    )
    port: Whole = Field(default=587, ge=1, le=65_535, description="The port of the mail server.")
    security: Literal["starttls", "tls", "none"] = Field(
        default="starttls",
        description='"starttls" and "tls" (usually port 465) insist on encryption; "none" is for a server on this machine.',
    )
    username: str = Field(default="", description="The name to sign in to it with; empty does not sign in.")
    password: SecretStr = Field(default=SecretStr(""), description="The password that goes with it.")
    sender: MailAddress = Field(default="no-reply@localhost", description="The address that mails come from.")
    sender_name: Title = Field(default="find-token", description="What mails and sign-in pages call this service.")
    folder: str = Field(default="", description="Write mails into this folder instead of sending them.")
    low_balance_usd: Decimal = Field(
        default=Decimal(2),
        ge=0,
        le=1_000_000,
        decimal_places=2,
        description="Below this balance an account is told, once after each recharge; 0 tells nobody.",
    )


class SignInSettings(Section):
    """How people sign in by a link that is mailed, and for how long."""

    link_minutes: Whole = Field(default=30, ge=1, le=1_440, description="How long a mailed link works.")
    session_days: Whole = Field(default=30, ge=1, le=365, description="How long somebody stays signed in.")
    links_per_hour: Whole = Field(default=5, ge=1, le=1_000, description="Links mailed to one address in an hour.")
    requests_per_minute: Whole = Field(
        default=20, ge=1, le=100_000, description="Attempts to sign in, of any kind, from one network address."
    )
    trusted_proxies: Whole = Field(
        default=0,
        ge=0,
        le=10,
        description="How many reverse proxies stand before the gateway and append to X-Forwarded-For.",
    )
    operators: tuple[MailAddress, ...] = Field(
        default=(), description="Addresses of accounts that see the operator's pages; without one there are none."
    )


class GoogleSettings(Section):
    """Signing in with Google (OpenID Connect); off without a client id."""

    client_id: str = Field(
        default="",
        description="The OAuth client id that Google gave.",
        json_schema_extra={"environment": "GOOGLE_CLIENT_ID", "off": "signing in with Google is off"},
    )
    client_secret: SecretStr = Field(
        default=SecretStr(""),
        description="The secret that goes with it.",
        json_schema_extra={"environment": "GOOGLE_CLIENT_SECRET", "off": "signing in with Google is off"},
    )
    issuer: Url = Field(default="https://accounts.google.com", description="Who vouches for people.")

    @pydantic.model_validator(mode="after")
    def _has_its_secret(self) -> GoogleSettings:
        if self.client_id and not self.client_secret.get_secret_value():
            raise ValueError("expected client_secret beside client_id")
        return self


class Settings(Section):
    """Everything an operator can set, at its default where nothing is said."""

    catalogue: str = Field(
        default="", description="The price book, relative to this file; empty is the one that is shipped."
    )
    middlewares: Chain = Field(
        default=MIDDLEWARES, description="What happens to a call, in order; the order is checked."
    )
    extensions: dict[str, dict[str, Any]] = Field(
        default={},
        description="What middlewares that installed packages add are set to: a table for each, by its name.",
    )
    server: ServerSettings = ServerSettings()
    storage: StorageSettings = StorageSettings()
    security: SecuritySettings = SecuritySettings()
    billing: BillingSettings = BillingSettings()
    limits: LimitsSettings = LimitsSettings()
    routing: RoutingSettings = RoutingSettings()
    logs: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()
    stripe: StripeSettings = StripeSettings()
    mail: MailSettings = MailSettings()
    sign_in: SignInSettings = SignInSettings()
    google: GoogleSettings = GoogleSettings()
