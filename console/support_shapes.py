"""What tickets and announcements look like in answers, beside the other shapes (console/shapes.py)."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from console.shapes import Shape, When


class TicketFacts(Shape):
    """What the billing log knew of the request that a ticket names."""

    time: When
    path: str
    model: str
    served_by: str | None
    status: int
    error_code: str | None
    streamed: bool
    prompt_tokens: int


class TicketAnswerShape(Shape):
    """An answer of the operator's."""

    text: str
    created: When


class TicketShape(Shape):
    """A support ticket; `request` is null where it names no call that reached a provider."""

    id: str
    subject: str
    message: str
    request_id: str | None
    request: TicketFacts | None
    status: Literal["open", "answered", "closed"]
    created: When
    changed: When
    answers: list[TicketAnswerShape]


class AnnouncementShape(Shape):
    """What the operator tells everybody."""

    model_config = ConfigDict(extra="forbid", validate_by_name=False)

    id: str
    severity: Literal["info", "maintenance", "incident"]
    title: str
    text: str
    from_: When = Field(alias="from")
    until: When | None
