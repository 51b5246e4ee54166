"""Mistakes that are planted one at a time, to see whether the tests find them: each a piece of source and what replaces it.

mutmut changes what stands in functions. It leaves alone what the money hangs on as well: the statements, which are texts, and
tables, limits and properties, which stand outside of functions. Those mistakes are listed here by hand. ``? <> ''`` stands for
a condition that was forgotten, since the number of parameters must remain.
"""

from __future__ import annotations

from typing import Final, NamedTuple

LEDGER_TESTS: Final = (
    "tests/storage/test_postings.py",
    "tests/storage/test_ledger.py",
    "tests/storage/test_batches.py",
)


class Mistake(NamedTuple):
    """One mistake: in this file the text `right`, which stands there once, becomes `wrong`."""

    file: str
    right: str
    wrong: str
    tests: tuple[str, ...]
    equivalent: str = ""
    """Why nothing can tell it from what is right; empty where the tests must find it."""


def _in(file: str, tests: tuple[str, ...], *pairs: tuple[str, ...]) -> tuple[Mistake, ...]:
    return tuple(Mistake(file, pair[0], pair[1], tests, *pair[2:]) for pair in pairs)


_POSTINGS: Final = _in(
    "storage/postings.py",
    LEDGER_TESTS,
    # HOLD_ACCOUNT
    ("SET held = held + ? WHERE id = ? AND status", "SET held = held - ? WHERE id = ? AND status"),
    ("WHERE id = ? AND status = 'active' AND", "WHERE ? <> '' AND status = 'active' AND"),
    ("AND status = 'active' AND balance", "AND balance"),
    ("balance - held >= ?", "balance - held > ?"),
    ("balance - held >= ?", "balance - held <= ?"),
    ("balance - held >= ?", "balance >= ?"),
    ("balance - held >= ?", "balance + held >= ?"),
    ("balance - held >= ?", "? >= 0"),
    ('    RETURNING balance, held"""\nLOCK_ACCOUNT', '    RETURNING held, balance"""\nLOCK_ACCOUNT'),
    # _LOCK_ACCOUNT
    ("SET held = held WHERE id = ?", "SET held = 0 WHERE id = ?"),
    ("SET held = held WHERE id = ?", "SET held = held WHERE ? <> ''"),
    ("RETURNING balance, held, status", "RETURNING held, balance, status"),
    # _BALANCE
    ("SELECT balance, held FROM account WHERE id = ?", "SELECT held, balance FROM account WHERE id = ?"),
    ("SELECT balance, held FROM account WHERE id = ?", "SELECT balance, held FROM account WHERE ? <> ''"),
    # _TOTAL_HELD
    ("COALESCE(SUM(amount), 0) FROM hold", "SUM(amount) FROM hold"),
    ("COALESCE(SUM(amount), 0) FROM hold", "COUNT(amount) FROM hold"),
    ("COALESCE(SUM(amount), 0) FROM hold", "COALESCE(MAX(amount), 0) FROM hold"),
    # HOLD_COLUMNS
    ("request_id, account_id, amount, byok_month, owner", "account_id, request_id, amount, byok_month, owner"),
    ("owner, deadline, created,", "owner, created, deadline,"),
    ("key_id, path, requested_model, payer, streamed", "path, key_id, requested_model, payer, streamed"),
    ("key_id, path, requested_model, payer, streamed", "key_id, path, payer, requested_model, streamed"),
    # _INSERT_HOLD
    ("WHERE NOT EXISTS (SELECT 1 FROM call WHERE request_id = ?)", "WHERE ? <> ''"),
    ("WHERE NOT EXISTS (SELECT 1 FROM call", "WHERE EXISTS (SELECT 1 FROM call"),
    ("NOT EXISTS (SELECT 1 FROM call", "NOT EXISTS (SELECT 1 FROM hold"),
    ("    ON CONFLICT (request_id) DO NOTHING", ""),
    ("(request_id) DO NOTHING", "(request_id) DO UPDATE SET amount = excluded.amount"),
    # _FIND_HOLD
    (
        "byok_month FROM hold WHERE request_id = ? AND account_id = ?",
        "byok_month FROM hold WHERE request_id = ? AND ? <> ''",
    ),
    (
        "byok_month FROM hold WHERE request_id = ? AND account_id = ?",
        "byok_month FROM hold WHERE ? <> '' AND account_id = ?",
    ),
    ("SELECT amount, byok_month FROM hold", "SELECT byok_month, amount FROM hold"),
    # _HOLD_FEE
    ("SET amount = ?, byok_month = NULL WHERE request_id = ?", "SET amount = ? WHERE request_id = ?"),
    (
        "SET amount = ?, byok_month = NULL WHERE request_id = ?",
        "SET amount = 0 * ?, byok_month = NULL WHERE request_id = ?",
    ),
    ("SET amount = ?, byok_month = NULL WHERE request_id = ?", "SET amount = ?, byok_month = NULL WHERE ? <> ''"),
    # _ADD_HELD
    ("SET held = held + ? WHERE id = ? RETURNING", "SET held = held - ? WHERE id = ? RETURNING"),
    ("SET held = held + ? WHERE id = ? RETURNING", "SET held = held + 0 * ? WHERE id = ? RETURNING"),
    ("SET held = held + ? WHERE id = ? RETURNING", "SET held = held + ? WHERE ? <> '' RETURNING"),
    (
        "SET held = held + ? WHERE id = ? RETURNING balance, held",
        "SET held = held + ? WHERE id = ? RETURNING held, balance",
    ),
    # _END_HOLD
    ("DELETE FROM hold WHERE request_id = ? AND account_id = ?", "DELETE FROM hold WHERE request_id = ? AND ? <> ''"),
    ("DELETE FROM hold WHERE request_id = ? AND account_id = ?", "DELETE FROM hold WHERE ? <> '' AND account_id = ?"),
    ("RETURNING amount, byok_month", "RETURNING byok_month, amount"),
    # _FIND_COST
    ("FROM call WHERE request_id = ? AND account_id = ?", "FROM call WHERE request_id = ? AND ? <> ''"),
    ("FROM call WHERE request_id = ? AND account_id = ?", "FROM call WHERE ? <> '' AND account_id = ?"),
    ("SELECT cost FROM call", "SELECT provider_cost FROM call"),
    # SETTLE_ACCOUNT
    ("SET held = held - ?, balance", "SET held = held + ?, balance"),
    ("SET held = held - ?, balance", "SET held = held - 0 * ?, balance"),
    ("balance = balance - ?,", "balance = balance + ?,"),
    ("balance = balance - ?,", "balance = balance - 0 * ?,"),
    ("CASE WHEN last_active < ? THEN", "CASE WHEN last_active > ? THEN"),
    ("CASE WHEN last_active < ? THEN", "CASE WHEN last_active <= ? THEN", "at the same instant both say the same"),
    ("CASE WHEN last_active < ? THEN ? ELSE last_active END", "COALESCE(?, ?, last_active)"),
    ("ELSE last_active END", "ELSE 0 END"),
    ("END WHERE id = ? RETURNING", "END WHERE ? <> '' RETURNING"),
    ("END WHERE id = ? RETURNING balance, held", "END WHERE id = ? RETURNING held, balance"),
    # _CREDIT
    ("SET balance = balance + ? WHERE id = ?", "SET balance = balance - ? WHERE id = ?"),
    ("SET balance = balance + ? WHERE id = ?", "SET balance = ? WHERE id = ?"),
    ("SET balance = balance + ? WHERE id = ?", "SET balance = balance + ? WHERE ? <> ''"),
    ("balance + ? WHERE id = ? RETURNING balance, held", "balance + ? WHERE id = ? RETURNING held, balance"),
    # _PAID
    ("last_active = ? WHERE id = ? AND last_active < ?", "last_active = ? WHERE id = ? AND ? <> 0"),
    ("last_active = ? WHERE id = ? AND last_active < ?", "last_active = ? WHERE id = ? AND last_active > ?"),
    (
        "last_active = ? WHERE id = ? AND last_active < ?",
        "last_active = ? WHERE id = ? AND last_active <= ?",
        "at the same instant both say the same",
    ),
    ("last_active = ? WHERE id = ? AND last_active < ?", "last_active = ? WHERE ? <> '' AND last_active < ?"),
    # _TAKE_TICKET
    ("VALUES (?, ?, 1)", "VALUES (?, ?, 0)"),
    ("used = byok_month.used + 1", "used = byok_month.used - 1"),
    ("used = byok_month.used + 1", "used = 1"),
    ("WHERE byok_month.used < ?", "WHERE byok_month.used <= ?"),
    ("WHERE byok_month.used < ?", "WHERE byok_month.used > ?"),
    ("WHERE byok_month.used < ?", "WHERE ? > 0"),
    # RETURN_TICKET
    ("SET used = used - 1", "SET used = used + 1"),
    ("SET used = used - 1", "SET used = 0"),
    ("- 1 WHERE account_id = ? AND month = ?", "- 1 WHERE ? <> '' AND month = ?"),
    ("- 1 WHERE account_id = ? AND month = ?", "- 1 WHERE account_id = ? AND ? <> ''"),
    # entries
    ("id, debit, credit, amount, kind,", "id, credit, debit, amount, kind,"),
    ("amount, kind, reference, reason, created", "amount, reference, kind, reason, created"),
    ("kind, reference, reason, created", "kind, reason, reference, created"),
    (" ON CONFLICT (id) DO NOTHING", ""),
    ("ON CONFLICT (id) DO NOTHING", "ON CONFLICT (id) DO UPDATE SET amount = excluded.amount"),
    ("SELECT debit, credit, amount FROM entry", "SELECT credit, debit, amount FROM entry"),
    ("FROM entry WHERE id = ?", "FROM entry WHERE ? <> ''"),
    # _REMEMBER_BALANCE
    ("SELECT ?, balance FROM account", "SELECT ?, held FROM account"),
    ("SELECT ?, balance FROM account WHERE id = ?", "SELECT ?, balance FROM account WHERE ? <> ''"),
)

_BATCHES: Final = _in(
    "storage/batches.py",
    ("tests/storage/test_batches.py", "tests/storage/test_ledger.py"),
    ("FROM call WHERE request_id IN (??)", "FROM call WHERE request_id NOT IN (??)"),
    ("SELECT request_id FROM call", "SELECT request_id FROM hold"),
    ("INSERT INTO hold ({HOLD_COLUMNS})", "INSERT OR IGNORE INTO hold ({HOLD_COLUMNS})"),
    ("DELETE FROM hold WHERE request_id IN (??)", "DELETE FROM hold WHERE request_id NOT IN (??)"),
    ("RETURNING request_id, account_id, amount", "RETURNING account_id, request_id, amount"),
    ("account_id, amount, byok_month", "account_id, byok_month, amount"),
    (
        (
            "DELETE FROM hold WHERE request_id IN (??)\n"
            "    RETURNING request_id, account_id, amount, byok_month, key_id, key_period"
        ),
        "SELECT request_id, account_id, amount, byok_month, key_id, key_period\n    FROM hold WHERE request_id IN (??)",
    ),
    # _HOLD_ACCOUNTS
    ("SET held = held + wanted.column2 FROM", "SET held = held - wanted.column2 FROM"),
    ("SET held = held + wanted.column2 FROM", "SET held = wanted.column2 FROM"),
    ("AS wanted\n    WHERE account.id = wanted.column1 AND", "AS wanted\n    WHERE"),
    ("AND status = 'active' AND balance", "AND balance"),
    ("balance - held >= wanted.column2", "balance - held > wanted.column2"),
    ("balance - held >= wanted.column2", "balance >= wanted.column2"),
    ("balance - held >= wanted.column2", "balance + held >= wanted.column2"),
    (" AND balance - held >= wanted.column2", ""),
    ("wanted.column2\n    RETURNING id, balance, held", "wanted.column2\n    RETURNING id, held, balance"),
    # _SETTLE_ACCOUNTS
    ("SET held = held - wanted.column2, balance", "SET held = held + wanted.column2, balance"),
    ("SET held = held - wanted.column2, balance", "SET balance"),
    ("balance = balance - wanted.column3", "balance = balance + wanted.column3"),
    ("balance = balance - wanted.column3", "balance = balance - wanted.column2"),
    ("CASE WHEN last_active >= wanted.column4", "CASE WHEN last_active < wanted.column4"),
    (
        "CASE WHEN last_active >= wanted.column4",
        "CASE WHEN last_active > wanted.column4",
        "at the same instant both say the same",
    ),
    ("CASE WHEN last_active >= wanted.column4 THEN last_active ELSE wanted.column4 END", "wanted.column4"),
    ("AS wanted WHERE account.id = wanted.column1 RETURNING", "AS wanted RETURNING"),
    ("wanted.column1 RETURNING id, balance, held", "wanted.column1 RETURNING id, held, balance"),
)

_SWEEP: Final = _in(
    "storage/sweep.py",
    ("tests/storage/test_sweep.py", "tests/storage/test_ledger.py"),
    ("DO UPDATE SET heartbeat = ?", "DO UPDATE SET started = ?"),
    ("hold.account_id FROM hold\n    LEFT JOIN", "hold.account_id FROM hold\n    JOIN"),
    ("SELECT hold.request_id, hold.account_id FROM", "SELECT hold.account_id, hold.request_id FROM"),
    ("WHERE process.heartbeat IS NULL OR process.heartbeat <", "WHERE process.heartbeat <"),
    (
        "WHERE process.heartbeat IS NULL OR process.heartbeat <",
        "WHERE process.heartbeat IS NULL OR process.heartbeat <=",
    ),
    (
        "WHERE process.heartbeat IS NULL OR process.heartbeat <",
        "WHERE process.heartbeat IS NULL OR process.heartbeat >",
    ),
    ("heartbeat < ? OR hold.deadline < ?\n    ORDER", "heartbeat < ? AND hold.deadline < ?\n    ORDER"),
    ("hold.deadline < ?\n    ORDER", "hold.deadline <= ?\n    ORDER"),
    ("hold.deadline < ?\n    ORDER", "hold.deadline > ?\n    ORDER"),
    ("ORDER BY hold.account_id, hold.request_id LIMIT", "ORDER BY hold.request_id, hold.account_id LIMIT"),
    ("ORDER BY hold.account_id, hold.request_id LIMIT", "ORDER BY hold.account_id DESC, hold.request_id LIMIT"),
    ("FROM hold LEFT JOIN process", "FROM hold JOIN process"),
    ("WHERE hold.request_id = ? AND (process", "WHERE ? <> '' AND (process"),
    ("AND (process.heartbeat IS NULL OR", "AND ("),
    ("AND (process.heartbeat IS NULL OR process.heartbeat <", "AND (process.heartbeat IS NULL OR process.heartbeat <="),
    ("hold.deadline < ?)", "hold.deadline <= ?)"),
    ("hold.deadline < ?)", "hold.deadline > ?)"),
    (
        "AND (process.heartbeat IS NULL OR process.heartbeat < ? OR hold.deadline < ?)",
        "AND process.heartbeat IS NULL OR process.heartbeat < ? OR hold.deadline < ?",
    ),
    ("hold.created, key_id, path", "hold.created, path, key_id"),
    ("requested_model, payer, streamed\n    FROM", "payer, requested_model, streamed\n    FROM"),
    ("WHERE heartbeat < ? AND NOT EXISTS", "WHERE heartbeat <= ? AND NOT EXISTS"),
    ("WHERE heartbeat < ? AND NOT EXISTS", "WHERE heartbeat > ? AND NOT EXISTS"),
    ("AND NOT EXISTS (SELECT 1 FROM hold WHERE hold.owner = process.id)", ""),
    ("WHERE hold.owner = process.id)", ")"),
)

_LOTS: Final = _in(
    "storage/lots.py",
    ("tests/storage/test_lots.py",),
    ("{sign}amount, created, entry_balance.balance", "amount, created, entry_balance.balance"),
    ("    LEFT JOIN entry_balance", "    JOIN entry_balance"),
    (
        "LEFT JOIN entry_balance ON entry_balance.entry_id = entry.id",
        "LEFT JOIN entry_balance ON entry_balance.entry_id <> entry.id",
    ),
    ('counterpart="debit", sign=""', 'counterpart="credit", sign=""'),
    ('counterpart="debit", sign=""', 'counterpart="debit", sign="-"'),
    ('"credit = ? AND substr(credit, 1, 9)', '"debit = ? AND substr(credit, 1, 9)'),
    (
        "credit = ? AND substr(credit, 1, 9) = 'customer:'",
        "credit = ?",
        "the whole name says the same; the condition lets the database use its index of customers' credits",
    ),
    ('counterpart="credit", sign="-"', 'counterpart="debit", sign="-"'),
    ('counterpart="credit", sign="-"', 'counterpart="credit", sign=""'),
    ("debit = ? AND substr(credit, 1, 8) <> 'revenue:'", "debit = ? AND substr(credit, 1, 8) = 'revenue:'"),
    ("debit = ? AND substr(credit, 1, 8) <> 'revenue:'", "debit = ?"),
)

STATEMENTS: Final = (*_POSTINGS, *_BATCHES, *_SWEEP, *_LOTS)
"""What can be wrong in the ledger's SQL."""

_PRICING: Final = _in(
    "billing/pricing.py",
    ("tests/billing/test_pricing.py",),
    ("MONEY_UNIT: Final = 10**10", "MONEY_UNIT: Final = 10**9"),
    ("PER_MILLION: Final = 10**12", "PER_MILLION: Final = 10**11"),
    ("LARGEST_PRICE: Final = 10**9", "LARGEST_PRICE: Final = 10**10"),
    ("scaleb(-12)", "scaleb(-13)"),
    ("scaleb(-12)", "scaleb(-11)"),
    ("max(self.input, self.cached_input, self.cache_write)", "max(self.cached_input, self.cache_write)"),
    ("max(self.input, self.cached_input, self.cache_write)", "max(self.input, self.cache_write)"),
    ("max(self.input, self.cached_input, self.cache_write)", "max(self.input, self.cached_input)"),
    ('f"tier:{self.above_prompt_tokens}"', 'f"tier:{self.above_prompt_tokens + 1}"'),
    (
        "divmod(self.start_minute, 60), divmod(self.end_minute, 60)",
        "divmod(self.start_minute, 60), divmod(self.start_minute, 60)",
    ),
    ('hours if str(self.zone) == "UTC" else', 'hours if str(self.zone) != "UTC" else'),
    ("Schedule(self.rates, self.tiers, self.windows)", "Schedule(self.rates, self.tiers)"),
    ("Schedule(self.rates, self.tiers, self.windows)", "Schedule(self.rates, (), self.windows)"),
    ("Decimal(self.numerator * 100)", "Decimal(self.numerator)"),
    ("return self.provider_cost + self.fee", "return self.provider_cost - self.fee"),
    ("return self.provider_cost + self.fee", "return self.provider_cost"),
    ("NOTHING: Final = Charge(0, 0)", "NOTHING: Final = Charge(0, 1)"),
    ("ORIGINAL: Final = 1", "ORIGINAL: Final = 2"),
)

_USAGE: Final = _in(
    "billing/usage.py",
    ("tests/billing/test_usage.py",),
    ("TOKEN_COUNT: Final = 100_000_000", "TOKEN_COUNT: Final = 1_000_000_000"),
    ("ESTIMATE: Final = 4", "ESTIMATE: Final = 3"),
    ('    "prompt_tokens": "prompt_tokens",\n', ""),
    ('    "input_tokens": "prompt_tokens",\n', ""),
    ('    "completion_tokens": "completion_tokens",\n', ""),
    ('    "output_tokens": "completion_tokens",\n', ""),
    ('    "cached_tokens": "cached_tokens",\n', ""),
    ('    "prompt_cache_hit_tokens": "cached_tokens",\n', ""),
    ('    "cache_creation_input_tokens": "cache_write_tokens",\n', ""),
    ('    "total_tokens": "total_tokens",\n', ""),
    ('{"cached_tokens": "cached_tokens", "cache_creation', '{"cache_creation'),
    (', "cache_creation_input_tokens": "cache_write_tokens"}', "}"),
    ('{"reasoning_tokens": "reasoning_tokens"}', "{}"),
    ('    "prompt_tokens_details": _PROMPT_DETAILS,\n', ""),
    ('    "input_tokens_details": _PROMPT_DETAILS,\n', ""),
    ('    "completion_tokens_details": _COMPLETION_DETAILS,\n', ""),
    ('    "output_tokens_details": _COMPLETION_DETAILS,\n', ""),
)

_BOUND: Final = _in(
    "billing/bound.py",
    ("tests/billing/test_bound.py",),
    ("TOKENS_PER_MESSAGE: Final = 16", "TOKENS_PER_MESSAGE: Final = 0"),
    ("TOKENS_PER_REQUEST: Final = 64", "TOKENS_PER_REQUEST: Final = 0"),
    ("TOKENS_PER_IMAGE: Final = 16_384", "TOKENS_PER_IMAGE: Final = 1_638"),
    ("MEDIA_FILE: Final = 262_144", "MEDIA_FILE: Final = 26_214"),
    ('    "image_url": TOKENS_PER_IMAGE,\n', ""),
    ('    "image": TOKENS_PER_IMAGE,\n', ""),
    ('    "input_image": TOKENS_PER_IMAGE,\n', ""),
    ('    "video_url": TOKENS_PER_MEDIA_FILE,\n', ""),
    ('    "video": TOKENS_PER_MEDIA_FILE,\n', ""),
    ('    "input_audio": TOKENS_PER_MEDIA_FILE,\n', ""),
    ('    "file": TOKENS_PER_MEDIA_FILE,\n', ""),
    ('{"tools", "functions"', '{"functions"'),
    ('"functions", "response_format"', '"response_format"'),
    ('"response_format", "tool_choice"', '"tool_choice"'),
    ('"tool_choice", "prompt"', '"prompt"'),
    ('"tool_choice", "prompt"', '"tool_choice"'),
)

_OTHER_ARITHMETIC: Final = (
    *_in(
        "billing/money.py",
        ("tests/billing/test_money.py",),
        ("UNITS_PER_USD = 10**8", "UNITS_PER_USD = 10**7"),
        ("Money = 10**17", "Money = 10**18"),
        ("Decimal(1).scaleb(-8)", "Decimal(1).scaleb(-7)"),
        ("Decimal(1).scaleb(-8)", "Decimal(1).scaleb(-9)"),
    ),
    *_in(
        "billing/matrix.py",
        ("tests/billing/test_matrix.py", "tests/billing/test_matrix_table.py"),
        ("{Ending.COMPLETE, Ending.CLIENT_LEFT}", "{Ending.COMPLETE}"),
        ("{Ending.COMPLETE, Ending.CLIENT_LEFT}", "{Ending.CLIENT_LEFT}"),
        ("{Ending.COMPLETE, Ending.CLIENT_LEFT}", "{Ending.COMPLETE, Ending.CLIENT_LEFT, Ending.CUT_BY_PROVIDER}"),
        ("{Ending.COMPLETE, Ending.CLIENT_LEFT}", "{Ending.COMPLETE, Ending.CLIENT_LEFT, Ending.GATEWAY_DIED}"),
        ("self.usage_source != UsageSource.PROVIDER", "self.usage_source == UsageSource.ESTIMATED"),
        ("Final = Usage(0, 0)", "Final = Usage(1, 0)"),
    ),
    *_in(
        "billing/lots.py",
        ("tests/billing/test_lots.py",),
        ("86_400_000_000", "86_400_000"),
        ("sum(lot.left for lot in self.lots)", "sum(lot.amount for lot in self.lots)"),
    ),
    *_in(
        "billing/repricing.py",
        ("tests/billing/test_repricing.py", "tests/billing/test_receipt.py"),
        ("ending.value for ending in PAID_ENDINGS", "ending.value for ending in Ending"),
        ("self.billing_outcome in _PAID", "self.billing_outcome not in _PAID"),
        ("self.usage + self.fee + self.byok", "self.usage + self.fee"),
        ("self.usage + self.fee + self.byok", "self.usage + self.byok"),
        ("self.usage + self.fee + self.byok", "self.fee + self.byok"),
        (
            "self.charge.provider_cost, self.charge.fee, self.absorbed",
            "self.charge.fee, self.charge.provider_cost, self.absorbed",
        ),
        ("self.charge.provider_cost, self.charge.fee, self.absorbed", "self.charge.provider_cost, self.charge.fee, 0"),
    ),
    *_in(
        "billing/receipt_form.py",
        ("tests/billing/test_receipt_form.py", "tests/billing/test_receipt.py"),
        ("FORM: Final = 1", "FORM: Final = 2"),
        ("_LARGEST_WHOLE: Final = 2**63 - 1", "_LARGEST_WHOLE: Final = 2**64"),
        (
            "self.cached_tokens,\n                self.cache_write_tokens",
            "self.cache_write_tokens,\n                self.cached_tokens",
        ),
        ("held=self.held", "held=0"),
        ("instant=self.created", "instant=self.created.replace(year=2030)"),
        ("byok=self.mode == BYOK", "byok=self.mode != BYOK"),
        ('    "amount": _money,\n', '    "amount": _text,\n'),
        ('_one_of("account", "operator", "nobody")', '_one_of("account", "operator", "nobody", None)'),
        ('    "cached_tokens": _whole,\n', '    "cached_tokens": lambda found: found,\n'),
        ('    "absorbed": _money,\n', '    "absorbed": lambda found: found,\n'),
    ),
    *_in(
        "billing/receipt.py",
        ("tests/billing/test_receipt.py",),
        ('("balance_after",)', "()"),
    ),
)

_LEDGER: Final = (
    *_in(
        "storage/postings.py",
        LEDGER_TESTS,
        ("return self.balance - self.held", "return self.balance + self.held"),
        ("return self.balance - self.held", "return self.balance"),
        ("return self.row.cost\n", "return self.row.provider_cost\n"),
    ),
    *_in(
        "storage/ledger.py",
        ("tests/storage/test_ledger.py",),
        ("FIRST_PAUSE_SECONDS = 0.05", "FIRST_PAUSE_SECONDS = 500"),
        ("return len(self._background)", "return 0"),
    ),
    *_in("storage/sweep.py", ("tests/storage/test_sweep.py",), ("SWEEP_LIMIT = 10_000", "SWEEP_LIMIT = 1")),
)

OUTSIDE: Final = (*_PRICING, *_USAGE, *_BOUND, *_OTHER_ARITHMETIC, *_LEDGER)
"""What can be wrong outside of functions: tables, limits, properties."""
