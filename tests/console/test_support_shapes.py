"""The shapes of tickets and announcements are those that storage writes, member by member."""

from __future__ import annotations

import pydantic
import pytest

from console.support_shapes import AnnouncementShape, TicketShape
from storage.announcements import Announcement
from storage.tickets import Ticket, TicketAnswer


def test_a_ticket_and_an_announcement_fit() -> None:
    """With and without what may be missing."""
    ticket = Ticket("ticket_1", "acct_1", "a", "b", None, None, "answered", 1, 2, (TicketAnswer("c", 3),))

    shown = TicketShape.model_validate(ticket.to_json(), strict=True)
    announcements = [Announcement("announcement_1", "info", "a", "", 1, ends, 1, None).to_json() for ends in (None, 5)]

    assert shown.model_dump(exclude_unset=True) == ticket.to_json()
    for told in announcements:
        assert AnnouncementShape.model_validate(told, strict=True).model_dump(by_alias=True, exclude_unset=True) == told


def test_another_member_does_not_fit() -> None:
    """Whatever storage tells more than it should is noticed: whose ticket it is, for one."""
    ticket = Ticket("ticket_1", "acct_1", "a", "b", None, None, "open", 1, 2)

    with pytest.raises(pydantic.ValidationError, match="account_id"):
        TicketShape.model_validate({**ticket.to_json(), "account_id": "acct_1"})
