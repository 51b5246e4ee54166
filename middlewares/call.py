"""The facts about one call, and who decides each.

A `Call` is one client request on its way through. Each fact has one writer (`WRITERS`; a test walks the source and checks
it), and a fact that is read before its writer has run raises AttributeError, because its slot is empty: a middleware in
the wrong place fails loudly in the first test and not with a default in production.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from billing.matrix import Bill, Ending
from billing.money import Money
from billing.pricing import NOTHING, Charge, Fee, Price, cap, charge, charge_fee_only
from billing.usage import Usage, UsageTally
from billing.values import value
from middlewares.caller_dialect import CallerDialect
from providers.catalogue import Model
from providers.selection import Offer, Selection, Wish
from storage.calls import AttemptRow
from storage.keys import KeyHolder
from storage.limits import Scope

if TYPE_CHECKING:
    from providers.errors import UpstreamError


@dataclass(frozen=True, slots=True)
class ProviderKey:
    """A caller's own key at a provider; `shown` is all that may ever be logged of it."""

    provider: str
    """Its name; OF_THE_MODEL until the model is known."""
    key: str = field(repr=False)


OF_THE_MODEL: Final = ""
"""The provider of a key that came alone: the first that serves the model."""


@value
class Options:
    """Our own fields of a request body, taken out before anything goes upstream."""

    wish: Wish
    """Which candidates the caller wants, and in which order."""
    provider_key: ProviderKey | None
    """An inline provider key: this call is paid at the provider."""
    payer: str
    """auto, byok_only, credits_only or byok_then_credits."""
    session: str = ""
    """What the caller calls this conversation; it stays with the provider that served it, for its prompt cache."""


@value
class Pricing:
    """How one attempt is priced: fixed at the start of the call, so that only usage is unknown."""

    price: Price
    instant: datetime
    """When the call came in: the moment whose rates count."""
    hold: Money
    fee: Fee | None
    """None where nothing is charged: a byok call within the month's free ones."""
    fee_only: bool
    """Whether the caller's own provider key pays the rest."""

    @property
    def fee_percent(self) -> str:
        """The fee as the billing log tells it; a free call has none."""
        return self.fee.as_percent if self.fee is not None else "0"

    def charge_for(self, usage: Usage) -> tuple[Charge, Money]:
        """What the account pays, never more than was held, and what the operator absorbs."""
        if self.fee is None:
            return NOTHING, 0
        exact = self.price.rates_at(self.instant, usage.prompt_tokens).exact_cost(usage)
        return cap(charge_fee_only(exact, self.fee) if self.fee_only else charge(exact, self.fee), self.hold)


class Answer:
    """What is known of one attempt's answer, filled in by chat and relay as its bytes pass."""

    __slots__ = (
        "asked_at",
        "ending",
        "failure",
        "finished",
        "first_content_at",
        "heard_at",
        "produced_bytes",
        "tally",
        "unreported_bytes",
    )

    def __init__(self) -> None:
        self.asked_at: float | None = None
        """When the upstream was called, on the event loop's clock; a request that no dialect can say never gets that far."""
        self.heard_at: float | None = None
        """When nothing more came from it: its answer was whole, or had failed."""
        self.tally = UsageTally()
        """Usage as the upstream reports it."""
        self.produced_bytes = 0
        """UTF-8 bytes of text the upstream produced: answer, reasoning, tool arguments."""
        self.unreported_bytes = 0
        """How many of them came after the last report of usage that can have spoken of them."""
        self.finished = False
        """Whether a finish reason was seen."""
        self.first_content_at: float | None = None
        """When the first content arrived, on the event loop's clock."""
        self.ending: Ending | None = None
        """How the answer ended; None while it has not, or when there was none."""
        self.failure: UpstreamError | None = None
        """What the provider did, where the answer broke after its first byte had reached the client."""


# Which module decides each fact. A fact with two writers is first set to its empty value by the one named first.
WRITERS: Final[dict[str, tuple[str, ...]]] = {
    "request_id": ("correlate",),
    "replay_of": ("correlate", "idempotency", "streams"),
    "caller_dialect": ("correlate", "speaking"),
    "stream": ("correlate", "relay"),
    "end_stream": ("correlate", "relay"),
    "cost": ("correlate", "budget"),
    "balance": ("correlate", "budget"),
    "hold": ("correlate", "budget"),
    "max_tokens_clamp": ("correlate", "metering"),
    "attempts": ("correlate",),
    "attempt_times": ("observe",),
    "waited_seconds": ("correlate", "routing"),
    "offer": ("correlate", "routing"),
    "mode": ("correlate", "byok"),
    "shown": ("correlate", "headers"),
    "extra_headers": ("correlate", "extending"),
    "started_at": ("observe",),
    "started": ("observe",),
    "account_id": ("observe", "auth"),
    "key_id": ("auth",),
    "key": ("auth",),
    "limit_state": ("correlate", "rate_limit", "limits"),
    "limited": ("correlate", "rate_limit"),
    "request": ("body", "extending"),
    "options": ("body",),
    "model": ("body",),
    "streamed": ("body",),
    "wants_usage": ("body",),
    "body_digest": ("body",),
    "provider_key": ("byok",),
    "free_byok": ("budget",),
    "selection": ("correlate", "budget", "quote"),
    "explained": ("correlate", "budget", "quote"),
    "offers": ("budget",),
    "prompt_bytes": ("budget",),
    "attempt_until": ("routing",),
    "key_number": ("routing",),
    "pricing": ("metering",),
    "answer": ("correlate", "routing", "metering"),
    "bill": ("correlate", "metering"),
    "charge": ("metering",),
    "absorbed": ("metering",),
}


class Call:
    """One client request and what has been decided about it so far."""

    __slots__ = tuple(WRITERS)

    @property
    def told_id(self) -> str:
        """The request id that the answer tells: of the call that was made."""
        return self.replay_of or self.request_id

    request_id: str
    """Ours, unique, time-ordered; the key of its hold, its entries and its billing-log row."""
    replay_of: str | None
    """The id of another request's call, whose answer this one gets; None for a call of its own."""
    caller_dialect: CallerDialect | None
    """What translates between the caller's route and chat completions; None on the chat route itself."""
    stream: web.StreamResponse | None
    """The streamed answer once its headers have left: from then on nobody else may answer."""
    end_stream: Callable[[Exception], None] | None
    """How a stream that has begun is told of a failure that can no longer be told by a status; None where none has begun."""
    cost: Money | None
    """What the account paid; None until settled."""
    balance: Money | None
    """The account's balance as of the last hold or settlement; None in byok mode."""
    hold: Money | None
    """What was set aside: the most this call can cost."""
    max_tokens_clamp: int | None
    """The max_tokens that we chose because the balance covers no more."""
    attempts: list[AttemptRow]
    """What was tried, in order; grows as routing tries."""
    attempt_times: list[tuple[float, float | None]] | None
    """When each of them asked and when it had heard everything, on the event loop's clock; None where nobody wants to know."""
    waited_seconds: float
    """How long it has waited for upstreams, and between tries: what of its time was not ours."""
    offer: Offer | None
    """The candidate being tried, in the end the one that served."""
    mode: str | None
    """standard or byok; None until decided."""
    shown: bool
    """Whether the answer's headers tell mode, cost, provider and so on."""
    extra_headers: tuple[tuple[str, str], ...]
    """What middlewares of installed packages let the answer's headers tell."""
    started_at: datetime
    """When the call came in, UTC: the instant whose prices count."""
    started: float
    """The same on the event loop's clock."""
    account_id: str | None
    """Who pays; None until authenticated."""
    key_id: str
    """The key the caller used."""
    key: KeyHolder
    """The same with what it may do."""
    limit_state: tuple[int, int, float] | None
    """Rate limit: limit, remaining, seconds until it is whole again."""
    limited: tuple[Scope, ...]
    """Who shares its limits: its account, its key; empty where nothing is limited."""
    request: Mapping[str, Any]
    """The body that may go upstream: parsed, checked, without our own and credential-like fields."""
    options: Options
    """Our own fields of the body."""
    model: Model
    """The public model asked for."""
    streamed: bool
    """Whether the caller wants a stream."""
    wants_usage: bool
    """Whether the caller asked for the usage chunk of a stream."""
    body_digest: str
    """What the body means, as a hash; empty where no Idempotency-Key asks for it."""
    provider_key: ProviderKey | None
    """The caller's provider key that pays in byok mode."""
    free_byok: bool
    """Whether this byok call is within the month's free requests."""
    selection: Selection | None
    """The choice that was made, with everybody who was passed over; None until it was made."""
    explained: bool
    """Whether the caller is told of that choice."""
    offers: tuple[Offer, ...]
    """The candidates that may serve, in order, each priced and covered by the hold."""
    prompt_bytes: int
    """UTF-8 bytes of the prompt's text, for an estimate."""
    attempt_until: float
    """When the current attempt must have given its first content (plain: its whole answer), on the loop's clock."""
    key_number: int
    """Which of the provider's keys pays the current attempt, counted from 0."""
    pricing: Pricing
    """How the current attempt is priced."""
    answer: Answer | None
    """What is known of the current attempt's answer."""
    bill: Bill | None
    """What is charged for; None when no attempt gave an answer."""
    charge: Charge
    """What the account pays for ``bill``."""
    absorbed: Money
    """What the answer cost beyond the hold."""


CALL: Final = web.RequestKey("call", Call)
"""Where a request carries its call."""
