"""The tables as they are today, one class each: the description that migrations lead to and a test compares with them.

Money is in whole units of 10⁻⁸ USD, instants are microseconds since 1970 in UTC, ids are text. Nothing on a request's
way uses these classes; it uses SQL written once, because rendering a query costs more than running it.
"""

from __future__ import annotations

from peewee import (
    SQL,
    BigIntegerField,
    BlobField,
    BooleanField,
    Check,
    CompositeKey,
    ForeignKeyField,
    IntegerField,
    Model,
    TextField,
)

from storage.people_models import PEOPLE_TABLES
from storage.support_models import SUPPORT_TABLES


class Account(Model):
    """Who pays. `balance` includes `held`; both are sums that the ledger keeps and `find-token audit` proves."""

    id = TextField(primary_key=True)
    email = TextField(unique=True)
    status = TextField()
    created = BigIntegerField()
    last_active = BigIntegerField()
    balance = BigIntegerField()
    held = BigIntegerField(constraints=[Check("held >= 0")])
    deactivated_by = TextField(null=True)

    class Meta:
        table_name = "account"


class ApiKey(Model):
    """A key of ours, as its hash. Limits that are null are not set; `allowed_models` is a JSON list."""

    id = TextField(primary_key=True)
    account = ForeignKeyField(Account, column_name="account_id")
    name = TextField()
    hash = TextField(unique=True)
    last_four = TextField()
    created = BigIntegerField()
    expires = BigIntegerField(null=True)
    revoked = BigIntegerField(null=True)
    spend_limit = BigIntegerField(null=True)
    spend_window = TextField(null=True)
    requests_per_minute = IntegerField(null=True)
    allowed_models = TextField(null=True)
    tokens_per_minute = BigIntegerField(null=True)
    concurrent_requests = BigIntegerField(null=True)
    last_used = BigIntegerField(null=True)

    class Meta:
        table_name = "api_key"


class ProviderKey(Model):
    """A caller's own key at a provider, sealed."""

    id = TextField(primary_key=True)
    account = ForeignKeyField(Account, column_name="account_id")
    provider = TextField()
    name = TextField()
    sealed = BlobField()
    last_four = TextField()
    created = BigIntegerField()
    removed = BigIntegerField(null=True)

    class Meta:
        table_name = "provider_key"


class Entry(Model):
    """One line of the ledger: an amount that moved from `debit` to `credit`. Never changed, never deleted."""

    id = TextField(primary_key=True)
    debit = TextField()
    credit = TextField()
    amount = BigIntegerField(constraints=[Check("amount > 0")])
    kind = TextField()
    reference = TextField()
    reason = TextField()
    created = BigIntegerField()

    class Meta:
        table_name = "entry"


# What left an account for something else than calls: few lines, found without reading its millions of calls.
Entry.add_index(
    Entry.index(Entry.debit, Entry.created, where=SQL("substr(credit, 1, 8) <> 'revenue:'"), name="entry_correction")
)
# Only what was credited to accounts: a call credits revenue, and nobody looks that up by line.
Entry.add_index(
    Entry.index(
        Entry.credit, Entry.created, where=SQL("substr(credit, 1, 9) = 'customer:'"), name="entry_credit_customer"
    )
)
# What corrects calls, by the call.
Entry.add_index(Entry.index(Entry.reference, where=SQL("kind = 'adjustment'"), name="entry_adjustment"))


class EntryBalance(Model):
    """What an account had before an entry that is no call's. Never changed, never deleted."""

    entry_id = TextField(primary_key=True)
    balance = BigIntegerField()

    class Meta:
        table_name = "entry_balance"


class Hold(Model):
    """Money set aside for a call in flight; 0 for a BYOK call that took a free ticket of `byok_month`. `key_period` is the
    window in which it counts for its key's spending limit, null where there is none.

    What it knows of its call becomes the call's row in the billing log if the process dies.
    """

    request_id = TextField(primary_key=True)
    account_id = TextField()
    amount = BigIntegerField(constraints=[Check("amount >= 0")])
    byok_month = TextField(null=True)
    owner = TextField()
    deadline = BigIntegerField()
    created = BigIntegerField()
    key_id = TextField()
    path = TextField()
    requested_model = TextField()
    payer = TextField()
    streamed = BooleanField()
    key_period = TextField(null=True)

    class Meta:
        table_name = "hold"


class Call(Model):
    """One line of the billing log: a call that reached an upstream, and what it cost."""

    request_id = TextField(primary_key=True)
    created = BigIntegerField()
    account_id = TextField()
    key_id = TextField()
    path = TextField()
    requested_model = TextField()
    model = TextField(null=True)
    provider = TextField(null=True)
    mode = TextField()
    payer = TextField()
    streamed = BooleanField()
    status = IntegerField()
    billing_outcome = TextField()
    usage_source = TextField(null=True)
    estimated = BooleanField()
    anomalous = BooleanField()
    prompt_tokens = BigIntegerField()
    cached_tokens = BigIntegerField()
    completion_tokens = BigIntegerField()
    reasoning_tokens = BigIntegerField()
    provider_cost = BigIntegerField()
    fee = BigIntegerField()
    cost = BigIntegerField()
    absorbed = BigIntegerField()
    price_version = TextField(null=True)
    latency_ms = BigIntegerField()
    first_content_ms = BigIntegerField(null=True)
    balance_after = BigIntegerField()
    cache_write_tokens = BigIntegerField()
    held = BigIntegerField()
    price_rule = TextField(null=True)
    fee_percent = TextField(null=True)

    class Meta:
        table_name = "call"
        indexes = ((("account_id", "created", "request_id"), False),)


class Attempt(Model):
    """One try at one upstream, what it cost us, and who bore that."""

    request_id = TextField()
    number = IntegerField()
    provider = TextField()
    model = TextField()
    upstream_model = TextField()
    outcome = TextField()
    status = IntegerField(null=True)
    code = TextField(null=True)
    latency_ms = BigIntegerField()
    prompt_tokens = BigIntegerField()
    completion_tokens = BigIntegerField()
    upstream_cost = BigIntegerField()
    borne_by = TextField()

    class Meta:
        table_name = "attempt"
        primary_key = CompositeKey("request_id", "number")


class ByokMonth(Model):
    """How many of a month's free BYOK calls an account has used, calls in flight included."""

    account_id = TextField()
    month = TextField()
    used = BigIntegerField(constraints=[Check("used >= 0")])

    class Meta:
        table_name = "byok_month"
        primary_key = CompositeKey("account_id", "month")


class Process(Model):
    """A running gateway, by its heartbeat; the holds of one that fell silent are released by another. `revision` is the
    last one that it knows to have forgotten its keys for."""

    id = TextField(primary_key=True)
    started = BigIntegerField()
    heartbeat = BigIntegerField()
    revision = BigIntegerField()

    class Meta:
        table_name = "process"


class KeySpending(Model):
    """What a key with a spending limit has spent and holds in one window of time (storage/key_spending.py)."""

    key_id = TextField()
    period = TextField()
    spent = BigIntegerField(constraints=[Check("spent >= 0")])
    held = BigIntegerField(constraints=[Check("held >= 0")])

    class Meta:
        table_name = "key_spending"
        primary_key = CompositeKey("key_id", "period")


class Revision(Model):
    """One row whose number grows with every change to keys, provider keys and accounts' status."""

    id = IntegerField(primary_key=True)
    number = BigIntegerField()

    class Meta:
        table_name = "revision"


class Idempotency(Model):
    """The call that an account's Idempotency-Key stands for. `sealed` is its answer; null while it runs, and where it is lost.

    `sealed` comes last, so that what only counts sizes need not read past it.
    """

    account_id = TextField()
    key_hash = TextField()
    fingerprint = TextField()
    request_id = TextField()
    owner = TextField()
    state = TextField()
    created = BigIntegerField()
    size = BigIntegerField()
    sealed = BlobField(null=True)

    class Meta:
        table_name = "idempotency"
        primary_key = CompositeKey("account_id", "key_hash")
        indexes = ((("created",), False),)


class Recharge(Model):
    """Credit that an account wants to buy, or has bought. `credited` and `refunded` are what the books have of it; what was
    paid is `paid_cents`, 0 until it was. `checked` is when Stripe was last asked about it."""

    id = TextField(primary_key=True)
    account_id = TextField()
    amount = BigIntegerField(constraints=[Check("amount > 0")])
    asked_cents = BigIntegerField(constraints=[Check("asked_cents > 0")])
    status = TextField()
    session_id = TextField(null=True, unique=True)
    payment_intent = TextField(null=True, unique=True)
    paid_cents = BigIntegerField()
    credited = BigIntegerField()
    refunded = BigIntegerField()
    refund_entries = BigIntegerField()
    difference = TextField()
    created = BigIntegerField()
    paid = BigIntegerField(null=True)
    checked = BigIntegerField()

    class Meta:
        table_name = "recharge"
        indexes = ((("account_id", "created", "id"), False), (("status", "checked"), False))


class Payment(Model):
    """What Stripe has told about a payment as a whole, ours or not: the largest sum of its refunds."""

    payment_intent = TextField(primary_key=True)
    refunded_cents = BigIntegerField()

    class Meta:
        table_name = "payment"


class Refund(Model):
    """A refund of a payment, asked for by us (`id` is ours) or told by Stripe. `status` is asked, sent or failed."""

    id = TextField(primary_key=True)
    payment_intent = TextField(index=True)
    stripe_id = TextField(null=True, unique=True)
    cents = BigIntegerField(constraints=[Check("cents > 0")])
    status = TextField(index=True)
    asked_by = TextField()
    created = BigIntegerField()
    finished = BigIntegerField(null=True)

    class Meta:
        table_name = "refund"


class Dispute(Model):
    """A dispute of a payment: what Stripe has told, and what the ledger took and gave back for it."""

    id = TextField(primary_key=True)
    payment_intent = TextField(index=True)
    cents = BigIntegerField()
    opened = BooleanField()
    returned = BooleanField()
    lost = BooleanField()
    taken = BigIntegerField(null=True)
    given_back = BigIntegerField(null=True)
    created = BigIntegerField()

    class Meta:
        table_name = "dispute"


class StripeEvent(Model):
    """An event of Stripe that was taken in, and what became of it."""

    id = TextField(primary_key=True)
    type = TextField()
    subject = TextField()
    outcome = TextField(index=True)
    received = BigIntegerField()

    class Meta:
        table_name = "stripe_event"


TABLES: tuple[type[Model], ...] = (
    Account,
    ApiKey,
    ProviderKey,
    Entry,
    EntryBalance,
    Hold,
    Call,
    Attempt,
    ByokMonth,
    Process,
    KeySpending,
    Revision,
    Idempotency,
    Recharge,
    Payment,
    Refund,
    Dispute,
    StripeEvent,
    *PEOPLE_TABLES,
    *SUPPORT_TABLES,
)
