"""The rules and the dashboard of deploy/ as they are written: proved, current, explained, and about metrics that there are."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import yaml

from deploy import dashboard
from metrics.instruments import FAMILIES, PREFIX
from tests.deploy.panels import panels_of
from tests.fakes.programs import program
from tests.fakes.prometheus import DEPLOY


def test_the_rules_are_proved() -> None:
    """promtool plays hours of samples: each alert fires on what it is for, and is silent on what only looks like it."""
    done = subprocess.run(
        [program("promtool"), "test", "rules", str(DEPLOY / "rules_test.yml")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stdout + done.stderr


def rules() -> list[dict[str, Any]]:
    """The rules as they are written."""
    groups = yaml.safe_load((DEPLOY / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_every_alert_has_a_proof_and_a_section_of_the_runbook() -> None:
    """What pages somebody at night says what to do, and was seen to fire."""
    proofs = yaml.safe_load((DEPLOY / "rules_test.yml").read_text())["tests"]
    fired = {proof["alertname"] for test in proofs for proof in test["alert_rule_test"] if proof["exp_alerts"]}
    runbook = (DEPLOY.parent / "docs" / "operating.md").read_text()
    for rule in rules():
        if name := rule.get("alert"):
            assert name in fired
            assert f"\n### {name}\n" in runbook
            assert f"docs/operating.md#{name.lower()}" == rule["annotations"]["runbook"]
            assert rule["labels"]["severity"] in ("page", "ticket")


def test_rules_and_panels_name_only_metrics_that_there_are() -> None:
    """A metric that is renamed is renamed here, too; and no family that somebody counts is on no panel."""
    panels = [target["expr"] for panel in panels_of(dashboard.dashboard()) for target in panel["targets"]]
    queries = " ".join([*panels, *(str(rule["expr"]) for rule in rules())])
    named = {re.sub("_(bucket|sum|count)$", "", name) for name in re.findall(rf"\b{PREFIX}(\w+)", queries)}

    assert set(FAMILIES) == named


def test_the_dashboard_that_is_shipped_is_current() -> None:
    """`make dashboard` was run after the last change of deploy/dashboard.py; ids and places are nobody else's."""
    assert dashboard.as_text() == (DEPLOY / "grafana.json").read_text()
    shipped = json.loads((DEPLOY / "grafana.json").read_text())["panels"]
    assert len(shipped) == len({panel["id"] for panel in shipped})
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in shipped]
    assert len(places) == len(set(places))


def test_the_scrape_configuration_is_good() -> None:
    """As it is shipped, with the rules it names."""
    done = subprocess.run(
        [program("promtool"), "check", "config", str(DEPLOY / "prometheus.yml")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stdout + done.stderr
    assert ["rules.yml"] == yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["rule_files"]
