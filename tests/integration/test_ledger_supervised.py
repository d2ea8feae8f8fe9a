"""The ledger as an operator meets it: one XADD to the supervised system, and the entry stands."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from quantum_ops import streams
from quantum_ops.ledger.folder import Folder
from quantum_ops.ledger.verify import verify
from tests.script_box import without
from tests.signoff_rig import DEPLOY
from tests.supervised import System
from tests.waiting import wait_until
from tests.yaml_readers import READERS, same

XADD = """redis-cli -p {port} -e XADD quantum:stream:deploy.completed '*' operation "P2.7 Deploy — \
Portfolio Clusters" objective "..." risk_class SERVICE_RESTART blast_radius "..." changes_summary \
"fix #42: it's \\"done\\"" """


@pytest.fixture
def system():
    made = System()
    yield made
    made.close()


def entries(system):
    """The entries of the changelog, as every reader of YAML at hand finds them."""
    path = system.tree / "docs" / "OPS_CHANGELOG.md"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    found = [READERS["ours"](one) for one in blocks]
    for read in READERS.values():
        assert all(same(read(one), known) for one, known in zip(blocks, found, strict=True))
    return found


@pytest.mark.slow
@without("redis-cli", "redis-tools")
def test_one_xadd_and_the_entry_stands_parses_and_verifies(system):
    system.start()
    assert system.pids()["ledger-00"]
    # Starting writes nothing that is for git
    assert not (system.tree / "docs" / "OPS_CHANGELOG.md").exists()
    command = XADD.format(port=system.port)
    sent = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    [found] = wait_until(lambda: entries(system), 10, "the entry stands in the changelog")
    assert found["operation_name"] == "P2.7 Deploy — Portfolio Clusters"
    assert found["changes_summary"] == 'fix #42: it\'s "done"'
    folder = Folder.find({}, system.tree)
    assert verify(folder).ok
    month = next(iter(folder.base.glob("2*.yaml")))
    assert READERS["ours"](month.read_text())["operation_id"] == found["operation_id"]
    # It is told of with the id of the entry that was sent, and shown in the heartbeat
    db = system.connect()
    told = wait_until(lambda: db.xrange(streams.LEDGER_RECORDED.key), 10, "it is told of")
    assert told[0][1][b"source_id"] == sent.stdout.strip().encode()
    assert told[0][1][b"operation_id"] == found["operation_id"].encode()
    # A script that sent it asks for what became of it
    source = f"deploy.completed/{sent.stdout.strip()}"
    asked = system.verb("ledger", "show", "--source", source, "--wait", "10", "--json")
    assert json.loads(asked.stdout)["id"] == found["operation_id"]
    beat = streams.heartbeat("ledger", 0)
    wait_until(lambda: db.hget(beat, "entries") == b"1", 10, "the heartbeat counts it")
    # A malformed one is refused in words that name the field, and the letter shows it
    subprocess.run(["sh", "-c", command.replace("SERVICE_RESTART", "RISKY")], check=True)
    wait_until(lambda: db.xlen(streams.DEAD_LETTER.key) == 1, 10, "it is buried")
    shown = system.verb("dlq", "list").stdout
    assert "field 'risk_class': 'RISKY': is none of READ_ONLY, LOW_RISK_CONFIG" in shown
    # And what a killed consumer leaves is done by the next one
    os.kill(system.pids()["ledger-00"], signal.SIGKILL)
    subprocess.run(["sh", "-c", command], check=True)
    wait_until(lambda: len(entries(system)) == 2, 15, "the second entry")
    wait_until(lambda: db.xlen(streams.LEDGER_RECORDED.key) == 2, 10, "it is told of, too")


@pytest.mark.slow
def test_settings_from_a_file_lead_consumer_and_verbs_to_one_ledger_and_a_second_stands_by(system):
    # given a ledger that a settings file puts elsewhere
    elsewhere = system.folder / "elsewhere"
    settings = system.folder / "env"
    settings.mkdir()
    (settings / "ledger.env").write_text(f"LEDGER_DIR={elsewhere}\nSTRICT_LEDGER=true\n")
    system.start()
    assert system.verb("scale", "ledger", "2").returncode == 0
    # when a deploy is told, and one is added by hand
    db = system.connect()
    db.xadd(streams.DEPLOY_COMPLETED.key, DEPLOY)
    wait_until(lambda: db.xlen(streams.LEDGER_RECORDED.key) == 1, 15, "recorded and told of")
    words = {f"--{name}": text for name, text in {**DEPLOY, "operation": "by hand"}.items()}
    flat = [part for pair in words.items() for part in pair]
    assert system.verb("ledger", "add", *flat).returncode == 0
    wait_until(lambda: db.xlen(streams.LEDGER_RECORDED.key) == 2, 15, "told of, too")
    # then both stand there, and the verb that asks finds them
    assert (elsewhere / "OPS_CHANGELOG.md").exists()
    listed = system.verb("ledger", "list").stdout
    assert "by hand" in listed
    assert "P2.7 Deploy" in listed
    assert system.verb("ledger", "verify").returncode == 0
    assert system.verb("ledger", "add", *flat, "--outcome", "ROLLBACK").returncode == 1
    # and one of the two processes is at work, the other one stands by
    ready = {one["name"]: one["ready"] for one in system.status()["processes"]}
    assert {ready["ledger-00"], ready["ledger-01"]} == {"READY", "STANDBY"}


@pytest.mark.slow
def test_a_wrong_setting_is_refused_in_words(system):
    refused = subprocess.run(
        [sys.executable, "-m", "consumers", "ledger"], cwd=system.tree, check=False,
        capture_output=True, text=True, timeout=60,
        env={**system.environ, "LEDGER_ORIGIN": "two words", "REDIS_HOST": "127.0.0.1"},
    )  # fmt: skip
    assert refused.returncode == 78
    assert "LEDGER_ORIGIN: 'two words' must have neither spaces nor '+'" in refused.stderr
