"""simulator/refusal.py: names every vendor knows, and the page of an edge."""

import pytest

from simulator.refusal import NAME_OF_STATUS, NAMES, gateway_page
from simulator.vendors import SHAPES


@pytest.mark.parametrize("provider", SHAPES)
def test_every_vendor_has_a_refusal_under_every_name(provider: str) -> None:
    """A fault can be ordered without knowing the vendor; none is filled in with less than all its words."""
    shape = SHAPES[provider]
    assert set(shape.refusals) == set(NAMES)
    for name in NAMES:
        message = shape.refusal(name).message
        assert "{" not in message, name


def test_statuses_mean_names_that_exist() -> None:
    """The table of statuses leads to nothing unknown."""
    assert set() == set(NAME_OF_STATUS.values()) - set(NAMES)


def test_a_gateway_page_is_html() -> None:
    """What an edge shows is no JSON, and says its status."""
    refusal = gateway_page(504)
    assert refusal.content_type == "text/html"
    assert "504 Gateway Time-out" in refusal.page
