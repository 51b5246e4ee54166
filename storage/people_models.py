"""The tables of people who sign in, and of the mails they are sent: part of the description in storage/models.py."""

from __future__ import annotations

from peewee import SQL, BigIntegerField, CompositeKey, IntegerField, Model, TextField


class Notice(Model):
    """A warning that an account is to be given, recorded once; `due` is the instant of what it warns of, `expires_on` its
    day (UTC). `sent` is null until somebody has mailed it."""

    account_id = TextField()
    kind = TextField()
    expires_on = TextField()
    due = BigIntegerField()
    recorded = BigIntegerField()
    sent = BigIntegerField(null=True)

    class Meta:
        table_name = "notice"
        primary_key = CompositeKey("account_id", "kind", "expires_on")


# What nobody has mailed yet.
Notice.add_index(Notice.index(Notice.due, where=SQL("sent IS NULL"), name="notice_unsent"))


class SignInLink(Model):
    """A link that was mailed, as its hash; whoever has the link has the mailbox. `used` is when it was, or became void."""

    hash = TextField(primary_key=True)
    email = TextField(index=True)
    created = BigIntegerField()
    expires = BigIntegerField(index=True)
    used = BigIntegerField(null=True)

    class Meta:
        table_name = "sign_in_link"


class SignInAddress(Model):
    """How many links an address was asked for in the hour that began at `since`."""

    email = TextField(primary_key=True)
    since = BigIntegerField(index=True)
    asked = IntegerField()

    class Meta:
        table_name = "sign_in_address"


class Session(Model):
    """Somebody who is signed in, as the hash of what their browser presents. `way` is email or google."""

    id = TextField(primary_key=True)
    hash = TextField(unique=True)
    account_id = TextField(index=True)
    way = TextField()
    created = BigIntegerField()
    expires = BigIntegerField(index=True)
    ended = BigIntegerField(null=True)

    class Meta:
        table_name = "session"


class Mail(Model):
    """A mail to be sent, once for its id. `state` is waiting, sent, failed or dropped; when it is not waiting any more its
    recipient and `facts` (JSON) are empty. `due` is when it is to be tried next."""

    id = TextField(primary_key=True)
    kind = TextField()
    recipient = TextField()
    facts = TextField()
    state = TextField()
    attempts = IntegerField()
    created = BigIntegerField()
    due = BigIntegerField()
    finished = BigIntegerField(null=True)

    class Meta:
        table_name = "mail"
        indexes = ((("state", "due"), False), (("created",), False))


PEOPLE_TABLES: tuple[type[Model], ...] = (Notice, SignInLink, SignInAddress, Session, Mail)
