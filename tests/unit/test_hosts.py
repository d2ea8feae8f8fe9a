"""How processes of several hosts are named, heard of, and kept where their files are."""

from __future__ import annotations

import pytest

from ops import hosts
from ops.hosts import judge
from ops.output import plain
from quantum_ops import heartbeat, home, host, streams
from quantum_ops.clock import Clock
from quantum_ops.consumer import consumer
from quantum_ops.context import Context
from quantum_ops.errors import ConfigurationError, Hold
from quantum_ops.heartbeat import Heartbeat, everywhere
from tests.backends import fake

NOW = 1_795_000_000_000


def beat(**fields) -> dict[str, str]:
    return {"state": "ready", "updated_ms": str(NOW - 2000), "host": "a", "pid": "7", **fields}


@pytest.mark.parametrize(
    ("token", "heard_ms", "fields", "ready", "where"),
    [
        ("a.0", NOW, beat(), "READY", "a"),
        ("0", 0, beat(host="box"), "READY", "box"),
        ("a.1", NOW, beat(state="standby"), "STANDBY", "a"),
        ("a.1", NOW, beat(state="waiting"), "WAITING", "a"),
        ("a.1", NOW, beat(state="odd"), "STALE", "a"),
        ("a.1", NOW, beat(updated_ms=str(NOW - 16_000)), "STALE", "a"),
        ("a.1", NOW, beat(updated_ms="\u0663"), "STALE", "a"),
        ("b.0", NOW - 60_000, {}, "SILENT", "b"),
    ],
)
def test_a_process_is_judged_by_its_last_word(token, heard_ms, fields, ready, where):
    found = judge("p33", token, heard_ms, fields, NOW)
    assert (found.ready, found.host, found.is_fine) == (ready, where, ready in ("READY", "STANDBY"))
    assert found.process == f"p33-0{token[-1]}"


def test_nobody_is_not_ready_and_one_who_is_silent_spoils_it():
    assert not hosts.is_ready([])
    good, bad = judge("p33", "a.0", NOW, beat(), NOW), judge("p33", "b.0", NOW - 60_000, {}, NOW)
    assert hosts.is_ready([good])
    assert not hosts.is_ready([good, bad])
    lines = hosts.as_lines([good, bad], plain)
    assert lines[-1] == "2 hosts   NOT READY: 1 of 2 processes"


def test_hostile_words_stay_in_their_line():
    found = judge("p33", "a.0", NOW, beat(detail="x\n\x1b[2J", version="\x1b]0;"), NOW)
    text = "\n".join(hosts.as_lines([found], plain))
    assert "\x1b" not in text
    assert len(text.splitlines()) == 4


def test_a_host_with_a_name_is_told_from_others_and_remembered(monkeypatch):
    db = fake().db
    # Given processes of two hosts and of one without a name, all number 0
    for name in ("a", "b", ""):
        monkeypatch.setenv("QUANTUM_HOST", name)
        Heartbeat(db, "p33").beat("ready", force=True)
    found = everywhere(db, "p33", 2)
    assert sorted(found) == ["0", "a.0", "b.0"]
    assert {found[token][1]["host"] for token in ("a.0", "b.0")} == {"a", "b"}
    # When one of them dies and another one leaves
    monkeypatch.setenv("QUANTUM_HOST", "a")
    Heartbeat(db, "p33").stop()
    db.delete(streams.heartbeat("p33", "b.0"))
    # Then the dead is spoken of
    found = everywhere(db, "p33", 2)
    assert sorted(found) == ["0", "b.0"]
    assert found["b.0"][1] == {}
    # But not for ever
    monkeypatch.setattr(heartbeat, "GONE_MS", -1)
    assert sorted(everywhere(db, "p33", 2)) == ["0"]


@pytest.mark.parametrize("name", ["a.b", "a:b", "-a", "a b", "a" * 64, "\u00e4"])
def test_names_that_would_spoil_keys_are_refused(name, monkeypatch):
    monkeypatch.setenv("QUANTUM_HOST", name)
    with pytest.raises(ConfigurationError, match="QUANTUM_HOST"):
        host.named()


def test_a_program_with_files_works_on_its_home_and_nowhere_else(monkeypatch):
    @consumer(streams.AUDIT_FINDING, effects_outside="files")
    def keeper(_event, _context):
        """Writes files."""

    context = Context("keeper", fake().db, None, Clock())
    # Given the first host to run it
    home.kept(keeper, "a").hold(context)
    # Then another one stands by, and says what to do
    other = home.kept(keeper, "b")
    with pytest.raises(Hold, match=r"on host a.*SET quantum:ops:home:keeper b") as held:
        other.hold(context)
    assert held.value.standby
    # Until it is moved
    context.db.set(streams.home("keeper"), "b")
    other.hold(context)
    # And without a name, or without files, nothing changes
    assert home.kept(keeper, "") is keeper
