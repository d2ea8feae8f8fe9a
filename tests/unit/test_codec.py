"""Events to bytes and back, and what hostile bytes come to."""

from __future__ import annotations

import json
import string
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantum_ops import codec, events, streams
from quantum_ops.errors import DecodeError

GOLDEN = json.loads((Path(__file__).parent / "golden_events.json").read_text(encoding="utf-8"))
MOMENT = datetime(2026, 1, 27, 6, 15, 30, 123000, tzinfo=UTC)
SAMPLES = {
    "universe.changed": events.UniverseChanged(
        event_id="e1", occurred_at=MOMENT, epoch=7, prev_epoch=6, mode="testnet",
        asof_epoch=1769494530, count=2, sha256="aa", prev_sha256="bb", symbols_sha256="cc",
        symbols=("BTCUSDT", "ETHUSDT"), added=("ETHUSDT",), removed=("XRPUSDT",),
        close_only=("BTCUSDT",), changed={"BTCUSDT": {"tick_size": ("0.1", "0.01")}},
        quarantined={"龙虾USDT": "does not match"}, held="",
    ),
    "universe.checked": events.UniverseChecked(
        event_id="universe_check/1769494530123", occurred_at=MOMENT, outcome="compared",
        began_ms=1769494530123, fresh=True, epoch=7, checked_s=1769494500, refresh_s=60.0,
        count=2, symbols_sha256="cc", differing=3, missing=("NEWUSDT",), extra=("OLDUSDT",),
        changed=("BTCUSDT",),
    ),
    "deploy.completed": events.DeployCompleted(
        operation="P2.7 Deploy — Portfolio Clusters", objective="o",
        risk_class="SERVICE_RESTART", blast_radius="b", changes_summary='fix #42: it\'s "done"',
        allowed_services=("a", "b"),
    ),
    "apply.plan": events.ApplyPlan(
        plan_id="0123456789abcdef", decision="EXECUTE", symbol="BTCUSDT", reduce_only=True
    ),
    "apply.result": events.ApplyResult(plan_id="x", executed=True, details='{"order_id": 1}'),
    "permit.decided": events.PermitDecided(
        event_id="e2", occurred_at=MOMENT, gate="p33", plan_id="x", symbol="BTCUSDT", allow=False,
        reason="no_position", safe_qty=Decimal("0.100"), universe_epoch=7,
    ),
    "audit.finding": events.AuditFinding(
        event_id="e3", occurred_at=MOMENT, auditor="a", finding="f", severity="critical",
        evidence=("1-0",),
    ),
    "ledger.recorded": events.LedgerRecorded(
        event_id="e4", occurred_at=MOMENT, seq=1, record_type="operation.recorded",
        operation_id="OPS-2026-01-27-001", entry_sha256="aa", tree_size=1, root_sha256="bb",
        source="quantum:stream:deploy.completed", source_id="1769494530123-0",
    ),
    "ops.process": events.OpsProcess(
        event_id="e5", occurred_at=MOMENT, program="p33", process="p33-00",
        from_state="RUNNING", to_state="EXITED", pid=4,
    ),
    "dead_letter": events.DeadLetter(
        event_id="e6", occurred_at=MOMENT, stream="s", group="g", consumer="c", entry_id="1-0",
        deliveries=5, reason="handler_failed", error="boom",
    ),
}  # fmt: skip


def wire(event: events.Event) -> list[str]:
    return [part.decode() for part in codec.encode(event)]


@pytest.mark.parametrize("stream", streams.CATALOGUE, ids=lambda stream: stream.name)
def test_golden_vector_of_each_stream(stream):
    # A difference here is a change of what travels: raise the schema's version with it.
    assert wire(SAMPLES[stream.name]) == GOLDEN[stream.name]


@pytest.mark.parametrize("stream", streams.CATALOGUE, ids=lambda stream: stream.name)
def test_what_is_encoded_is_decoded_as_it_was(stream):
    sample = SAMPLES[stream.name]
    assert codec.decoder(stream.event)(codec.encode(sample)) == sample


def flat(**fields: str) -> list[bytes]:
    return [part.encode() for pair in fields.items() for part in pair]


def refused(event, entry) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        codec.decoder(event)(entry)
    return caught.value


def test_each_fault_names_its_field():
    plan = events.ApplyPlan
    assert refused(plan, flat(plan_id="x")).field == "decision"
    assert refused(plan, [b"plan_id", b"x", b"decision"]).field == ""
    assert refused(plan, [*flat(plan_id="x", decision="d"), b"decision", b"e"]).field == "decision"
    assert refused(plan, [b"plan_id", b"\xff", b"decision", b"d"]).field == "plan_id"
    assert refused(plan, flat(plan_id="x", decision="d", reduceOnly="maybe")).field == "reduceOnly"
    assert refused(plan, flat(plan_id="x" * 257, decision="d")).field == "plan_id"
    deploy = flat(operation="o", objective="o", risk_class="YOLO", blast_radius="b",
                  changes_summary="c")  # fmt: skip
    error = refused(events.DeployCompleted, deploy)
    assert error.field == "risk_class"
    assert "YOLO" in str(error)


def test_a_name_without_a_value_is_refused_even_when_its_layout_is_known():
    # Given a layout that was seen in a whole entry
    codec.decoder(events.ApplyPlan)(flat(plan_id="x", decision="d"))

    # Then the same names with a value too few are no such entry
    assert refused(events.ApplyPlan, [b"plan_id", b"x", b"decision"]).field == ""


def test_wrong_schema_is_refused_and_names_the_one_that_is_read():
    entry = codec.encode(SAMPLES["audit.finding"])
    entry[1] = b"audit.finding/2"
    assert "audit.finding/1" in str(refused(events.AuditFinding, entry))


def test_envelope_of_our_own_events_is_a_must():
    entry = codec.encode(SAMPLES["audit.finding"])
    for name in (b"event_id", b"occurred_at", b"schema"):
        at = entry.index(name)
        assert refused(events.AuditFinding, entry[:at] + entry[at + 2 :]).field == name.decode()


def test_moment_without_a_zone_is_refused():
    entry = codec.encode(SAMPLES["audit.finding"])
    entry[entry.index(b"occurred_at") + 1] = b"2026-01-27T06:15:30"
    assert refused(events.AuditFinding, entry).field == "occurred_at"


def test_unknown_fields_are_ignored_even_with_bad_bytes():
    entry = [*flat(plan_id="x", decision="d"), b"later", b"\xff", b"later", b"2"]
    assert codec.decoder(events.ApplyPlan)(entry).plan_id == "x"


def test_lists_are_json_or_one_item_a_line():
    base = flat(operation="o", objective="o", risk_class="READ_ONLY", blast_radius="b",
                changes_summary="c")  # fmt: skip
    decode = codec.decoder(events.DeployCompleted)
    expected = ("svc a", "svc b")
    assert decode([*base, *flat(allowed_services='["svc a","svc b"]')]).allowed_services == expected
    assert decode([*base, *flat(allowed_services="svc a\n\nsvc b\n")]).allowed_services == expected
    broken = [*base, *flat(allowed_services='["svc a"')]
    assert refused(events.DeployCompleted, broken).field == "allowed_services"


def test_oversized_entries_are_refused_both_ways():
    big = flat(plan_id="x", decision="d", source="y" * codec.MAX_ENTRY_BYTES)
    assert "bytes" in str(refused(events.ApplyPlan, big))
    with pytest.raises(ValueError, match="bytes; at most"):
        codec.encode(events.ApplyPlan(plan_id="x", decision="d", source="y" * 300_000))


def test_deep_json_is_refused_not_a_crash():
    entry = codec.encode(SAMPLES["universe.changed"])
    entry[entry.index(b"changed") + 1] = b"[" * 100_000
    assert refused(events.UniverseChanged, entry).field == "changed"


def test_senders_that_vary_names_for_ever_do_not_grow_our_memory():
    decode = codec.Decoder(events.ApplyPlan)
    for number in range(1000):
        decode([*flat(plan_id="x", decision="d"), b"n%d" % number, b"1"])
    assert len(decode._layouts) <= codec.MAX_LAYOUTS


@given(st.lists(st.binary(max_size=20), max_size=12))
def test_arbitrary_bytes_make_an_event_or_a_decode_error(entry):
    for stream in streams.CATALOGUE:
        try:
            event = codec.decoder(stream.event)(entry)
        except DecodeError:
            continue
        assert isinstance(event, stream.event)


NAMES = ["plan_id", "decision", "symbol", "reduceOnly", "qty", "other"]


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.text(max_size=8)), max_size=8))
def test_no_event_without_its_required_fields_and_none_from_doubled_ones(pairs):
    entry = [part.encode() for pair in pairs for part in pair]
    names = [name for name, _ in pairs]
    try:
        event = codec.decoder(events.ApplyPlan)(entry)
    except DecodeError:
        return
    values = dict(pairs)
    assert event.plan_id == values["plan_id"]
    assert event.decision == values["decision"]
    assert event.symbol == values.get("symbol", "")
    assert all(names.count(name) == 1 for name in names if name != "other")


text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=50)


@given(text, text, text, text, st.lists(text.filter(lambda t: t.strip() == t), max_size=4))
def test_any_text_survives_the_wire(operation, objective, radius, summary, services):
    event = events.DeployCompleted(
        operation=operation, objective=objective, risk_class="READ_ONLY", blast_radius=radius,
        changes_summary=summary, allowed_services=tuple(services),
    )  # fmt: skip
    assert codec.decoder(events.DeployCompleted)(codec.encode(event)) == event


def test_field_names_of_our_types_are_plain():
    # The decoder writes source from them.
    allowed = set(string.ascii_letters + string.digits + "_")
    for stream in streams.CATALOGUE:
        import msgspec

        for field in msgspec.structs.fields(stream.event):
            assert set(field.name) <= allowed
            assert field.encode_name.isidentifier()
