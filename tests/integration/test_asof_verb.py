"""`./run as-of`, `./run universe diff` and `history` as an operator types them, on files alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from ops.__main__ import entry as run
from quantum_ops import streams
from quantum_ops.events import ApplyPlan, ApplyResult
from quantum_ops.ledger import outbox
from tests.archive_rig import T0
from tests.asof_rig import Past, changed, decided, finding, recorded
from tests.ledger_story import Ledger

MOMENT = datetime.fromtimestamp(T0 / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def past(tmp_path, monkeypatch):
    """A small history: two universes, one plan that was denied, one that was executed."""
    monkeypatch.setenv("QUANTUM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("QUANTUM_CALLED_FROM", str(tmp_path))
    monkeypatch.setenv("LEDGER_DIR", str(tmp_path / "ledger"))
    monkeypatch.delenv("ARCHIVE_DIR", raising=False)
    made = Past(tmp_path / "home" / "archive")
    made.tell(0, changed(1, "BTCUSDT ETHUSDT", added="BTCUSDT ETHUSDT"))
    made.tell(1000, ApplyPlan(plan_id="good", decision="EXECUTE", symbol="BTCUSDT"))
    made.tell(1001, decided("good", "sanity_checks_passed", allow=True))
    made.tell(1500, ApplyResult(plan_id="good", executed=True, symbol="BTCUSDT", order_id="77"))
    made.archive(seal=True)
    made.tell(2000, changed(2, "ETHUSDT", removed="BTCUSDT"))
    made.tell(3000, ApplyPlan(plan_id="bad\x1b[2J", decision="EXECUTE", symbol="BTCUSDT"))
    made.tell(3001, decided("bad\x1b[2J", "symbol_not_allowed", epoch=2))
    made.tell(3500, finding("universe", "universe_stale", detail="http_429"))
    made.archive()
    return made


@pytest.fixture
def ask(past, capsys):
    def typed(*words: str) -> tuple[int, str, str]:
        code = run(list(words))
        told = capsys.readouterr()
        return code, told.out, told.err

    return typed


def answer(ask, *words: str):
    code, out, err = ask(*words, "--json")
    assert code == 0, err
    return json.loads(out)


def test_the_universe_at_moments_however_they_are_written(ask):
    for moment, epoch in ((MOMENT, 1), (f"@{MOMENT}", 1), (f"{T0 + 1999}-0", 1),
                          (f"{T0 + 2000}-0", 2), ("now", 2), ("-0s", 2)):  # fmt: skip
        assert answer(ask, "as-of", moment, "universe")["epoch"] == epoch
    one = answer(ask, "as-of", MOMENT, "universe")
    assert one["as_of"] == MOMENT.replace("Z", ".000Z")
    assert one["rests_on"] == [[streams.UNIVERSE_CHANGED.key, f"{T0}-0"]]
    assert (one["symbols"], one["status"]) == (["BTCUSDT", "ETHUSDT"], "fresh")
    code, out, _ = ask("as-of", "now", "universe")
    assert code == 0
    assert "status       stale: http_429" in out
    assert f"rests on     universe.changed {T0 + 2000}-0" in out


def test_why_a_plan_was_denied_or_permitted_and_what_an_order_was_of(ask):
    code, out, _ = ask("as-of", f"{T0 + 3400}-0", "permits", "bad\x1b[2J")
    assert (code, "\x1b" in out) == (0, False)
    assert "verdict      denied: symbol_not_allowed: the symbol is not on the allowlist" in out
    assert "BTCUSDT not allowed; not in the universe of epoch 2 (fresh)" in out
    good = answer(ask, "as-of", "now", "permits", "good")
    assert (good["verdict"], good["symbol"]["listed"]) == ("permitted", True)
    order = answer(ask, "as-of", "now", "order", "77")
    assert [one["plan_id"] for one in order["executions"]] == ["good"]
    assert "named in order_id" in ask("as-of", "now", "order", "77")[1]


def test_what_is_not_there_and_what_was_not_there_yet(ask):
    for words, code, told in (
        (["as-of", "now", "permits", "nobody"], 4, "no plan nobody is in the archive"),
        (["as-of", "now", "order", "1"], 4, "no order 1 is in the archive"),
        (["as-of", MOMENT, "permits", "good"], 75, "first told of at 2026-01-27T06:15:31.000Z"),
        (["as-of", "2020-01-01", "universe"], 75, "no universe was told of by 2020-01-01T00:00"),
        (["as-of", "now", "ledger"], 75, "nothing was recorded by"),
        (["universe", "diff", "2020-01-01", "2020-01-02"], 75, "no universe was told of by"),
        (["universe", "history", "NOSUCH"], 4, "ever named a symbol NOSUCH"),
        (["as-of", "now", "universe", "--archive", "/nowhere"], 4, "no archive there"),
        (["as-of", "never", "universe"], 2, "'never' is no moment; write 2026-01-27T06:15:30Z"),
        (["as-of", "-10", "universe"], 2, "'-10' is no moment"),
        (["universe", "diff", "now", "-1h"], 2, "is later than T2; write it the other way"),
    ):
        found, out, err = ask(*words)
        assert (found, out, told in err) == (code, "", True), (words, err)
    for words in ("permits", "universe x", "order x --effective", "nonsense", "ledger -n 0"):
        with pytest.raises(SystemExit) as stopped:
            ask("as-of", "now", *words.split())
        assert stopped.value.code == 2


def test_what_an_answer_cannot_know_and_what_made_it_slow_is_said_beside_it(ask, past):
    _, out, err = ask("as-of", "now", "universe")
    assert "the archive ends at 2026-01-27T06:15:33.500Z; what came later is not" in err
    [lookup] = past.base.glob("*.lookup")
    good = lookup.read_bytes()
    lookup.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    _, again, slow = ask("as-of", "now", "permits", "good")
    assert "was read as a whole: its lookup file page 1 is not the one that was written" in slow
    assert "verdict      permitted" in again
    code, told, _ = ask("archive", "verify")
    assert (code, "make it anew with: ./run archive reindex" in told) == (2, True)
    assert ask("archive", "reindex")[0] == 0
    assert lookup.read_bytes() == good
    assert ask("as-of", "now", "universe")[1] == out


def test_the_ledger_by_its_journal_and_with_later_rollbacks(ask, past, tmp_path):
    # Given a journal: an operation, and the operation that took it back
    kept = Ledger(tmp_path / "ledger")
    first = kept.one("One")
    undo = kept.one("Undo", outcome="ROLLBACK", rollback_of=first.operation_id)
    for record, line in zip(kept.records(), kept.lines(), strict=True):
        told = {"entry_sha256": outbox.sha256(line), "operation_id": record["id"]}
        past.tell(4000 + 1000 * record["seq"], recorded(record["seq"], **told))
    past.archive()
    then = f"{T0 + 5000}-0"
    [one] = answer(ask, "as-of", then, "ledger")["entries"]
    assert (one["operation"], one["outcome"]) == ("Operation One", "SUCCESS")
    assert one["rolled_back_by"] == []
    [one] = answer(ask, "as-of", then, "ledger", "--effective")["entries"]
    assert [by["seq"] for by in one["rolled_back_by"]] == [2]
    code, out, _ = ask("as-of", "now", "ledger")
    assert code == 0
    assert f"Operation One  <- rolled back by {undo.operation_id} (record 2)" in out
    # And a journal that was rewritten since is not believed
    content = kept.segment.read_bytes()
    kept.segment.write_bytes(content.replace(b"Operation One", b"Operation Two"))
    [one] = answer(ask, "as-of", then, "ledger")["entries"]
    assert one["operation"] == ""


def test_what_changed_and_the_history_of_a_symbol(ask):
    code, out, _ = ask("universe", "diff", MOMENT, "now")
    assert (code, "- BTCUSDT" in out, "1 changes between" in out) == (0, True, True)
    made = answer(ask, "universe", "diff", MOMENT)
    assert (made["removed"], made["after"]["epoch"]) == (["BTCUSDT"], 2)
    assert "no difference" in ask("universe", "diff", "now", "now")[1]
    code, out, _ = ask("universe", "history", "BTCUSDT")
    assert code == 0
    assert [line.split()[-1] for line in out.splitlines()] == ["universe", "left", "universe"]
    steps = answer(ask, "universe", "history", "BTCUSDT")["steps"]
    assert [one["what"] for one in steps] == ["entered", "left"]


def test_an_answer_is_proven_and_the_proof_holds_elsewhere(ask, tmp_path):
    code, out, err = ask("as-of", f"{T0 + 3400}-0", "permits", "good", "--prove", "good.proof")
    assert (code, "verdict" in out, "entries proven" in err) == (0, True, True)
    assert ask("verify", str(tmp_path / "good.proof"))[0] == 0
    bundle = json.loads(ask("as-of", "now", "order", "77", "--prove")[1])
    assert len(bundle["entries"]) == len(answer(ask, "as-of", "now", "order", "77")["rests_on"])
