"""The first schema: accounts, keys, the ledger, the billing log.

A frozen copy of the tables as they were, apart from storage/models.py on purpose: a migration never changes.
"""

from __future__ import annotations

from typing import Any

from peewee import (
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

from storage.declarations import immutable_table, table_options


class Base(Model):
    class Meta:
        legacy_table_names = False


class Account(Base):
    id = TextField(primary_key=True)
    email = TextField(unique=True)
    status = TextField()
    created = BigIntegerField()
    last_active = BigIntegerField()
    balance = BigIntegerField()
    held = BigIntegerField(constraints=[Check("held >= 0")])

    class Meta:
        table_name = "account"


class ApiKey(Base):
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

    class Meta:
        table_name = "api_key"


class ProviderKey(Base):
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


class Entry(Base):
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
        indexes = ((("debit", "created"), False),)


class Hold(Base):
    request_id = TextField(primary_key=True)
    account_id = TextField()
    amount = BigIntegerField(constraints=[Check("amount >= 0")])
    byok_month = TextField(null=True)
    owner = TextField()
    deadline = BigIntegerField()
    created = BigIntegerField()

    class Meta:
        table_name = "hold"


class Call(Base):
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

    class Meta:
        table_name = "call"
        indexes = ((("account_id", "created", "request_id"), False),)


class Attempt(Base):
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


class ByokMonth(Base):
    account_id = TextField()
    month = TextField()
    used = BigIntegerField(constraints=[Check("used >= 0")])

    class Meta:
        table_name = "byok_month"
        primary_key = CompositeKey("account_id", "month")


class Process(Base):
    id = TextField(primary_key=True)
    started = BigIntegerField()
    heartbeat = BigIntegerField()

    class Meta:
        table_name = "process"


class Revision(Base):
    id = IntegerField(primary_key=True)
    number = BigIntegerField()

    class Meta:
        table_name = "revision"


TABLES = (Account, ApiKey, ProviderKey, Entry, Hold, Call, Attempt, ByokMonth, Process, Revision)


def up(_migrator: Any, db: Any) -> None:
    """Create the tables, make entries immutable, and write the one revision row."""
    with db.bind_ctx(TABLES):
        for table in TABLES:
            for option, value in table_options(db).items():
                setattr(table._meta, option, value)
            table.create_table()
    for sql in immutable_table(db, "entry"):
        db.execute_sql(sql)
    # What an account was credited with is looked up by account; what it was charged, and all revenue, is not.
    db.execute_sql(
        "CREATE INDEX entry_credit_customer ON entry (credit, created) WHERE substr(credit, 1, 9) = 'customer:'"
    )
    db.execute_sql("INSERT INTO revision (id, number) VALUES (1, 0)")
