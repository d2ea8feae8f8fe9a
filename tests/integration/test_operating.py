"""Operating it: a real Prometheus watches a real system, panels show it, alerts fire and clear."""

from __future__ import annotations

import json
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from quantum_ops import streams
from tests.contract.reference import ROOT, metrics
from tests.operating_rig import Operated
from tests.prometheus import RATE, promtool
from tests.waiting import wait_until

FULL = os.environ.get("QUANTUM_FAULTS") == "full"
pytestmark = [pytest.mark.slow, pytest.mark.whole, pytest.mark.timeout(600 if FULL else 240)]


@pytest.fixture(scope="module")
def operated():
    # In full rounds alerts hold for as long as they say, otherwise they fire with their condition
    made = Operated(patient=FULL)
    # Behind from the beginning, so that somebody is when it is asked who is
    made.type("./run supervisorctl stop order_proof:order_proof-00")
    yield made
    made.close()


def panels():
    for name in ("operations", "consumer"):
        board = json.loads((ROOT / "ops" / "grafana" / "dashboards" / f"{name}.json").read_text())
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                expr = target["expr"].replace("$__rate_interval", RATE).replace("$group", "p33")
                yield f"{name}: {panel['title']}: {expr}", expr


def test_each_panel_of_both_dashboards_shows_data(operated):
    # Given a Prometheus that scrapes the demo
    operated.prometheus.wait_scraped()
    # Then the queries of every panel give something, all of them at one moment
    empty: dict[str, str] = dict(panels())

    def filled():
        for name, expr in list(empty.items()):
            if operated.prometheus.query(expr):
                del empty[name]
        return not empty

    try:
        wait_until(filled, 60)
    except AssertionError:
        pytest.fail(f"no data: {sorted(empty)}")
    # And one process tells its own as docs/metrics.md says
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    [ask] = re.findall(r"```sh\n(python3 .*?)```", page, re.DOTALL)
    told = json.loads(operated.type(ask).stdout)
    assert any(family[0] == "quantum_handled" for family in told)
    # And what is served is sound, and stands in the catalogue
    served = operated.type("curl -s http://127.0.0.1:9790/metrics").stdout
    checked = promtool("check", "metrics", stdin=served)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    assert set(re.findall(r"(?m)^# TYPE (\S+) ", served)) <= set(metrics())


FAULTS = {
    "QuantumGateBehind": {"group": "p33", "stream": "apply.plan"},
    "QuantumUniverseStale": {},
    "QuantumDeadLetters": {"group": "ledger", "reason": "undecodable"},
}


def test_three_alerts_fire_with_their_fault_and_clear_with_its_cure(operated):
    # Given a consumer that is stopped, a producer that is stopped, an entry that nobody can read
    operated.prometheus.wait_scraped()
    done = operated.type("./run supervisorctl stop p33:p33-00 universe")
    assert done.returncode == 0, done.stdout
    operated.db.xadd(streams.DEPLOY_COMPLETED.key, {"operation": "no other field"})
    # And a consumer that is killed
    os.kill(operated.system.pids()["position_ledger-00"], signal.SIGKILL)
    # Then the three alerts fire, each for what is wrong, and link to a page that is there
    found = operated.wait_firing(*FAULTS, timeout_s=200 if FULL else 60)
    for name, labels in FAULTS.items():
        assert any(labels.items() <= alert["labels"].items() for alert in found[name]), found[name]
        assert (ROOT / found[name][0]["annotations"]["runbook_url"]).exists()
    assert re.search(r"Plans wait \d", found["QuantumGateBehind"][0]["annotations"]["summary"])
    # When each is cured as its runbook says
    letter = operated.type("./run dlq list --group ledger --reason undecodable").stdout.split()[0]
    operated.type(f"./run dlq drop {letter} --why 'a test wrote it'")
    done = operated.type("./run restart universe && ./run supervisorctl start p33:p33-00")
    assert done.returncode == 0, done.stdout + done.stderr
    # Then they clear; dead letters of others stand until somebody settles those
    operated.wait_clear("QuantumGateBehind", "QuantumUniverseStale")
    letters = 'quantum_dead_letters_open{reason="undecodable"}'
    wait_until(lambda: not operated.prometheus.query(letters), 20, "it is settled")
    # And the killed one came up again, which is counted
    again = 'quantum_process_restarts_total{program="position_ledger"} == 1'
    wait_until(lambda: operated.prometheus.query(again), 30, "it was started again")


READS = re.compile(r"```sh\n(.*?)```", re.DOTALL)
MEANT = {
    "./run audit": {0, 1, 2},  # a violation is open, something is unproven
    "./run status": {0, 3},
    "./run doctor": {0, 1},
    "./run universe": {0, 3},
    "./run lag": {0, 3},
    "bash ops/proof": {0, 1, 2},
    "./run proof": {0, 3},
}
"""Exit codes that are answers, of commands that give more than one."""


def commands() -> dict[str, str]:
    """Reading command -> the runbook that it stands in."""
    pages = sorted((ROOT / "docs" / "runbooks").glob("*.md"))
    return {
        line: page.name
        for page in pages
        for block in READS.findall(page.read_text(encoding="utf-8"))
        for line in block.splitlines()
    }


def kinds(lines: dict[str, str]) -> dict[str, str]:
    """One command of each kind: two that differ in a program's name only are of one."""
    names = "|".join(path.stem for path in (ROOT / "supervisor").glob("*.d/*.conf"))
    found: dict[str, str] = {}
    for line in lines:
        found.setdefault(re.sub(rf"(?<=[a-z] )({names})\b|\b\d+\b", "N", line[6:]), line)
    return {line: lines[line] for line in found.values()}


@pytest.fixture(scope="module")
def named(operated):
    """What stands for the names in capitals: a letter, a plan that was denied, an operation."""
    # The pretend trading side sends a plan that is none too, but may take over a minute to
    none = {"plan_id": "9f2d9f2d9f2d9f2d", "decision": "EXECUTE", "symbol": "BTCUSDT"}
    operated.db.xadd(streams.APPLY_PLAN.key, {**none, "side": "BUY", "qty": "NaN"})
    told = "./run dlq list --json --group p33 -n 1"
    letter = wait_until(lambda: operated.type(told).stdout, 60, "a plan that is none")
    entry = json.loads(letter)
    plan = dict(entry["original"])["plan_id"]
    return {"LETTER": entry["id"], "PLAN": plan}


def test_what_runbooks_tell_to_look_at_can_be_looked_at(operated, named):
    lines = commands()
    assert len(lines) > 40
    wrong = []

    def typed(line: str) -> None:
        real = line
        for name, value in named.items():
            real = re.sub(rf"\b{name}\b", value, real)
        done = operated.type(real, timeout_s=60)
        text = done.stdout + done.stderr
        meant = next((codes for start, codes in MEANT.items() if line.startswith(start)), {0})
        mute = not text and not line.startswith("./run tail")  # whose answer may be nothing
        if done.returncode not in meant or mute or "Traceback" in text or "usage:" in text:
            wrong.append(f"{lines[line]}: {line}: {done.returncode}\n{text[-500:]}")

    # Everything in full rounds; in every round one of each kind
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(typed, lines if FULL else kinds(lines)))
    assert wrong == []


def shape(line: str) -> str:
    """A line without what differs from day to day: numbers, spans, symbols, names, blanks."""
    line = re.sub(r"(\d[\d.]* [dhms]\b ?)+", "# ", line)
    line = re.sub(r"\b(?=\w*\d)[\w.:-]+|\b[A-Z]+USDT\b|\b(anna|ben)\b", "#", line)
    risk = "READ_ONLY|LOW_RISK_CONFIG|SERVICE_RESTART|FILESYSTEM_WRITE|BUY|SELL"
    return " ".join(re.sub(risk, "#", line).split())


def test_the_five_questions_of_the_readme_are_answered_as_it_shows(operated, named):
    # Given the commands and the answers that the README shows
    section = (
        (ROOT / "README.md").read_text().partition("## Five questions")[2].partition("\n## ")[0]
    )
    rows = re.findall(r"(?m)^\| (.*)\? \| (.*) \|$", section)
    assert len(rows) == 5
    block = section.partition("```\n")[2].partition("```")[0]
    shown = dict(part.split("\n", 1) for part in block.split("$ ")[1:])
    table = " ".join(commands for _, commands in rows)
    for command in re.findall(r"`(.*?)`", table):
        assert command.rsplit(" ", 1)[0] in block
    # Given a plan in a symbol that nobody lists; on its fallback the gate denies others as well
    listed = json.loads(operated.type("./run universe --json").stdout)["symbols"]

    def refused():
        decided = operated.type("./run decisions -n 1000 --json").stdout.splitlines()
        return [
            one
            for one in map(json.loads, decided)
            if one["reason"] == "symbol_not_allowed" and one["symbol"] not in listed
        ]

    denied = wait_until(refused, 60, "a plan in a symbol that nobody lists")
    real = {"c26a112a2e6bbd52": denied[-1]["plan_id"], "1795658547184-0": named["LETTER"]}
    # Then each is answered by one line that is typed
    for command, answer in shown.items():
        line = command
        for old, new in real.items():
            line = line.replace(old, new)

        def answered(line=line, answer=answer):
            done = operated.type(line)
            told = {shape(one) for one in (done.stdout + done.stderr).splitlines()}
            wanted = {shape(one) for one in answer.splitlines() if one and one != "..."}
            return done.returncode in {0, 3} and wanted <= told

        # The pretend exchange fails now and then, and somebody has to be behind for long enough
        wait_until(answered, 60, f"{line}: {answer}")
