"""Who pays for a call, by how it ended: the billing matrix of docs/billing.md as one function.

An account pays for what it received. What broke on the provider's side is free to it, and the operator bears it.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from billing.usage import Usage, estimate_usage
from billing.values import value

STANDARD: Final = "standard"
"""The mode of a call that the account's credits pay."""
BYOK: Final = "byok"
"""The mode of a call that the caller's own provider key pays; the account pays a fee at most."""


class Ending(Enum):
    """How a call ended, seen from its answer."""

    COMPLETE = "complete"
    """A proper finish: every byte that the provider meant to send was received."""
    CUT_BY_PROVIDER = "cut_by_provider"
    """Output had begun, then the provider failed, fell silent or hung up."""
    NOTHING_PRODUCED = "nothing_produced"
    """An answer without output and without a proper finish."""
    CLIENT_LEFT = "client_left"
    """The client hung up, or stopped reading, after output had begun."""
    CLIENT_LEFT_EARLY = "client_left_before_first_byte"
    """The client hung up before anything had been produced."""
    FAILED = "failed"
    """No candidate gave an answer."""
    GATEWAY_DIED = "gateway_died"
    """The gateway's process ended before the call did, so nobody knows what the caller received."""


PAID_ENDINGS: Final = frozenset({Ending.COMPLETE, Ending.CLIENT_LEFT})
"""The endings after which the account pays for what it received; all others are free to it."""


class UsageSource:
    """Where the token counts of a billing-log row come from."""

    PROVIDER: Final = "provider"
    ESTIMATED: Final = "estimated"
    BOUNDED: Final = "bounded"


@value
class Bill:
    """What to charge for: token counts, where they come from, and whether the account pays at all."""

    ending: Ending
    usage: Usage
    usage_source: str
    payable: bool

    @property
    def estimated(self) -> bool:
        """Whether the counts are a guess of ours."""
        return self.usage_source != UsageSource.PROVIDER


_NO_USAGE: Final = Usage(0, 0)


def decide(
    ending: Ending,
    reported: Usage | None,
    prompt_bytes: int,
    produced_bytes: int,
    completion_limit: int | None = None,
    unreported_bytes: int = 0,
) -> Bill:
    """The bill of a call that ended like this.

    ``reported`` is the provider's last word on usage; ``prompt_bytes`` and ``produced_bytes`` are the UTF-8 bytes of the
    text sent and of the text received, for an estimate where the provider said nothing; ``completion_limit`` the most
    completion tokens it was allowed to produce, beyond which no estimate goes; ``unreported_bytes`` what of the text no
    report can have spoken of, because it came later.
    """
    if ending in PAID_ENDINGS:
        # Some providers report zeros until the end; a client who leaves before it has still received what came, and a
        # stream that ends without the real report has still given what came after the zeros.
        untold = unreported_bytes if ending is Ending.COMPLETE else produced_bytes
        told = reported is not None and (reported.completion_tokens or not untold)
        if reported is not None and told:
            return Bill(ending, reported, UsageSource.PROVIDER, payable=True)
        return _estimate(ending, prompt_bytes, produced_bytes, completion_limit, payable=True)
    if ending is Ending.CUT_BY_PROVIDER:
        # Free to the account; the counts say what the provider may charge the operator.
        if reported is not None:
            return Bill(ending, reported, UsageSource.PROVIDER, payable=False)
        return _estimate(ending, prompt_bytes, produced_bytes, completion_limit, payable=False)
    # A prompt that was sent upstream by a caller who then left is not charged: nobody can say what the provider counted,
    # and a charge that may exceed the truth is worse than none.
    return Bill(ending, reported or _NO_USAGE, UsageSource.PROVIDER, payable=False)


def _estimate(
    ending: Ending, prompt_bytes: int, produced_bytes: int, completion_limit: int | None, *, payable: bool
) -> Bill:
    """A bill from the text that was seen. A provider that says nothing of usage and ignores its limit is not believed beyond
    it: the counts are then bounded."""
    usage = estimate_usage(prompt_bytes, produced_bytes)
    if completion_limit is None or usage.completion_tokens <= completion_limit:
        return Bill(ending, usage, UsageSource.ESTIMATED, payable)
    return Bill(ending, Usage(usage.prompt_tokens, completion_limit), UsageSource.BOUNDED, payable)
