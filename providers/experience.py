"""What calls have taught this process about upstreams, beside their health. Lives as long as the process; nothing is stored."""

from __future__ import annotations

from providers.key_choice import KeyChoice
from providers.retry_budget import RetryBudgets
from providers.without_usage import WithoutUsage


class Experience:
    """One of each for the whole process, whatever settings come in force meanwhile."""

    def __init__(self) -> None:
        self.retry_budgets = RetryBudgets()
        self.keys = KeyChoice()
        self.without_usage = WithoutUsage()
        self.calls_in_flight = 0
        """Calls that hold money and are waiting for an upstream, or being answered."""
