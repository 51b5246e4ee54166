"""simulator/vendors.py: every provider has its shape."""

from simulator.facts import PROVIDERS
from simulator.vendors import SHAPES


def test_every_provider_has_one_shape_of_its_name() -> None:
    """No more and no fewer than the facts name."""
    assert set(SHAPES) == set(PROVIDERS)
    assert all(shape.name == name for name, shape in SHAPES.items())
