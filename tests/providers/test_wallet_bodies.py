"""What a provider says of an account is material: an amount is taken, everything else is left out."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.deepseek import DeepSeekDialect
from providers.kimi import KimiDialect
from providers.stepfun import StepFunDialect
from providers.wallet_bodies import amount, currency_by_host, listed


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("110.00", "110"),
        ("-3.5", "-3.5"),
        (49.58, "49.58"),
        (0, "0"),
        (True, None),
        (None, None),
        ("much", None),
        ("NaN", None),
        ("Infinity", None),
        ("1e999999", None),
        (10**15, None),
        ([1], None),
    ],
)
def test_an_amount(value: Any, expected: str | None) -> None:
    """A number, or a text that is one."""
    assert (None if expected is None else Decimal(expected)) == amount(value)


def test_each_currency_has_its_row() -> None:
    """Rows that say something else are left out, and so is what is no list."""
    rows = [{"currency": "CNY", "left": "1"}, {"currency": 7, "left": "1"}, {"currency": "USD"}, "EUR"]

    assert {"CNY": Decimal(1)} == listed(rows, "currency", "left")
    assert {} == listed({"CNY": 1}, "currency", "left")


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [("https://api.moonshot.cn/v1", "CNY"), ("https://api.moonshot.ai/v1", "USD"), ("not an address", "USD")],
)
def test_the_site_tells_the_currency(base_url: str, expected: str) -> None:
    """Where the answer does not."""
    assert expected == currency_by_host(base_url, ".cn")


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["balance_infos", "currency", "total_balance", "data", "available_balance", "balance"]),
            inner,
        )
    ),
    max_leaves=12,
)


@given(answer=st.dictionaries(st.sampled_from(["balance_infos", "data", "balance"]), any_json))
def test_no_answer_breaks_anything(answer: dict[str, Any]) -> None:
    """Whatever stands there, what is read are finite amounts by currency, or nothing."""
    for dialect in (DeepSeekDialect(), KimiDialect(), StepFunDialect()):
        wallet = dialect.read_wallet(answer, "https://api.example.com/v1")
        assert all(isinstance(name, str) and left.is_finite() for name, left in wallet.items())
