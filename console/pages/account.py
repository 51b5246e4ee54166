"""The pages of somebody who is signed in, composed: every address of the console, and what answers it."""

from __future__ import annotations

from aiohttp.typedefs import Handler

from console.pages.billing import BillingPages
from console.pages.dashboard import DashboardPages
from console.pages.keys import KeyPages
from console.pages.market import Market
from console.pages.rendering import Renderer
from console.pages.showing import Shower
from console.pages.support import SupportPages
from console.pages.visiting import Doors
from console.recharge_routes import Recharges
from console.services import Services


class AccountPages:
    """The handlers of all of them."""

    def __init__(
        self, renderer: Renderer, doors: Doors, market: Market, services: Services, recharges: Recharges
    ) -> None:
        self._doors = doors
        shower = Shower(renderer, services.announcements)
        self._dashboard = DashboardPages(shower, services)
        self._keys = KeyPages(shower, services, market.catalogue)
        self._billing = BillingPages(shower, services, recharges, market.offers)
        self._support = SupportPages(shower, services)

    def routes(self) -> dict[tuple[str, str], Handler]:
        """What answers each path."""
        keys, billing, support = self._keys, self._billing, self._support
        pages = {
            "/my/dashboard": self._dashboard.show,
            "/my/usage": self._dashboard.usage,
            "/my/calls/{id}": self._dashboard.call,
            "/my/keys": keys.show,
            "/my/keys/{id}": keys.one,
            "/my/providers": keys.providers,
            "/my/billing": billing.show,
            "/my/tickets": support.show,
            "/my/tickets/{id}": support.one,
        }
        changes = {
            "/my/keys": keys.create,
            "/my/keys/{id}": keys.change,
            "/my/keys/{id}/revoke": keys.revoke,
            "/my/providers": keys.register,
            "/my/providers/{id}/remove": keys.remove,
            "/my/billing": billing.recharge,
            "/my/billing/{id}/refund": billing.refund,
            "/my/tickets": support.open,
        }
        return {
            **{("GET", path): self._doors.members(page) for path, page in pages.items()},
            **{("POST", path): self._doors.changes(change) for path, change in changes.items()},
        }
