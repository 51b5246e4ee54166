"""CPU per request and per streamed chunk: the gateway against the direct call and a bare aiohttp passthrough, in one run.

    python bench/passthrough/run.py [--rounds N] [--requests N] [--json]

The machine may be noisy, so the three are measured in turn, round after round, and the ratio is taken within each round;
the median of the rounds is printed. CPU is the time of every thread of the measured process (user and system) between the
first and the last request of a sample. The gateway runs as operators run it: `find-token serve`, whole chain, SQLite with
synchronous=FULL. Exits with 1 when a request failed or the books do not balance.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import load

HERE = Path(__file__).parent
FIND_TOKEN = str(Path(sys.executable).with_name("find-token"))
CHUNKS = 100
PAUSE_SECONDS = 0.002

CATALOGUE = """
[providers.bench]
dialect = "openai"
base_url = "http://127.0.0.1:{port}"
keys = ["bench-key"]

[models.bench-model]
provider = "bench"
upstream_model = "bench-upstream"
context = 131_072
max_output = 8_192

[[models.bench-model.prices]]
from = 2026-01-01
input = 0.14
output = 0.28
"""

SETTINGS = """
catalogue = "catalogue.toml"

[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"

[limits]
requests_per_minute = 0
"""


@dataclass(frozen=True)
class Target:
    """Something that answers chat requests, and the process whose CPU is counted."""

    name: str
    port: int
    pid: int
    key: str = "bench-key"


@dataclass(frozen=True)
class Scenario:
    """One kind of load."""

    name: str
    streamed: bool
    paced: bool
    callers: int
    share: float
    """Of the number of requests asked for; a stream is worth many."""


SCENARIOS = (
    Scenario("plain", streamed=False, paced=False, callers=64, share=1.0),
    Scenario("plain, few callers", streamed=False, paced=False, callers=16, share=1.0),
    Scenario("stream, 100 chunks 2 ms apart", streamed=True, paced=True, callers=16, share=0.2),
    Scenario("stream, 100 chunks at once", streamed=True, paced=False, callers=64, share=0.3),
)


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process, to the nanosecond (Linux)."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def start(resources: ExitStack, command: list[str], cpu: int | None, folder: Path) -> tuple[subprocess.Popen[str], str]:
    """Start a process on one CPU and wait for its first line; what it logs goes into a file, a line for every call."""
    log = resources.enter_context((folder / "log.jsonl").open("a"))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=folder)
    resources.callback(stop, process)
    if cpu is not None:
        os.sched_setaffinity(process.pid, {cpu})
    assert process.stdout is not None
    return process, process.stdout.readline()


def stop(process: subprocess.Popen[str]) -> None:
    """End a process in order, or the hard way."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def command(folder: Path, *words: str) -> dict[str, str]:
    """The JSON answer of a find-token command."""
    done = subprocess.run([FIND_TOKEN, *words, "--json"], cwd=folder, check=True, capture_output=True, text=True)
    answer: dict[str, str] = json.loads(done.stdout)
    return answer


def start_gateway(resources: ExitStack, folder: Path, upstream_port: int, cpu: int | None) -> Target:
    """`find-token serve` with an account that can pay for everything."""
    folder.mkdir()
    (folder / "catalogue.toml").write_text(CATALOGUE.format(port=upstream_port))
    (folder / "find-token.toml").write_text(SETTINGS)
    command(folder, "migrate")
    command(folder, "account", "create", "bench@example.com")
    command(folder, "account", "credit", "bench@example.com", "1000", "--reason", "bench")
    key = command(folder, "key", "create", "bench@example.com", "--name", "bench")["key"]
    process, line = start(resources, [FIND_TOKEN, "serve", "--json"], cpu, folder)
    return Target("gateway", int(json.loads(line)["url"].rsplit(":", 1)[1]), process.pid, key)


def targets(resources: ExitStack, folder: Path, pause_seconds: float, cpus: list[int | None]) -> list[Target]:
    """The direct call, the bare passthrough and the gateway, all in front of one upstream."""
    python = sys.executable
    upstream, line = start(resources, [python, str(HERE / "upstream.py"), str(pause_seconds)], cpus[1], folder)
    port = int(line)
    bare, line = start(
        resources, [python, str(HERE / "bare.py"), f"http://127.0.0.1:{port}/chat/completions"], cpus[0], folder
    )
    gateway = start_gateway(resources, folder / f"gateway-{pause_seconds}", port, cpus[0])
    return [Target("direct", port, upstream.pid), Target("bare", int(line), bare.pid), gateway]


def sample(target: Target, scenario: Scenario, requests: int) -> tuple[float, load.Result]:
    """CPU seconds per request of one target, and what the callers saw."""
    request = load.request_bytes(target.key, streamed=scenario.streamed)
    before = cpu_seconds(target.pid)
    result = asyncio.run(load.run(target.port, request, callers=scenario.callers, requests=requests))
    return (cpu_seconds(target.pid) - before) / requests, result


def measure(scenario: Scenario, among: list[Target], rounds: int, requests: int) -> dict[str, dict[str, float]]:
    """Medians over the rounds: CPU µs, latency ms, and the ratio to the bare passthrough taken within each round."""
    seen: dict[str, list[tuple[float, float, float]]] = {target.name: [] for target in among}
    failures = 0
    for target in among:
        sample(target, scenario, max(requests // 10, scenario.callers))
    for _ in range(rounds):
        costs = {}
        for target in among:
            cpu, result = sample(target, scenario, requests)
            failures += result.failures
            costs[target.name] = (cpu, result.percentile(0.5))
        for name, (cpu, latency) in costs.items():
            seen[name].append((cpu, latency, cpu / costs["bare"][0]))
    if failures:
        raise SystemExit(f"{scenario.name}: {failures} requests failed")
    return {
        name: {
            "cpu_us": statistics.median(row[0] for row in rows) * 1e6,
            "latency_ms": statistics.median(row[1] for row in rows) * 1e3,
            "ratio": statistics.median(row[2] for row in rows),
            "ratio_min": min(row[2] for row in rows),
            "ratio_max": max(row[2] for row in rows),
        }
        for name, rows in seen.items()
    }


def table(scenario: Scenario, figures: dict[str, dict[str, float]]) -> str:
    """The figures of one scenario for people."""
    lines = [f"\n{scenario.name}, {scenario.callers} callers"]
    lines.append(f"{'':10}{'CPU µs/request':>16}{'µs/chunk':>10}{'p50 ms':>9}{'x bare':>8}  (min–max)")
    for name, row in figures.items():
        per_chunk = f"{row['cpu_us'] / CHUNKS:.1f}" if scenario.streamed else ""
        ratio = f"{row['ratio']:.2f}  ({row['ratio_min']:.2f}–{row['ratio_max']:.2f})" if name != "direct" else "-"
        lines.append(f"{name:10}{row['cpu_us']:>16.0f}{per_chunk:>10}{row['latency_ms']:>9.2f}{ratio:>8}")
    return "\n".join(lines)


def main() -> None:
    """Measure every scenario and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    available: list[int | None] = [*sorted(os.sched_getaffinity(0))]
    cpus = available[:2] if len(available) > 1 else [None, None]
    if cpus[1] is not None:
        os.sched_setaffinity(0, {cpus[1]})
    found = {}
    with tempfile.TemporaryDirectory(prefix="find-token-bench-") as name, ExitStack() as resources:
        folder = Path(name)
        at_once, paced = (targets(resources, folder, pause, cpus) for pause in (0.0, PAUSE_SECONDS))
        for scenario in SCENARIOS:
            among = paced if scenario.paced else at_once
            found[scenario.name] = measure(scenario, among, options.rounds, int(options.requests * scenario.share))
            if not options.json:
                print(table(scenario, found[scenario.name]), flush=True)
        for pause in (0.0, PAUSE_SECONDS):
            audit = command(folder / f"gateway-{pause}", "audit")
            if not audit["ok"]:
                raise SystemExit(f"the books do not balance: {audit}")
    if options.json:
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
