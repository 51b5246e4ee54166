"""The Prometheus instruments of a gateway, one object with a method per thing that happens.

Labels come from closed lists: the catalogue's providers and models, our modes, outcomes and status codes. Money is summed
in whole units of 10⁻⁸ USD and turned into dollars only when it is read, so that what is shown equals the billing log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from metrics.collectors import FastCounter, FastHistogram

PREFIX: Final = "findtoken_"

# Every family with its help text; docs/metrics.md lists them and a test holds it to that.
FAMILIES: Final[dict[str, str]] = {
    "requests_total": "Calls that passed authentication, by how they ended.",
    "request_seconds": "From the request's head to the answer's last byte but one.",
    "time_to_first_token_seconds": "From the request's head to the first content of a stream.",
    "overhead_seconds": "What this process added to a call: its time without the wait for upstreams.",
    "upstream_attempts_total": "Attempts at upstreams, by outcome.",
    "upstream_seconds": "How long an attempt took.",
    "failovers_total": "Calls that left this provider and model for the next candidate.",
    "retries_total": "Attempts made again at the same upstream.",
    "provider_up": "1 while no circuit of the provider is open.",
    "circuit_state": "1 while the circuit of this upstream is open.",
    "probes_total": "Free probes of providers, by how they ended.",
    "provider_wallet": "What is left on the operator's account at the provider, in the currency of the label.",
    "provider_runway_hours": "For how long that lasts as it was spent lately; +Inf where nothing is being spent.",
    "probe_up": "1 where the last free probe of the provider was answered, 0 where it failed.",
    "tokens_total": "Tokens in the billing log, by kind.",
    "spend_usd_total": "What accounts paid, in USD.",
    "upstream_cost_usd_total": "What providers charge the operator, in USD, failed attempts included.",
    "absorbed_usd_total": "What calls cost beyond their hold and nobody paid, in USD.",
    "usage_ignored_total": "Values in providers' reports of usage that were no whole numbers in range.",
    "rate_limited_total": "Calls refused because an account was over a limit.",
    "limits_local_total": "Decisions about limits that this process made alone, because Redis did not answer.",
    "shed_total": "Calls refused with 503 because the process was overloaded, by what there was too much of.",
    "turned_away_total": "Connections and messages refused before they were a request, by error code.",
    "streams_open": "Streams being relayed now.",
    "calls_in_flight": "Calls that are waiting for an upstream or being answered.",
    "client_disconnects_total": "Callers who left before their answer was complete.",
    "ledger_commit_seconds": "How long a batch of holds and settlements took to become durable.",
    "ledger_queue_length": "Jobs waiting for the ledger's writer.",
    "holds_usd": "Money held for calls in flight, in USD, as the books have it.",
    "recharges_usd_total": "What was credited for payments, in USD.",
    "recharge_differences_total": "Payments that were not as they were asked for; look at each.",
    "webhooks_total": "Webhooks of Stripe, by type and by what became of them.",
    "mails_total": "Mails, by kind and by what became of them: sent, delayed (tried again), failed, dropped.",
    "config_reloads_total": "Configurations taken anew, by whether they were put in force.",
    "config_last_reload_successful": "1 while the newest configuration that was read is in force.",
    "log_lines_dropped_total": "Log lines lost because nobody read them fast enough.",
    "spans_dropped_total": "Spans lost because no collector took them, or not fast enough.",
    "build_info": "The version that runs.",
}

SECONDS_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
OVERHEAD_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
COMMIT_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5)

_MONEY_UNITS_PER_USD: Final = 10**8
_REQUEST_LABELS: Final = ("provider", "model", "mode", "outcome", "code")
_UPSTREAM_LABELS: Final = ("provider", "model")


def _name(family: str) -> str:
    return PREFIX + family.removesuffix("_total")


class CircuitGauges(Collector):
    """Open circuits, read where they are kept."""

    def __init__(self, circuits: Callable[[], Iterator[tuple[tuple[str, str], bool]]]) -> None:
        self._circuits = circuits

    def collect(self) -> Iterator[Metric]:
        """One line per upstream that was tried, one per provider."""
        state = GaugeMetricFamily(
            _name("circuit_state"), FAMILIES["circuit_state"], labels=("provider", "upstream_model")
        )
        up = GaugeMetricFamily(_name("provider_up"), FAMILIES["provider_up"], labels=("provider",))
        providers: dict[str, bool] = {}
        for (provider, upstream_model), healthy in self._circuits():
            state.add_metric((provider, upstream_model), 0 if healthy else 1)
            providers[provider] = providers.get(provider, True) and healthy
        for provider, healthy in providers.items():
            up.add_metric((provider,), 1 if healthy else 0)
        yield state
        yield up


class Instruments:
    """Everything that is counted. Registers itself in a registry of its own, so that two gateways in one process differ."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        self._requests = self._counter("requests_total", _REQUEST_LABELS)
        self._request_seconds = self._histogram("request_seconds", _UPSTREAM_LABELS, SECONDS_BUCKETS)
        self._first_token_seconds = self._histogram("time_to_first_token_seconds", _UPSTREAM_LABELS, SECONDS_BUCKETS)
        self._overhead_seconds = self._histogram("overhead_seconds", _UPSTREAM_LABELS, OVERHEAD_BUCKETS)
        self._attempts = self._counter("upstream_attempts_total", (*_UPSTREAM_LABELS, "outcome"))
        self._upstream_seconds = self._histogram("upstream_seconds", _UPSTREAM_LABELS, SECONDS_BUCKETS)
        self._failovers = self._counter("failovers_total", _UPSTREAM_LABELS)
        self._retries = self._counter("retries_total", _UPSTREAM_LABELS)
        self._probes = self._counter("probes_total", ("provider", "outcome"))
        self._probe_up = Gauge(_name("probe_up"), FAMILIES["probe_up"], ("provider",), registry=self.registry)
        self._wallets = {
            family: Gauge(_name(family), FAMILIES[family], ("provider", "currency"), registry=self.registry)
            for family in ("provider_wallet", "provider_runway_hours")
        }
        self._tokens = self._counter("tokens_total", (*_UPSTREAM_LABELS, "kind"))
        self._spend = self._counter("spend_usd_total", (*_UPSTREAM_LABELS, "mode"), scale=_MONEY_UNITS_PER_USD)
        self._absorbed = self._counter("absorbed_usd_total", _UPSTREAM_LABELS, scale=_MONEY_UNITS_PER_USD)
        self._upstream_cost = self._counter("upstream_cost_usd_total", _UPSTREAM_LABELS, scale=_MONEY_UNITS_PER_USD)
        self._commit_seconds = self._histogram("ledger_commit_seconds", (), COMMIT_BUCKETS)
        self._usage_ignored = self._counter("usage_ignored_total", ("provider",))
        self.rate_limited = Counter(_name("rate_limited_total"), FAMILIES["rate_limited_total"], registry=self.registry)
        self.limits_local = Counter(_name("limits_local_total"), FAMILIES["limits_local_total"], registry=self.registry)
        self._shed = self._counter("shed_total", ("reason",))
        self._turned_away = self._counter("turned_away_total", ("code",))
        self.client_disconnects = Counter(
            _name("client_disconnects_total"), FAMILIES["client_disconnects_total"], registry=self.registry
        )
        self._config_reloads = self._counter("config_reloads_total", ("outcome",))
        self._config_is_good = self._gauge("config_last_reload_successful")
        self.log_lines_dropped = Counter(
            _name("log_lines_dropped_total"), FAMILIES["log_lines_dropped_total"], registry=self.registry
        )
        self.spans_dropped = Counter(
            _name("spans_dropped_total"), FAMILIES["spans_dropped_total"], registry=self.registry
        )
        self._recharges = self._counter("recharges_usd_total", (), scale=_MONEY_UNITS_PER_USD)
        self._recharge_differences = self._counter("recharge_differences_total", ())
        self._webhooks = self._counter("webhooks_total", ("type", "outcome"))
        self._mails = self._counter("mails_total", ("kind", "outcome"))
        self.streams_open = self._gauge("streams_open")
        self.calls_in_flight = self._gauge("calls_in_flight")
        self.ledger_queue_length = self._gauge("ledger_queue_length")
        self._holds = self._gauge("holds_usd")
        build = Gauge(_name("build_info"), FAMILIES["build_info"], ("version",), registry=self.registry)
        build.labels(version).set(1)

    def watch_circuits(self, circuits: Callable[[], Iterator[tuple[tuple[str, str], bool]]]) -> None:
        """Show the circuits that ``circuits`` lists whenever somebody reads the metrics."""
        self.registry.register(CircuitGauges(circuits))

    def recharged(self, amount: int) -> None:
        """A payment was credited."""
        self._recharges.add((), amount)

    def recharge_differs(self) -> None:
        """A payment was not as it was asked for."""
        self._recharge_differences.add(())

    def webhook(self, kind: str, outcome: str) -> None:
        """A webhook was answered; both words come from closed lists."""
        self._webhooks.add((kind, outcome))

    def mail(self, kind: str, outcome: str) -> None:
        """A mail was tried; both words come from closed lists."""
        self._mails.add((kind, outcome))

    def config_is_good(self, *, good: bool) -> None:
        """Whether what is in force is the newest that was read."""
        self._config_is_good.set(1 if good else 0)

    def config_reloaded(self, *, good: bool) -> None:
        """A new configuration was read, and put in force or refused."""
        self._config_reloads.add(("applied" if good else "refused",))
        self.config_is_good(good=good)

    def request(self, provider: str, model: str, mode: str, outcome: str, code: str, seconds: float) -> None:
        """A call that passed authentication is over."""
        self._requests.add((provider, model, mode, outcome, code))
        self._request_seconds.observe((provider, model), seconds)

    def first_token(self, provider: str, model: str, seconds: float) -> None:
        """The first content of a stream came after ``seconds``."""
        self._first_token_seconds.observe((provider, model), seconds)

    def overhead(self, provider: str, model: str, seconds: float) -> None:
        """So much of a call's time was spent in this process and not on waiting for upstreams."""
        self._overhead_seconds.observe((provider, model), seconds)

    def attempt(self, provider: str, model: str, outcome: str, seconds: float) -> None:
        """One try at one upstream is over."""
        self._attempts.add((provider, model, outcome))
        self._upstream_seconds.observe((provider, model), seconds)

    def failover(self, provider: str, model: str) -> None:
        """A call left this candidate for the next one."""
        self._failovers.add((provider, model))

    def retry(self, provider: str, model: str) -> None:
        """A call asks the same upstream again."""
        self._retries.add((provider, model))

    def probed(self, provider: str, outcome: str, *, up: bool | None) -> None:
        """A free probe is over; ``up`` is None where its answer says nothing of the provider."""
        self._probes.add((provider, outcome))
        if up is not None:
            self._probe_up.labels(provider).set(1 if up else 0)

    def wallet(self, provider: str, currency: str, left: Decimal, runway_hours: float) -> None:
        """A provider has said what is left on the operator's account."""
        self._wallets["provider_wallet"].labels(provider, currency).set(float(left))
        self._wallets["provider_runway_hours"].labels(provider, currency).set(runway_hours)

    def held(self, amount: int | None) -> None:
        """What is held now, for all calls in flight; None where the books cannot say, which reads as NaN."""
        self._holds.set(float("nan") if amount is None else amount / _MONEY_UNITS_PER_USD)

    def spend(self, provider: str, model: str, mode: str, cost: int, absorbed: int) -> None:
        """A settlement was written: what the account paid and what it did not."""
        self._spend.add((provider, model, mode), cost)
        if absorbed:
            self._absorbed.add((provider, model), absorbed)

    def upstream_cost(self, provider: str, model: str, cost: int) -> None:
        """What an attempt costs the operator."""
        self._upstream_cost.add((provider, model), cost)

    def tokens(self, provider: str, model: str, prompt: int, cached: int, completion: int, reasoning: int) -> None:
        """The token counts of a billing-log row; cached is part of prompt, reasoning part of completion."""
        add = self._tokens.add
        add((provider, model, "prompt"), prompt)
        add((provider, model, "completion"), completion)
        if cached:
            add((provider, model, "cached"), cached)
        if reasoning:
            add((provider, model, "reasoning"), reasoning)

    def usage_ignored(self, provider: str, values: int) -> None:
        """So many values of an attempt's reports were no whole numbers in range."""
        self._usage_ignored.add((provider,), values)

    def shed(self, reason: str) -> None:
        """A call was refused because the process was overloaded."""
        self._shed.add((reason,))

    def turned_away(self, code: str) -> None:
        """A connection or a message was refused before it was a request."""
        self._turned_away.add((code,))

    def committed(self, seconds: float) -> None:
        """A batch of the ledger became durable."""
        self._commit_seconds.observe((), seconds)

    def _counter(self, family: str, labels: tuple[str, ...], *, scale: int = 1) -> FastCounter:
        counter = FastCounter(_name(family), FAMILIES[family], labels, scale=scale)
        self.registry.register(counter)
        return counter

    def _histogram(self, family: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> FastHistogram:
        histogram = FastHistogram(_name(family), FAMILIES[family], labels, buckets)
        self.registry.register(histogram)
        return histogram

    def _gauge(self, family: str) -> Gauge:
        return Gauge(_name(family), FAMILIES[family], registry=self.registry)
