"""What a running simulator remembers: per provider its settings, its orders and whether it is down; and the journal."""

from collections import OrderedDict
from dataclasses import dataclass, field

from simulator.faults import Order, Orders
from simulator.journal import Journal
from simulator.render import Rendered
from simulator.settings import Settings
from simulator.shape import Shape
from simulator.vendors import SHAPES

MOST_RENDERED = 256
MOST_REMEMBERED = 10_000


@dataclass
class ProviderState:
    """One provider as it is at the moment."""

    shape: Shape
    settings: Settings = field(default_factory=Settings)
    orders: Orders = field(default_factory=Orders)
    down: bool = False
    calls_in_flight: int = 0
    _rendered: OrderedDict[bytes, Rendered] = field(default_factory=OrderedDict)
    _seen: OrderedDict[str, int] = field(default_factory=OrderedDict)

    def change(self, settings: Settings) -> None:
        """Behave otherwise from now on. Answers rendered under the old settings are forgotten."""
        self.settings = settings
        self._rendered.clear()

    def remembered(self, body: bytes) -> Rendered | None:
        """The answer already rendered for exactly this request body, or None."""
        return self._rendered.get(body)

    def remember(self, body: bytes, rendered: Rendered) -> None:
        """Keep a rendered answer for the next request with the same body; the oldest goes when there are many."""
        self._rendered[body] = rendered
        if len(self._rendered) > MOST_RENDERED:
            self._rendered.popitem(last=False)

    def count(self, name: str) -> int:
        """How often `name` has been counted, this time included. Old names are forgotten when there are many."""
        self._seen[name] = self._seen.pop(name, 0) + 1
        if len(self._seen) > MOST_REMEMBERED:
            self._seen.popitem(last=False)
        return self._seen[name]

    def take_order(self, in_prompt: Order | None, prompt: str, model: str, key: str) -> Order | None:
        """The fault this call gets: the one its prompt orders while that has turns left, else the next that fits it."""
        if in_prompt is None or not in_prompt.fits(self.shape.name, model, key):
            return self.orders.take(self.shape.name, model, key)
        if in_prompt.times == 0 or self.count(f"order:{prompt}") <= in_prompt.times:
            return in_prompt
        return self.orders.take(self.shape.name, model, key)


class SimulatorState:
    """All providers and the journal."""

    def __init__(self, settings: Settings) -> None:
        self.providers = {name: ProviderState(shape, settings) for name, shape in SHAPES.items()}
        self.journal = Journal()
