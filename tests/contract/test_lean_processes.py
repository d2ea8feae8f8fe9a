"""The only place that holds what a process imports to what it uses.

A dozen processes run on one host, and each pays for every module that it imports. What stands here
once cost all of them, for nothing: it is imported where it is used, by whoever uses it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {
    "prometheus_client": "2 MiB; the exporter answers Prometheus, or quantum_ops.metrics_port",
    "http.server": "1 MiB; came with prometheus_client",
    "cryptography.hazmat": "7 MiB; a gate or an auditor that has a key imports it (permits.keys)",
    "structlog": "5 MiB where rich and pygments are, too; quantum_ops.logs does without",
    "rich": "see structlog",
    "ctypes": "prctl under supervisord wants it (lifeline), nothing else",
    "difflib": "hints in errors only",
    "quantum_ops.settings.warden": "half a MiB; sections are imported by who loads them",
    "supervisor": "operators talk to supervisord, programs do not",
}
CONSUMERS = """
from quantum_ops import consumer, program
import consumers.__main__
for name in consumer.names("consumers"):
    consumer.find("consumers", name)
"""
PRODUCERS = """
import producers.__main__, producers.universe, producers.universe_check, producers.positions
"""


@pytest.mark.parametrize("code", [CONSUMERS, PRODUCERS], ids=["consumers", "producers"])
def test_no_process_imports_what_it_does_not_use(code):
    # given a process that has imported all that any consumer (or producer) is made of
    told = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport json, sys\nprint(json.dumps(list(sys.modules)))"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    loaded = set(json.loads(told))
    # then it is the whole of it, and nothing heavy is among it
    assert {"walrus", "quantum_ops.heartbeat", "quantum_ops.metrics_socket"} <= loaded
    assert {name: why for name, why in HEAVY.items() if name in loaded} == {}


RUNNING = """
import gc, sys
from quantum_ops import consumer, program

class Standing:
    handled = 0
    def run(self):
        print(gc.get_freeze_count(), len(gc.get_objects()), file=sys.stderr)
    def stop(self): pass

program.build = lambda *_: (Standing(), Standing())
sys.exit(program.run(consumer.find("consumers", "order_proof")))
"""


def test_the_collector_does_not_look_at_what_a_process_is_made_of(tmp_path):
    # given a live consumer at the moment when it begins to run
    done = subprocess.run(
        [sys.executable, "-c", RUNNING], cwd=ROOT, capture_output=True, text=True, check=True,
        env={"PATH": "", "QUANTUM_ENV_DIR": str(tmp_path)},
    )  # fmt: skip
    # then its modules are frozen, and next to nothing is left to look at
    frozen, looked_at = map(int, done.stderr.split())
    assert frozen > 20_000
    assert looked_at < 500


def test_what_is_imported_late_is_there_for_whoever_asks():
    from quantum_ops import permits, settings

    assert [section.__name__ for section in settings.SECTIONS] == [
        name for name in settings._HOMES if getattr(settings, name)
    ]
    assert set(settings.__all__) == {"SECTIONS", *settings._HOMES}
    assert all(getattr(permits, name) for name in permits.__all__)
    for package in (permits, settings):
        with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
            _ = package.nothing
