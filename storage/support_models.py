"""Tables of what an operator does: tickets with their answers, announcements, credits that lapse, the last audit."""

from __future__ import annotations

from peewee import BigIntegerField, CompositeKey, IntegerField, Model, TextField


class Ticket(Model):
    """A question to the operator. `facts` is JSON: what the billing log knew of the request it names; null for no such call.
    `status` is open, answered or closed."""

    id = TextField(primary_key=True)
    account_id = TextField()
    subject = TextField()
    message = TextField()
    request_id = TextField(null=True)
    facts = TextField(null=True)
    status = TextField()
    created = BigIntegerField()
    changed = BigIntegerField()

    class Meta:
        table_name = "ticket"
        indexes = ((("account_id", "created", "id"), False), (("status", "created", "id"), False))


class TicketAnswer(Model):
    """What the operator answered to a ticket."""

    ticket_id = TextField()
    number = IntegerField()
    text = TextField()
    created = BigIntegerField()

    class Meta:
        table_name = "ticket_answer"
        primary_key = CompositeKey("ticket_id", "number")


class Announcement(Model):
    """News of the operator's, shown from `starts` until `ends` (null: until it is withdrawn)."""

    id = TextField(primary_key=True)
    severity = TextField()
    title = TextField()
    text = TextField()
    starts = BigIntegerField()
    ends = BigIntegerField(null=True)
    created = BigIntegerField()
    withdrawn = BigIntegerField(null=True)

    class Meta:
        table_name = "announcement"
        indexes = ((("starts", "id"), False),)


class PromotionLapse(Model):
    """A promotional credit that is taken back at an instant, as far as it is left; `done` is null until nothing of it is held."""

    entry_id = TextField(primary_key=True)
    account_id = TextField(index=True)
    due = BigIntegerField()
    parts = IntegerField()
    done = BigIntegerField(null=True)

    class Meta:
        table_name = "promotion_lapse"


class LastAudit(Model):
    """One row: when the books were last proved, and what disagreed."""

    id = IntegerField(primary_key=True)
    finished = BigIntegerField()
    disagreements = IntegerField()
    sentence = TextField()

    class Meta:
        table_name = "last_audit"


SUPPORT_TABLES: tuple[type[Model], ...] = (Ticket, TicketAnswer, Announcement, PromotionLapse, LastAudit)
