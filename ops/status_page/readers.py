"""The only place that knows where each part of the page comes from. Every read is bounded."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import walrus

from ops import audit_words, ledger_place, system
from ops.daemon import AbsentError
from ops.paths import Paths
from ops.readiness import BEATING_ROLES, Verdict
from ops.running import Running as System
from ops.status_page import picture
from ops.status_page.following import Decisions, Standing
from ops.status_page.picture import Running
from ops.verbs.universe import read_held
from quantum_ops import checkout, client, codec, consumer, dead_letter, host, lag_reading, streams
from quantum_ops.audit import verdict
from quantum_ops.audit.violations import Violation
from quantum_ops.errors import DecodeError
from quantum_ops.events import AuditFinding, UniverseChanged
from quantum_ops.heartbeat import TTL_S
from quantum_ops.ledger import checkpoint, query
from quantum_ops.ledger.folder import Folder
from quantum_ops.universe import load_universe

CHANGES, LETTERS, ENTRIES = 5, 10, 10
"""How many of the latest ones are shown."""
MOST_LAG = 2000
"""Entries of a group's lag that are counted; above, it is at least that."""
MAX_NUMBERS = 4
"""Process numbers whose heartbeats are looked for where no supervisord can be asked."""
Reader = Callable[[], Any]


def all_of(db: walrus.Database, environ: Mapping[str, str] | None = None) -> dict[str, Reader]:
    """The reader of each part of a :class:`~ops.status_page.picture.Picture`, by its name.

    A reader gives the part's value; whatever it raises is why that part is unknown.
    """
    letters = Standing(db, streams.DEAD_LETTER, streams.DEAD_LETTER_RESOLVED, _letter)
    findings = Standing(db, streams.AUDIT_FINDING, streams.FINDINGS_SETTLED, _violation)
    ours = frozenset(expected())
    gates = Decisions(db)
    return {
        "server": lambda: server(db),
        "universe": lambda: universe(db),
        "groups": lambda: groups(db, ours),
        "letters": lambda: dead_letters(letters),
        "gates": gates.look,
        "audit": lambda: audit(db, findings),
        "ledger": lambda: ledger(folder(environ)),
        "processes": lambda: processes(db, *system.find()),
    }


def expected() -> Iterable[tuple[str, str]]:
    """The groups that must be there, as (stream key, group): each consumer's on its streams."""
    for name in consumer.names("consumers"):
        for stream in consumer.find("consumers", name).streams:
            yield stream.key, name


def server(db: walrus.Database) -> str:
    """Which server answers."""
    return system.flavour(db.execute_command("INFO", "server"))


def universe(db: walrus.Database) -> picture.UniverseSeen:
    """The universe as gates judge it, and what changed lately."""
    seen = load_universe(db, now_s=time.time(), attributes=True)
    held = read_held(db)
    rows = client.raw(db, "XREVRANGE", streams.UNIVERSE_CHANGED.key, "+", "-", "COUNT", CHANGES)
    decode = codec.decoder(UniverseChanged)
    changes = [found for _, flat in rows if (found := _decoded(decode, flat))]
    return picture.UniverseSeen(seen, tuple(held[1]) if held else (), tuple(changes))


def groups(db: walrus.Database, ours: frozenset[tuple[str, str]]) -> picture.GroupsSeen:
    """The lag of every group of every stream; ours, if one is missing, as unknown."""
    found = lag_reading.look(db, limit=MOST_LAG, expected=ours)
    return picture.GroupsSeen(tuple(found), ours)


def dead_letters(standing: Standing[dead_letter.StoredLetter]) -> picture.LettersSeen:
    """What lies in the dead letter and waits for somebody."""
    found, more = standing.look()
    by_group = Counter((one.letter.stream, one.letter.group) for one in found.values())
    newest = itertools.islice(reversed(found.values()), LETTERS)
    return picture.LettersSeen(
        tuple((one.letter_id, one.letter) for one in newest), by_group, len(found), more
    )


def audit(db: walrus.Database, standing: Standing[Violation]) -> tuple[verdict.Verdict, ...]:
    """What the auditors can prove now, just as ./run audit says it."""
    found, more = standing.look()
    auditors = [auditor for auditor, _ in verdict.AUDITORS.values()]
    words = audit_words.words_of(db, auditors, int(time.time() * 1000))
    made = verdict.verdicts(found.values(), words)
    if more:
        made.append(verdict.Verdict("more", "VIOLATED", f"more than {len(found)} are open"))
    return tuple(made)


def folder(environ: Mapping[str, str] | None = None) -> Folder:
    """Where the ledger lies that the running system keeps."""
    return Folder.find(ledger_place.environ() if environ is None else environ, checkout.root())


def ledger(place: Folder) -> picture.LedgerSeen:
    """The latest entries, read from the journal's end; no Redis is needed for them."""
    entries = tuple(itertools.islice(query.newest(place), ENTRIES))
    return picture.LedgerSeen(entries, checkpoint.newest(place))


def processes(db: walrus.Database, paths: Paths, current: System) -> picture.ProcessesSeen:
    """Every process as ./run status judges it; without a supervisord, whoever beats."""
    try:
        sight = system.look(paths, current)
    except AbsentError as error:  # it went away in the middle of the look
        return _beating(db, paths, str(error))
    if not sight.state:
        return _beating(db, paths, f"no supervisord runs at {paths.home}")
    held = tuple(
        (name, f"since {hold.since} by {hold.by}{': ' if hold.why else ''}{hold.why}")
        for name, hold in sorted(sight.held.items())
    )
    return picture.ProcessesSeen(tuple(map(_running, sight.verdicts)), sight.state, held=held)


def _running(one: Verdict) -> Running:
    process = one.process
    up_s = max(0, process.now - process.started_at) if process.pid else None
    return Running(process.name, process.state, one.ready, one.is_fine, one.detail, up_s)


def _beating(db: walrus.Database, paths: Paths, why: str) -> picture.ProcessesSeen:
    """Heartbeats of the programs that have a stanza."""
    stanzas = (paths.root / "supervisor" / "conf.d").glob("*.conf")
    names = sorted({path.stem.removesuffix("_spare") for path in stanzas if _beats(path)})
    asked = [(name, number) for name in names for number in range(MAX_NUMBERS)]
    with db.pipeline(transaction=False) as pipe:
        for name, number in asked:
            pipe.hgetall(streams.heartbeat(name, host.token(number)))
        answers = pipe.execute(raise_on_error=False)
    rows = [
        _heard(f"{name}-{number:02d}", beat)
        for (name, number), beat in zip(asked, answers, strict=True)
        if isinstance(beat, dict) and (beat or number == 0)
    ]
    return picture.ProcessesSeen(tuple(rows), absent=why)


def _beats(stanza: Any) -> bool:
    text = stanza.read_text(encoding="utf-8")
    return any(f" -m {role} " in text for role in BEATING_ROLES)


def _heard(name: str, beat: dict[bytes, bytes]) -> Running:
    if not beat:
        return Running(name, "unknown", "SILENT", fine=False, detail="no heartbeat")
    written = beat.get(b"updated_ms", b"")
    age_s = time.time() - int(written) / 1000 if written.isdigit() else TTL_S + 1.0
    state = beat.get(b"state", b"?").decode("utf-8", "backslashreplace")
    detail = beat.get(b"detail", b"").decode("utf-8", "backslashreplace")
    if age_s > TTL_S:
        return Running(name, "unknown", "STALE", False, f"last heartbeat {age_s:.0f} s ago")  # noqa: FBT003 - not fine
    return Running(name, "heard of", state.upper(), state in {"ready", "standby"}, detail)


def _letter(id_: bytes, flat: list[bytes]) -> dead_letter.StoredLetter | None:
    return dead_letter.read(id_, flat, None)


def _violation(id_: bytes, flat: list[bytes]) -> Violation | None:
    finding = _decoded(codec.decoder(AuditFinding), flat)
    if finding is None or finding.severity != "critical":
        return None
    return Violation(id_.decode(), finding)


def _decoded(decode: Callable[[list[bytes]], Any], flat: list[bytes]) -> Any:
    """The event, or None for what a stranger wrote."""
    try:
        return decode(flat)
    except DecodeError:
        return None
