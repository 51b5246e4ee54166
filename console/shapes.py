"""What the account plane answers, as models: the API's description is made from them, and tests hold every answer to them."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Item = TypeVar("Item")
Usd = Annotated[str, Field(pattern=r"^-?\d+(\.\d{1,8})?$", description="Dollars.")]
When = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class Shape(BaseModel):
    """An answer has exactly these members."""

    model_config = ConfigDict(extra="forbid")


class Listed(Shape, Generic[Item]):
    """A page of a list."""

    data: list[Item]
    next_cursor: str | None


class Data(Shape, Generic[Item]):
    """One thing, as OpenRouter wraps it."""

    data: Item


class LotShape(Shape):
    """What is left of a recharge or a promotion."""

    id: str
    kind: Literal["promotion", "recharge"]
    amount: Usd
    left: Usd
    created: When
    lapses_at: When | None
    refundable_until: When | None
    refundable: Usd


class BalanceShape(Shape):
    """What an account has; `balance` includes `held`."""

    balance: Usd
    held: Usd
    available: Usd
    currency: Literal["USD"]
    expires_at: When | None
    debt: Usd = Field(default="0", description="Only where the balance is negative.")
    lots: list[LotShape]


class AttemptShape(Shape):
    """One try at one provider."""

    number: int
    provider: str
    model: str
    upstream_model: str
    outcome: str
    status: int | None
    code: str | None
    latency_ms: int
    prompt_tokens: int
    completion_tokens: int
    upstream_cost: Usd
    borne_by: Literal["account", "operator", "nobody"]


class LineShape(Shape):
    """One call that reached a provider."""

    request_id: str
    created: When
    account_id: str
    key_id: str
    path: str
    requested_model: str
    model: str | None
    provider: str | None
    mode: Literal["standard", "byok"]
    payer: str
    streamed: bool
    status: int
    billing_outcome: str
    usage_source: str | None
    estimated: bool
    anomalous: bool
    prompt_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    held: Usd
    provider_cost: Usd
    fee: Usd
    cost: Usd
    absorbed: Usd
    price_version: str | None
    price_rule: str | None
    fee_percent: str | None
    latency_ms: int
    first_content_ms: int | None
    attempts: list[AttemptShape]


class CallShape(LineShape):
    """The same, with the balance after it."""

    balance_after: Usd


class EntryShape(Shape):
    """One line of the ledger."""

    id: str
    debit: str
    credit: str
    amount: Usd
    kind: str
    reference: str
    reason: str
    created: When


class ReceiptShape(Shape):
    """One call's receipt."""

    receipt: int
    call: LineShape
    entries: list[EntryShape]
    rates: dict[str, str] | None
    paid: Usd
    digest: str


class SumShape(Shape):
    """Calls together."""

    calls: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    provider_cost: Usd
    fee: Usd
    cost: Usd


class DaySum(SumShape):
    """Calls of one UTC day."""

    day: Annotated[str, Field(json_schema_extra={"format": "date"})]


class ModelSum(SumShape):
    """Calls that one model served; null where none did."""

    model: str | None


class KeySum(SumShape):
    """Calls of one key."""

    key_id: str


class UsageShape(Shape):
    """A range of days, summed."""

    from_: Annotated[str, Field(json_schema_extra={"format": "date"})] = Field(alias="from")
    to: Annotated[str, Field(json_schema_extra={"format": "date"})]
    totals: SumShape
    by_day: list[DaySum]
    by_model: list[ModelSum]
    by_key: list[KeySum]


class KeyShape(Shape):
    """A key as it may be shown again."""

    id: str
    name: str
    label: str
    last_four: str
    status: Literal["active", "expired", "revoked"]
    created: When
    expires_at: When | None
    revoked: When | None
    last_used: When | None
    spend_limit: Usd | None
    spend_limit_reset: Literal["daily", "weekly", "monthly", "none"] | None
    spend_limit_resets_at: When | None
    spend_limit_remaining: Usd | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrent_requests: int | None
    allowed_models: list[str] | None


class NewKeyShape(KeyShape):
    """A key the moment it is made: the only time that it is shown whole."""

    key: str


class ProviderKeyShape(Shape):
    """A provider key as it may be shown again."""

    id: str
    provider: str
    name: str
    last_four: str
    created: When


class RemovedShape(Shape):
    """A provider key that is gone."""

    id: str
    removed: Literal[True]


class RateLimitShape(Shape):
    """Of a key, in OpenRouter's shape."""

    requests: int
    interval: str
    note: str


class OpenRouterKeyShape(Shape):
    """GET /v1/key."""

    label: str
    name: str
    creator_user_id: str
    limit: float | None
    limit_remaining: float | None
    limit_reset: Literal["daily", "weekly", "monthly"] | None
    include_byok_in_limit: bool
    usage: float
    usage_daily: float
    usage_weekly: float
    usage_monthly: float
    byok_usage: float
    byok_usage_daily: float
    byok_usage_weekly: float
    byok_usage_monthly: float
    is_free_tier: bool
    is_management_key: bool
    is_provisioning_key: bool
    expires_at: When | None
    rate_limit: RateLimitShape


class CreditsShape(Shape):
    """GET /v1/credits."""

    total_credits: float
    total_usage: float


class ProviderResponseShape(Shape):
    """One attempt behind a generation."""

    provider_name: str
    status: int | None
    latency: int


class GenerationShape(Shape):
    """GET /v1/generation; what is not kept is null."""

    id: str
    upstream_id: None
    created_at: When
    model: str
    provider_name: str | None
    api_type: Literal["completions", "embeddings"]
    streamed: bool
    cancelled: bool
    total_cost: float
    usage: float
    cache_discount: None
    upstream_inference_cost: None
    is_byok: bool
    latency: int
    generation_time: int | None
    moderation_latency: None
    finish_reason: None
    native_finish_reason: None
    tokens_prompt: int
    tokens_completion: int
    native_tokens_prompt: int
    native_tokens_completion: int
    native_tokens_reasoning: int
    native_tokens_cached: int
    native_tokens_completion_images: None
    num_media_prompt: None
    num_media_completion: None
    num_input_audio_prompt: None
    num_search_results: None
    app_id: None
    external_user: None
    http_referer: None
    origin: str
    router: None
    provider_responses: list[ProviderResponseShape]


class CheckoutShape(Shape):
    """A recharge that was opened, and the page to pay it on."""

    recharge_id: str
    checkout_url: str


class RefundShape(Shape):
    """A refund of a recharge."""

    refund_id: str
    amount: Usd
    status: Literal["pending", "succeeded", "failed"]
    created: When


class RefundedShape(RefundShape):
    """The same, with the recharge it is of."""

    recharge_id: str


class RechargeShape(Shape):
    """A recharge, and what may be refunded of it until when."""

    recharge_id: str
    status: str
    amount: Usd
    charged: Usd
    credited: Usd
    refunded: Usd
    currency: Literal["USD"]
    created: When
    paid: When | None
    refundable: Usd
    refundable_until: When | None
    refunds: list[RefundShape]


class ErrorFacts(BaseModel):
    """What went wrong; some codes have further members."""

    message: str
    type: str
    code: str | None
    param: str | None
    request_id: str | None


class ErrorShape(Shape):
    """Every error, on every path."""

    error: ErrorFacts


Anything = dict[str, Any]
"""An answer that is OpenAI's, or a provider's."""
