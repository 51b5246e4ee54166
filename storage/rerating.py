"""Putting right what a wrong price took: for each call of a model, the difference to the right price, as adjustments.

The lines of the billing log stay as they were. A correction is one entry for each amount that changes, between the ledger
accounts of the original, under an id that names the price and the call: doing it again changes nothing. It is posted whole
or not at all, so that the account has then paid exactly what the call costs at that price, never more than was held for it.
Money is given back always; more is taken only if asked for, and only what is available.

A call is corrected relative to what it has come to by then, earlier adjustments included, under its account's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol, TypeVar

from billing.price_book import PriceBook, upstream_of
from billing.pricing import Price
from billing.repricing import (
    ADJUSTMENT,
    Facts,
    NotPriced,
    adjustment_id,
    ledger_accounts,
    moves_of,
    reprice,
    version_of_adjustment,
)
from billing.usage import Usage
from billing.values import named_value, value
from storage.calls import CallRow, list_calls
from storage.database import Connection
from storage.postings import remember_balance
from storage.receipts import find_adjustments

T = TypeVar("T")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PAGE: Final = 200
"""Calls of one account that are corrected in one transaction: calls in flight wait for it."""

_ACCOUNTS = "SELECT id FROM account ORDER BY id"
_LOCK = "UPDATE account SET held = held WHERE id = ? RETURNING balance - held"
_AVAILABLE = "SELECT balance - held FROM account WHERE id = ?"
_MOVE = "UPDATE account SET balance = balance - ? WHERE id = ?"
_INSERT = """INSERT INTO entry (id, debit, credit, amount, kind, reference, reason, created)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""

GIVEN_BACK: Final = "given_back"
CHARGED_MORE: Final = "charged_more"
TOO_CHEAP: Final = "too_cheap"
"""More would be due, and was not asked for."""
NOT_COVERED: Final = "not_covered"
"""More is due, and the available balance does not cover it."""
REBOOKED: Final = "rebooked"
"""The account pays the same; the parts of it lie elsewhere."""
UNCHANGED: Final = "unchanged"
NOT_RATED: Final = "not_rated"
OUTCOMES: Final = (GIVEN_BACK, CHARGED_MORE, TOO_CHEAP, NOT_COVERED, REBOOKED, NOT_RATED)
"""What can become of a call that is not as it should be."""


class Books(Protocol):
    """What opens transactions (storage/database.py)."""

    def session(self, *, snapshot: bool = False) -> AbstractContextManager[Connection]:
        """One transaction."""
        ...


@named_value
class Wish:
    """Which calls, at which prices, and what may be done."""

    book: PriceBook
    model: str
    """The public name that served."""
    since: int
    """Microseconds, included."""
    until: int
    """Microseconds, not included."""
    reason: str
    charge_more: bool = False
    dry_run: bool = False


@value
class Correction:
    """What became of one call: `difference` is what the account pays more, negative for what it gets back."""

    request_id: str
    account_id: str
    outcome: str
    difference: int = 0
    version: str = ""
    """The price that is right."""
    sentence: str = ""
    """Why it was not rated."""


def facts_of(row: CallRow) -> Facts:
    """What decided the cost of a call. Raises NotPriced for lines that were written before they kept it."""
    if row.price_rule is None or row.fee_percent is None:
        raise NotPriced("fee_percent", "the line was written before hold and fee were kept in it")
    return Facts(
        instant=_EPOCH + timedelta(microseconds=row.created),
        mode=row.mode,
        billing_outcome=row.billing_outcome,
        usage=Usage(
            row.prompt_tokens, row.completion_tokens, row.cached_tokens, row.cache_write_tokens, row.reasoning_tokens
        ),
        fee_percent=row.fee_percent,
        held=row.held,
    )


def right_price(book: PriceBook, row: CallRow) -> Price:
    """What the book says that the call's price was at its moment. Raises NotPriced."""
    instant = _EPOCH + timedelta(microseconds=row.created)
    price = book.right_at(upstream_of(row.price_version or ""), instant)
    if price is None:
        raise NotPriced("price_version", f"the catalogue has no price for {row.price_version} at that moment")
    return price


def each_page(
    books: Books,
    work: Callable[[Connection, str, list[CallRow]], T],
    *,
    model: str | None,
    since: int,
    until: int | None,
    read_only: bool,
) -> Iterator[T]:
    """What `work` makes of the calls of all accounts, page by page, each in a transaction that has ended when it is told."""
    with books.session(snapshot=True) as connection:
        accounts = [str(row[0]) for row in connection.execute(_ACCOUNTS).fetchall()]
    for account_id in accounts:
        cursor: str | None = None
        while True:
            with books.session(snapshot=read_only) as connection:
                page, cursor = list_calls(
                    connection, account_id, limit=_PAGE, cursor=cursor, model=model, since=since, until=until
                )
                done = work(connection, account_id, page) if page else None
            if done is not None:
                yield done
            if cursor is None:
                break


def rerate(books: Books, wish: Wish, now: int) -> Iterator[Correction]:
    """Correct the calls, one page a transaction, and tell what became of each; with `dry_run` nothing is written."""
    expected: dict[str, int] = {}

    def correct_page(connection: Connection, account_id: str, page: list[CallRow]) -> list[Correction]:
        sql = _AVAILABLE if wish.dry_run else _LOCK
        available = _number(connection, sql, account_id)
        if wish.dry_run:  # What earlier pages would have changed has not happened.
            available = expected.get(account_id, available)
        done = []
        for row in page:
            correction = _correct(connection, row, wish, available, now)
            if correction.outcome in (GIVEN_BACK, CHARGED_MORE):
                available -= correction.difference
            done.append(correction)
        expected[account_id] = available
        return done

    pages = each_page(books, correct_page, model=wish.model, since=wish.since, until=wish.until, read_only=wish.dry_run)
    for done in pages:
        yield from done


def _correct(connection: Connection, row: CallRow, wish: Wish, available: int, now: int) -> Correction:
    if not row.price_version:
        return Correction(row.request_id, row.account_id, UNCHANGED)
    try:
        facts = facts_of(row)
        if not facts.paid:
            return Correction(row.request_id, row.account_id, UNCHANGED)
        price = right_price(wish.book, row)
        due = reprice(price, facts).moves
    except NotPriced as error:
        return Correction(row.request_id, row.account_id, NOT_RATED, sentence=str(error))
    adjustments = find_adjustments(connection, row.request_id)
    paid = _come_to(row, [(entry.id, entry.debit, entry.amount) for entry in adjustments])
    changes = {kind: amount - paid[kind] for kind, amount in due.by_kind().items() if amount != paid[kind]}
    difference = due.cost - sum(paid[kind] for kind in ("usage", "fee", "byok"))
    outcome = _outcome(changes, difference, available, charge_more=wish.charge_more)
    told = Correction(row.request_id, row.account_id, outcome, difference, price.version)
    if outcome in (UNCHANGED, TOO_CHEAP, NOT_COVERED):
        return told
    taken = {entry.id for entry in adjustments}
    if any(adjustment_id(price.version, row.request_id, kind) in taken for kind in changes):
        sentence = f"it was corrected to {price.version} before; give the price another revision"
        return Correction(row.request_id, row.account_id, NOT_RATED, difference, price.version, sentence)
    if not wish.dry_run:
        _post(connection, row, price.version, changes, wish.reason, now)
    return told


def _come_to(row: CallRow, adjustments: Iterable[tuple[str, str, int]]) -> dict[str, int]:
    """What the call has moved by now, by kind."""
    come_to = moves_of(row.provider_cost, row.fee, row.absorbed, byok=row.mode == "byok").by_kind()
    accounts = ledger_accounts(row.account_id)
    for entry_id, debit, amount in adjustments:
        named = version_of_adjustment(entry_id, row.request_id)
        if named is not None:
            come_to[named[1]] += amount if debit == accounts[named[1]][0] else -amount
    return come_to


def _outcome(changes: dict[str, int], difference: int, available: int, *, charge_more: bool) -> str:
    if not changes:
        return UNCHANGED
    if difference <= 0:
        return GIVEN_BACK if difference else REBOOKED
    if not charge_more:
        return TOO_CHEAP
    return CHARGED_MORE if difference <= available else NOT_COVERED


def _post(connection: Connection, row: CallRow, version: str, changes: dict[str, int], reason: str, now: int) -> None:
    """The entries, and the balance with them; the account is locked."""
    accounts, customer = ledger_accounts(row.account_id), f"customer:{row.account_id}"
    for kind, change in changes.items():
        debit, credit = accounts[kind] if change > 0 else accounts[kind][::-1]
        entry_id = adjustment_id(version, row.request_id, kind)
        values = (entry_id, debit, credit, abs(change), ADJUSTMENT, row.request_id, reason, now)
        connection.execute(_INSERT, values)
        if credit == customer:
            remember_balance(connection, entry_id, row.account_id)
        if customer in (debit, credit):
            connection.execute(_MOVE, (change, row.account_id))


def _number(connection: Connection, sql: str, account_id: str) -> int:
    row = connection.execute(sql, (account_id,)).fetchone()
    assert row is not None, "accounts are never deleted"
    return int(row[0])
