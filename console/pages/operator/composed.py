"""The pages for operators, composed: every address, and what answers it."""

from __future__ import annotations

from aiohttp.typedefs import Handler

from console.operator_books import OperatorBooks
from console.operator_desk import OperatorDesk
from console.pages.market import Market
from console.pages.operator.accounts import OperatorAccountPages
from console.pages.operator.doors import OperatorDoors
from console.pages.operator.ledger import LedgerPages
from console.pages.operator.overview import OverviewPages
from console.pages.operator.people import PeoplePages
from console.pages.showing import Shower


class OperatorPages:
    """The handlers of all of them."""

    def __init__(
        self, shower: Shower, doors: OperatorDoors, market: Market, books: OperatorBooks, desk: OperatorDesk
    ) -> None:
        self._doors = doors
        self._overview = OverviewPages(shower, books, market)
        self._accounts = OperatorAccountPages(shower, books, desk)
        self._ledger = LedgerPages(shower, books)
        self._people = PeoplePages(shower, books, desk)

    def routes(self) -> dict[tuple[str, str], Handler]:
        """What answers each path."""
        accounts, ledger, people = self._accounts, self._ledger, self._people
        pages = {
            "/operator": self._overview.show,
            "/operator/accounts": accounts.show,
            "/operator/accounts/{id}": accounts.one,
            "/operator/ledger": ledger.show,
            "/operator/calls": ledger.find,
            "/operator/calls/{id}": ledger.call,
            "/operator/report": ledger.report,
            "/operator/providers": self._overview.providers,
            "/operator/announcements": people.announcements,
            "/operator/tickets": people.tickets,
            "/operator/tickets/{id}": people.ticket,
        }
        changes = {
            "/operator/accounts/{id}/credit": accounts.credit,
            "/operator/accounts/{id}/deactivate": accounts.deactivate,
            "/operator/accounts/{id}/reactivate": accounts.reactivate,
            "/operator/announcements": people.publish,
            "/operator/announcements/{id}/withdraw": people.withdraw,
            "/operator/tickets/{id}/answer": people.answer,
            "/operator/tickets/{id}/close": people.close,
        }
        return {
            **{("GET", path): self._doors.page(page) for path, page in pages.items()},
            **{("POST", path): self._doors.change(change) for path, change in changes.items()},
        }
