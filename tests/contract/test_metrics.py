"""Metrics, alerts, dashboards and runbooks hang together: what one names, the other has."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from ops.exporter import catalogue
from quantum_ops.measures import Registry, of_process
from quantum_ops.metrics import MetricsObserver
from quantum_ops.metrics_port import Told
from quantum_ops.observe import BatchReport, Trouble
from tests.contract.reference import ROOT, metrics
from tests.prometheus import FOLDER, promtool

METRICS = metrics()
UNITS = ("seconds", "bytes", "entries", "symbols")
UNITLESS = frozenset({
    "quantum_group_lag_exact", "quantum_universe_stale", "quantum_universe_epoch",
    "quantum_allowlist_source", "quantum_allowlist_epoch", "quantum_violations_open",
    "quantum_dead_letters_open", "quantum_archive_untold_findings", "quantum_process_ready",
    "quantum_process_answers", "quantum_collector_up", "quantum_build_info", "process_open_fds",
    "process_max_fds",
})  # fmt: skip
LABELS = frozenset({
    "group", "stream", "outcome", "reason", "process", "program", "source", "gate", "verdict",
    "auditor", "severity", "version",
})  # fmt: skip
ALERTS = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
RULE_TESTS = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]
BOARDS = {
    path.stem: json.loads(path.read_text())
    for path in sorted((ROOT / "ops" / "grafana" / "dashboards").glob("*.json"))
}
RUNBOOKS = ROOT / "docs" / "runbooks"
USED = re.compile(r"\b(?:quantum|process)_[a-z_]+\b(?!=)")


def unknown(expr: str) -> set[str]:
    """Metrics in ``expr`` that nobody serves."""
    bare = re.sub(r"\{[^}]*\}|by \([^)]*\)|on \([^)]*\)|group_\w+ \([^)]*\)", "", expr)
    found = set(USED.findall(bare))
    return {one for one in found if re.sub(r"_(bucket|sum|count)$", "", one) not in METRICS}


@pytest.mark.parametrize("name", METRICS)
def test_metric_has_a_base_unit_and_labels_from_closed_sets(name):
    kind, labels, doc = METRICS[name]
    assert re.fullmatch(r"(quantum|process)_[a-z_]+", name)
    assert doc.endswith(".")
    assert set(labels) <= LABELS, "no ids, no symbols, no names of consumers"
    if kind == "counter":
        assert name.endswith("_total")
    else:
        assert not name.endswith("_total")
        assert name.endswith(UNITS) or name in UNITLESS, "say in which unit it is"


def test_promtool_finds_nothing_to_say_about_the_metrics():
    done = promtool("check", "metrics", stdin=exposition())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    # And it would: a counter without its suffix
    wrong = exposition().replace("quantum_retries_total", "quantum_retries")
    assert promtool("check", "metrics", stdin=wrong).returncode == 3


def exposition() -> str:
    """Every metric with a value."""
    told, registry = Registry(), CollectorRegistry()
    observer = MetricsObserver(told)
    told.add(of_process)
    observer.expect("p33")
    observer.settled(BatchReport("p33", acked=1, durations_s=[0.1], ages_s=[0.1]))
    observer.trouble(Trouble("p33", "retry", reason="asked"))

    registry.register(Told(told))

    class All(Collector):
        def collect(self):
            for measure in catalogue.ALL:
                yield measure.of(1, *measure.labels)

    registry.register(All())
    return generate_latest(registry).decode()


def test_rules_and_configuration_are_sound_and_every_alert_fires_and_clears(tmp_path):
    assert promtool("check", "rules", "alerts.yml").returncode == 0
    config = promtool("check", "config", "prometheus.yml")
    assert config.returncode == 0, config.stderr
    done = promtool("test", "rules", "alerts_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    # And the tests would notice alerts that hold back for hours
    shutil.copy(FOLDER / "alerts_test.yml", tmp_path)
    rules = (FOLDER / "alerts.yml").read_text()
    (tmp_path / "alerts.yml").write_text(re.sub(r"(?m)^( +for: ).*$", r"\g<1>9h", rules))
    done = promtool("test", "rules", "alerts_test.yml", cwd=tmp_path)
    silent = {rule["alert"] for rule in ALERTS if "for" in rule}
    assert {name for name in silent if f"alertname: {name}," in done.stdout + done.stderr} == silent


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_alert_uses_what_is_served_and_has_its_runbook_and_its_test(rule):
    name = rule["alert"]
    assert unknown(rule["expr"]) == set()
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"]["summary"].endswith(".")
    page = rule["annotations"]["runbook_url"]
    assert page.startswith("{{ $externalLabels.runbooks }}/")
    text = (RUNBOOKS / page.rpartition("/")[2]).read_text(encoding="utf-8")
    assert f"\n`{name}`, {rule['labels']['severity']}. " in text
    assert "\n## Look\n\n```sh\n" in text
    assert "\n## Do\n" in text
    [test] = [one for one in RULE_TESTS if one["name"] == name]
    fires, clears = test["alert_rule_test"]
    assert (len(fires["exp_alerts"]), clears["exp_alerts"]) == (1, [])
    assert fires["alertname"] == clears["alertname"] == name


def test_every_runbook_belongs_to_an_alert():
    pages = {rule["annotations"]["runbook_url"].rpartition("/")[2] for rule in ALERTS}
    assert {path.name for path in RUNBOOKS.glob("*.md")} == pages


def test_every_measure_is_seen_on_a_dashboard_or_alerted_on():
    told = json.dumps(BOARDS) + json.dumps(ALERTS)
    # Of little worth on a page: for whoever looks closer.
    quiet = {
        "process_virtual_memory_bytes", "process_start_time_seconds", "process_open_fds",
        "process_max_fds", "quantum_allowlist_symbols", "quantum_collector_duration_seconds",
        "quantum_build_info",
    }  # fmt: skip
    assert {name for name in METRICS if name not in told} <= quiet


def each_panel():
    for name, board in BOARDS.items():
        for panel in board["panels"]:
            if panel["type"] != "row":
                yield pytest.param(panel, id=f"{name}: {panel['title']}")


@pytest.mark.parametrize("panel", list(each_panel()))
def test_panel_says_what_it_shows_in_which_unit_and_of_what_is_served(panel):
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    for part in (panel, *panel["targets"]):
        assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for target in panel["targets"]:
        expr = target["expr"]
        assert unknown(expr) == set()
        for window in re.findall(r"\brate\(.*?\[([^]]+)\]\)", expr):
            assert window == "$__rate_interval"
        for seconds in re.findall(r"quantum_\w+_seconds", expr):
            assert panel["fieldConfig"]["defaults"]["unit"] == "s", seconds


@pytest.mark.parametrize("name", BOARDS)
def test_dashboard_names_no_data_source_and_nothing_twice(name):
    board = BOARDS[name]
    assert board["editable"] is False
    assert board["uid"] == f"quantum-{name}"
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    [source] = [one for one in board["templating"]["list"] if one["type"] == "datasource"]
    assert (source["name"], source["query"]) == ("datasource", "prometheus")
    uids = set(re.findall(r'"uid": "([^"]+)"', json.dumps(board)))
    assert uids == {"${datasource}", board["uid"]}
    for runbook in re.findall(r"Runbook: ([a-z-]+)\.", json.dumps(board)):
        assert (RUNBOOKS / f"{runbook}.md").exists(), runbook


def test_every_expression_is_one_that_prometheus_takes(tmp_path):
    rules = [
        {"record": f"panel:{at}", "expr": target["expr"].replace("$__rate_interval", "1m")}
        for at, target in enumerate(
            target
            for board in BOARDS.values()
            for panel in board["panels"]
            for target in panel.get("targets", ())
        )
    ]
    (tmp_path / "panels.yml").write_text(
        yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]})
    )
    done = promtool("check", "rules", "panels.yml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_grafana_is_given_files_that_it_reads():
    folder = ROOT / "ops" / "grafana" / "provisioning"
    [boards] = yaml.safe_load((folder / "dashboards" / "quantum-ops.yml").read_text())["providers"]
    assert (boards["type"], boards["options"]["path"]) == ("file", "$QUANTUM_DASHBOARDS")
    [source] = yaml.safe_load((folder / "datasources" / "quantum-ops.yml").read_text())[
        "datasources"
    ]
    assert (source["type"], source["url"]) == ("prometheus", "$QUANTUM_PROMETHEUS")
    step = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == step
