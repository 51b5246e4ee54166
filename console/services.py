"""What can be done for an account holder, each thing made once: the routes of the account plane and the pages both use it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from console.announcements import Announcements
from console.balance import read_balance
from console.billing_log import BillingLog
from console.byok import OwnProviderKeys
from console.keys import Keys
from console.tickets import Tickets
from console.usage import Range, find_usage
from middlewares.sessions import Sessions
from providers.catalogue import Catalogue
from storage.database import Database
from storage.key_changes import KeyUses
from storage.keys import KeyRing
from storage.provider_keys import ProviderKeys
from storage.sealing import Sealer
from storage.usage import UsageSums


@dataclass(frozen=True, slots=True)
class Parts:
    """What the account plane is made of: the gateway's own parts, and the settings it needs."""

    database: Database
    keys: KeyRing
    uses: KeyUses
    sealer: Sealer
    provider_keys: ProviderKeys
    catalogue: Callable[[], Catalogue]
    key_prefix: str
    expiry_and_refund_days: Callable[[], tuple[int, int]]
    sessions: Sessions


class Services:
    """Everything but recharges (console/recharge_routes.py), which need Stripe."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.sums = UsageSums(parts.database)
        self.keys = Keys(parts.database, self.sums, parts.keys, parts.key_prefix, parts.catalogue)
        self.calls = BillingLog(parts.database, parts.catalogue)
        self.own = OwnProviderKeys(parts.database, parts.sealer, parts.provider_keys, parts.catalogue)
        self.tickets = Tickets(parts.database, parts.key_prefix)
        self.announcements = Announcements(parts.database)

    async def balance(self, account_id: str) -> dict[str, Any]:
        """What the account has, lot by lot."""
        return await self._parts.database.read(read_balance, account_id, *self._parts.expiry_and_refund_days())

    async def usage(self, account_id: str, chosen: Range) -> dict[str, Any]:
        """What the account used in a range of days."""
        return await find_usage(self.sums, account_id, chosen)
