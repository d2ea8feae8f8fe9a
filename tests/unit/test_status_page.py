"""The status page without a server: its verdict, what it escapes, who it answers, what it draws."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.status_page import page, rendering, spark, stream
from ops.status_page.collector import Collector
from ops.status_page.guard import is_ours
from ops.status_page.markup import Markup, breakable, joined, lines, tag, text
from ops.status_page.picture import (
    Decided,
    GroupsSeen,
    LedgerSeen,
    LettersSeen,
    Part,
    Picture,
    ProcessesSeen,
    Running,
    UniverseSeen,
)
from ops.status_page.verdict import PARTS, aged, judge
from quantum_ops.audit.verdict import Verdict as Audit
from quantum_ops.audit.violations import Violation
from quantum_ops.events import AuditFinding, DeadLetter, UniverseChanged
from quantum_ops.lag import Lag
from quantum_ops.ledger.summary import Summary
from quantum_ops.universe import Universe

BEHIND_S = 30.0
RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"
OURS = frozenset({("quantum:stream:apply.plan", "p33")})


def known(value: object) -> Part:
    return Part(value, problem="", last=value, last_s=1.0)


def lag(**changed: object) -> Lag:
    fields = {"entries": 0, "exactness": "exact", "seconds": 0.0, "delivered": (1, 0), "lost": 0}
    return Lag("quantum:stream:apply.plan", "p33", **{**fields, **changed})


def violated(subject: str = "plan") -> Audit:
    finding = AuditFinding(
        auditor="permit_audit", finding="executed_without_permits", severity="critical",
        subject=subject, detail=subject,
    )  # fmt: skip
    return Audit("permits", "VIOLATED", "1 open", (Violation("1-0", finding),))


GOOD = Picture(
    taken_s=1.0,
    profile="live",
    server=known("valkey 9.1.2"),
    universe=known(UniverseSeen(Universe("fresh", mode="testnet", symbols=frozenset({"BTCUSDT"})))),
    groups=known(GroupsSeen((lag(),), OURS)),
    letters=known(LettersSeen()),
    gates=known(()),
    audit=known((Audit("permits", "PROVEN", "fine"),)),
    ledger=known(LedgerSeen()),
    processes=known(ProcessesSeen((Running("p33-00", "RUNNING", "READY", fine=True),), "RUNNING")),
)
BAD_PARTS = {
    "universe": [
        UniverseSeen(Universe("stale", code="too_old")),
        UniverseSeen(Universe("missing", code="missing")),
        UniverseSeen(Universe("fresh"), held=("BTCUSDT",)),
    ],
    "groups": [
        GroupsSeen((lag(seconds=31.0, entries=1),), OURS),
        GroupsSeen((lag(pending_s=31.0),), OURS),
        GroupsSeen((lag(entries=None, seconds=None),), OURS),
        GroupsSeen((lag(delivered=None, entries=None),), OURS),
        GroupsSeen((lag(lost=1),), OURS),
        GroupsSeen((), OURS),
    ],
    "letters": [LettersSeen(count=1)],
    "audit": [(Audit("permits", "UNPROVEN", "is not running"),)],
    "processes": [
        ProcessesSeen((), "RUNNING"),
        ProcessesSeen((Running("a", "FATAL", "DOWN", fine=False),), "RUNNING"),
        ProcessesSeen((Running("a", "?", "READY", fine=True),), absent="gone"),
        ProcessesSeen((Running("a", "RUNNING", "READY", fine=True),), "SHUTDOWN"),
    ],
}


def test_all_seen_and_in_order_is_ok():
    made = judge(GOOD, behind_s=BEHIND_S)
    assert (made.word, made.reasons) == ("OK", ())
    parts = rendering.parts(GOOD, made, {}, 2.0)
    assert "<dd>0.0\u00a0s ago, every 60\u00a0s</dd>" in parts["universe"]


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, bad in BAD_PARTS.items() for value in bad]
)
def test_each_trouble_asks_for_attention_and_says_where(name, value):
    made = judge(dataclasses.replace(GOOD, **{name: known(value)}), behind_s=BEHIND_S)
    assert made.word == "attention"
    assert {reason.about for reason in made.reasons} == {name}
    for reason in made.reasons:
        assert not reason.runbook or (RUNBOOKS / f"{reason.runbook}.md").exists()
    if name in ("groups", "letters"):
        assert f"docs/runbooks/{made.reasons[0].runbook}.md" in rendering.verdict(made, GOOD)


def test_groups_of_strangers_are_shown_and_change_no_verdict():
    stranger = dataclasses.replace(lag(seconds=9999.0, entries=5), group="executor")
    seen = dataclasses.replace(GOOD, groups=known(GroupsSeen((lag(), stranger), OURS)))
    assert judge(seen, behind_s=BEHIND_S).word == "OK"
    assert "not ours" in rendering.parts(seen, judge(seen, behind_s=1), {}, 2.0)["groups"]


@given(
    unknown=st.sets(st.sampled_from(PARTS), min_size=1),
    last=st.booleans(),
    is_violated=st.booleans(),
)
def test_what_is_unknown_is_never_ok_and_an_open_violation_is_never_less(
    unknown, last, is_violated
):
    # given some parts that cannot be read, and perhaps a violation that was open
    audit = known((violated(),)) if is_violated else GOOD.audit
    seen = dataclasses.replace(GOOD, audit=audit)
    for name in unknown:
        part = getattr(seen, name)
        gone = Part(None, "no answer", part.last if last else None, 1.0 if last else 0.0)
        seen = dataclasses.replace(seen, **{name: gone})
    made = judge(seen, behind_s=BEHIND_S)
    # then it is not OK, and what was violated when it was seen last still is
    assert made.word != "OK"
    if is_violated and ("audit" not in unknown or last):
        assert made.word == "VIOLATION"
        assert made.reasons[0].about == "audit"
    # and each part that is unknown says so in words, never as a number
    shown = rendering.parts(seen, made, {}, 2.0)
    assert all("unknown: " in shown[name] for name in unknown if name != "server")


@given(age_s=st.floats(0, 1e6), every_s=st.floats(0.2, 60), bad=st.booleans())
def test_an_old_picture_is_never_ok(age_s, every_s, bad):
    audit = known((violated(),)) if bad else GOOD.audit
    verdict = judge(dataclasses.replace(GOOD, audit=audit), behind_s=BEHIND_S)
    made = aged(verdict, age_s, every_s)
    if age_s > max(10, 5 * every_s):
        assert made.word == ("VIOLATION" if bad else "attention")
        assert "old" in made.reasons[0].text
    else:
        assert made is verdict


def test_before_the_first_look_nothing_is_claimed():
    verdict, parts = page.fresh(page.Look(), 1.0, 2.0)
    assert verdict.word == "attention"
    assert all("unknown" in parts[name] for name in rendering.TITLES)


class Read(HTMLParser):
    """What a browser would make of it: elements, attributes, text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.shown = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.shown += data


@given(value=st.text(max_size=200))
def test_no_value_becomes_markup_whatever_it_is(value):
    made = tag("p", value, joined(value, text(value)), breakable(value), title=value, data_x=value)
    read = Read(made + lines(f"{value}\n{value}", 300))
    assert read.elements <= {"p", "wbr"}
    assert read.attributes == {"title", "data-x"}
    # Nothing that moves the cursor, turns the text round or cannot be seen is left of it
    assert "\x1b" not in made
    assert "\u202e" not in made
    # A string is never taken for markup because it was put together from some
    assert not isinstance(Markup("<b>") + value, Markup)


HOSTILE = "<script>alert(1)</script>\x1b]0;x\x07\u202e'\"&"


def test_every_value_of_a_stranger_is_escaped_in_every_part():
    # given strangers' bytes wherever one can write something
    letter = DeadLetter(
        stream=HOSTILE, group=HOSTILE, consumer=HOSTILE, entry_id="1-0", deliveries=1,
        reason=HOSTILE,
    )  # fmt: skip
    change = UniverseChanged(
        epoch=1, prev_epoch=0, mode="testnet", asof_epoch=1, count=1, sha256="x",
        symbols_sha256="x", symbols=(HOSTILE,), added=(HOSTILE,), changed={HOSTILE: {}},
    )  # fmt: skip
    row = Running(HOSTILE, HOSTILE, HOSTILE, fine=False, detail=HOSTILE)
    entry = Summary(kind="operation", seq=1, id=HOSTILE, operation=HOSTILE, outcome=HOSTILE,
                    occurred_at=HOSTILE, host=HOSTILE)  # fmt: skip
    universe = Universe("stale", HOSTILE, HOSTILE, HOSTILE, frozenset({HOSTILE}))
    seen = Picture(
        profile=HOSTILE,
        server=known(HOSTILE),
        universe=known(UniverseSeen(universe, (HOSTILE,), (change,))),
        groups=known(GroupsSeen((lag(), dataclasses.replace(lag(), group=HOSTILE)), OURS)),
        letters=known(LettersSeen((("1-0", letter),), {(HOSTILE, HOSTILE): 1}, 1)),
        gates=known((Decided(HOSTILE, True, HOSTILE, 1),)),
        audit=known((violated(HOSTILE),)),
        ledger=known(LedgerSeen((entry,))),
        processes=known(ProcessesSeen((row,), absent=HOSTILE)),
    )
    # when it is rendered
    verdict = judge(seen, behind_s=1)
    parts = rendering.parts(seen, verdict, {}, 2.0)
    whole = page.whole(verdict, parts)
    # then it is text, everywhere
    assert whole.count("<script") == 1  # our own
    assert not set("\x1b\x07\u202e") & set(whole)
    for name, html in parts.items():
        read = Read(html)
        assert "script" not in read.elements
        assert not any(name.startswith("on") for name in read.attributes), name
        assert "<script>alert(1)" in read.shown, name


def test_a_part_that_cannot_be_shown_hides_no_other_and_is_not_ok(monkeypatch):
    # given a defect of our own in what shows one part
    def broken(_found):
        raise ZeroDivisionError("our own defect")

    monkeypatch.setattr(rendering, "_gates", broken)
    answers = {
        field.name: lambda name=field.name: getattr(GOOD, name).value
        for field in dataclasses.fields(Picture) if field.name in PARTS
    }  # fmt: skip
    look = page.take(Collector(answers, 2.0), 1, 1.0, 2.0, BEHIND_S)
    assert "cannot be shown: ZeroDivisionError" in look.parts["gates"]
    assert "FRESH" in look.parts["universe"]
    assert [reason.about for reason in look.verdict.reasons] == ["gates"]
    assert look.verdict.word == "attention"


def test_moments_beyond_every_calendar_are_shown_as_they_are():
    # given an id that somebody chose himself, and a moment that is no number
    [one] = violated().violations
    finding = dataclasses.replace(one, finding_id=f"{2**64 - 1}-0")
    audit = Audit("permits", "VIOLATED", "1 open", (finding,))
    universe = UniverseSeen(Universe("stale", mode="testnet", age_s=float("nan")))
    seen = dataclasses.replace(GOOD, audit=known((audit,)), universe=known(universe))
    parts = rendering.parts(seen, judge(seen, behind_s=1), {}, 2.0)
    assert str(2**64 - 1) in parts["audit"]
    assert "<dd>nobody knows when, every 60\u00a0s</dd>" in parts["universe"]


def test_whoever_makes_thousands_of_something_does_not_fill_the_page():
    # given a stranger with a group for everything, and gates with a reason for each plan
    strangers = [dataclasses.replace(lag(seconds=99.0), group=f"g{n}") for n in range(5000)]
    decided = tuple(Decided("p33", False, f"reason_{n}", 1) for n in range(5000))
    seen = dataclasses.replace(
        GOOD, groups=known(GroupsSeen((*strangers, lag()), OURS)), gates=known(decided)
    )
    parts = rendering.parts(seen, judge(seen, behind_s=1), {}, 2.0)
    # then ours stand first, the total is true, and the rest is counted
    assert parts["groups"].index("p33") < parts["groups"].index("g0")
    assert "and 4980 more that are not ours" in parts["groups"]
    assert "5000 plans: 0 permitted, 5000 denied" in parts["gates"]
    assert "and 4970 rarer ones" in parts["gates"]
    assert sum(map(len, parts.values())) < 30_000


@given(past=st.lists(st.none() | st.floats(0, 1e9), max_size=50))
def test_a_line_keeps_inside_its_frame_and_tells_its_gaps(past):
    made = spark.spark(past, 2.0)
    known_ = [value for value in past if value is not None]
    if not known_:
        assert made == ""
        return
    numbers = [
        float(pair.split()[1]) for d in made.split(' d="')[1:]
        for pair in d.split('"')[0].replace("L", "M").split("M") if len(pair.split()) == 2
    ]  # fmt: skip
    assert all(0 <= y <= spark.HEIGHT for y in numbers)
    assert ("unknown in" in made) == (None in past)


def test_a_reader_that_breaks_spoils_its_own_part_only():
    # given readers of which one has a defect and one meets a server that refuses
    def broken():
        raise ZeroDivisionError("our own defect")

    seconds = iter(range(100))
    answers = {"server": lambda: "valkey", "gates": broken, "ledger": LedgerSeen}
    collector = Collector(answers, 2.0, now_s=lambda: float(next(seconds)))
    seen = collector.look()
    assert seen.gates.problem == "ZeroDivisionError: our own defect"
    assert seen.ledger.value == LedgerSeen()
    # when the server goes away: what needs it is unknown at once, and is not asked
    asked = []
    answers["server"] = lambda: (_ for _ in ()).throw(ConnectionError("refused"))
    answers["gates"] = lambda: asked.append(1)
    seen = collector.look()
    assert seen.gates.problem == "Redis: refused"
    assert seen.server.last == "valkey"
    assert asked == []
    assert seen.ledger.value == LedgerSeen()


def test_a_reader_that_has_stopped_is_dropped_and_its_place_is_free(monkeypatch):
    # given a reader whose line takes the headers and then nothing any more
    monkeypatch.setattr(stream, "STUCK_S", 0.05)
    sent = []

    async def send(message):
        sent.append(message["type"])
        if len(sent) > 2:
            await asyncio.Event().wait()

    async def receive():
        await asyncio.Event().wait()

    site = stream.Stream(lambda: {"verdict": str(len(sent))}, stopping=lambda: False)
    asyncio.run(site({"method": "GET"}, receive, send))
    # then the stream has ended by itself
    assert site.readers == 0
    assert len(sent) == 3


def test_a_stream_says_each_part_once_until_it_changes_and_ends_with_its_reader(monkeypatch):
    monkeypatch.setattr(stream, "POLL_S", 0.001)
    looks = iter([{"a": "1", "b": "1"}, {"a": "1", "b": "1"}, {"a": "2", "b": "1"}])
    told = []

    async def tell() -> None:
        gone = asyncio.Event()

        async def send(message):
            told.append(message.get("body", b"").decode())

        async def receive():
            await gone.wait()
            return {"type": "http.disconnect"}

        def parts():
            try:
                return next(looks)
            except StopIteration:
                gone.set()
                return {}

        await stream.Stream(parts, stopping=lambda: False)({"method": "GET"}, receive, send)

    asyncio.run(tell())
    data = [json.loads(text_.removeprefix("data: ")) for text_ in told if text_.startswith("data")]
    assert data == [{"a": "1", "b": "1"}, {"a": "2"}]


@pytest.mark.parametrize(
    ("hosts", "ours"),
    [
        ([b"127.0.0.1:9791"], True), ([b"localhost"], True), ([b"LOCALHOST:1"], True),
        ([b"[::1]:9791"], True), ([b"[::1]"], True), ([b"evil.example:9791"], False),
        ([b"127.0.0.1.evil.example"], False), ([b"localhost:x"], False), ([b""], False),
        ([], False),
        ([b"localhost", b"localhost"], False), ([b"localhost:1:2"], False), ([b"10.0.0.1"], False),
    ],
)  # fmt: skip
def test_only_this_machine_is_answered_for(hosts, ours):
    assert is_ours({"headers": [(b"host", host) for host in hosts]}) is ours
