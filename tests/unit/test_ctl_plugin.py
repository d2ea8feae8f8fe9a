"""What the supervisorctl plugin makes of a line, with a controller of paper."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace

import pytest

from ops import ctl_plugin
from ops.paths import ROOT, Paths
from tests.unit.test_warden_rules import process

PROCESSES = [
    process(),
    process("STOPPED", pid=0, name="p33-01", group="p33_spare", autostart=False),
    process(name="universe", group="universe", command="x -m producers universe"),
    process(name="redis", group="redis", command="x -m ops server"),
]


class Controller:
    """As much of supervisorctl's as the plugin touches."""

    def __init__(self, *args: str) -> None:
        url = f"unix://{ROOT}/var/run/supervisor.sock"
        self.options = SimpleNamespace(serverurl=url, args=list(args), interactive=not args)
        self.exitstatus = 0
        self.said: list[str] = []
        self.ran: list[str] = []

    def output(self, text: str) -> None:
        self.said.append(text)

    def onecmd(self, line: str) -> None:
        self.ran.append(line)


def test_roles_stand_for_their_processes_and_spares_stay_out_of_starts():
    assert ctl_plugin.expand("status", ["consumers:*"], PROCESSES, {}) == [
        "p33:p33-00", "p33_spare:p33-01",
    ]  # fmt: skip
    assert ctl_plugin.expand("restart", ["consumers:"], PROCESSES, {}) == ["p33:p33-00"]
    assert ctl_plugin.expand("start", ["consumers:*"], PROCESSES, {"p33": 2}) == [
        "p33:p33-00", "p33_spare:p33-01",
    ]  # fmt: skip
    assert ctl_plugin.expand("stop", ["redis", "producers:*"], PROCESSES, {}) == [
        "redis", "universe:universe",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("args", "verb"),
    [
        (("hold", "p33", "--why", "a  b"), ["hold", "p33", "--why", "a  b"]),
        (("lag", "--max", "5"), ["lag", "--max", "5"]),
        (("tail", "-n", "5", "ops.process", "symbol=BTCUSDT"),
         ["tail", "-n", "5", "ops.process", "symbol=BTCUSDT"]),
        (("tail", "-f", "p33:p33-00"), None),
        (("status", "p33:*"), None),
    ],
)  # fmt: skip
def test_verbs_are_ours_word_for_word_and_everything_else_is_supervisorctls(
    monkeypatch, tmp_path, args, verb
):
    ran = []

    def run(command, **_):
        ran.append(command[3:])
        return SimpleNamespace(returncode=3)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setenv("QUANTUM_HOME", str(tmp_path))
    controller = Controller(*args)
    plugin = ctl_plugin.make(controller)
    line = " ".join(args)
    if verb is not None and args[0] != "tail":
        getattr(plugin, f"do_{args[0]}")(" ".join(args[1:]))
    else:
        controller.onecmd(line)
    assert ran == ([verb] if verb else [])
    assert controller.ran == ([] if verb else [line])
    assert controller.exitstatus == (3 if verb else 0)


def test_the_place_of_the_checkout_means_where_quantum_home_says(monkeypatch, tmp_path):
    monkeypatch.setenv("QUANTUM_HOME", str(tmp_path))
    controller = Controller("status")
    ctl_plugin.make(controller)
    assert controller.options.serverurl == f"unix://{Paths.find().supervisor_socket}"
    # while an address that somebody gave is left alone, and roles there are an error, no crash
    elsewhere = Controller("status")
    elsewhere.options.serverurl = f"unix://{tmp_path}/other.sock"
    ctl_plugin.make(elsewhere)
    elsewhere.onecmd("status consumers:*")
    assert elsewhere.exitstatus == 4
    assert "other.sock" in elsewhere.said[0]
