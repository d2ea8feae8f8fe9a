"""The only place where tests write histories to ask about: events by their time, sealed at will."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from quantum_ops import codec, events, streams
from quantum_ops.history import lookup
from quantum_ops.history.folder import Folder
from quantum_ops.history.reader import Archive, until_ms
from quantum_ops.history.search import Search
from tests.archive_rig import T0, writing

WHEN = events.now()


class Past:
    """An archive in ``base``; ``at`` is milliseconds behind ``T0`` everywhere."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self._pending: list[tuple[str, bytes, list[bytes]]] = []

    def tell(self, at: int, event: events.Event, seq: int = 0) -> str:
        """An entry with this event; gives its id."""
        return self.raw(at, streams.of(event).key, codec.encode(event), seq)

    def raw(self, at: int, stream: str, flat: list[bytes], seq: int = 0) -> str:
        """An entry as it is."""
        id_ = b"%d-%d" % (T0 + at, seq)
        self._pending.append((stream, id_, flat))
        return id_.decode()

    def archive(self, *, seal: bool = False, index: bool = True) -> Search:
        """What was told is archived; ``seal`` closes the segment, ``index`` makes lookup files."""
        with writing(self.base) as made:
            for stream, id_, flat in self._pending:
                made.add(stream, id_, flat)
            made.commit()
            if seal:
                made.seal()
            made.checkpoint()
        self._pending = []
        if index:
            make_all(Folder(self.base))
        return Search(Archive(Folder(self.base)))


def make_all(folder: Folder) -> None:
    """The lookup file of every sealed segment."""
    for name in folder.names():
        if not folder.raw(name).exists():
            lookup.make(folder, name)


def until(at: int) -> tuple[int, int]:
    """The id that ``at`` means, taken in whole."""
    return until_ms(T0 + at)


def own(event: type[events.OwnEvent], **fields: Any) -> Any:
    """An event of ours at the same moment each time, so that bytes repeat."""
    return event(**{"occurred_at": WHEN, **fields})


def changed(epoch: int, symbols: str, **more: Any) -> events.UniverseChanged:
    """A change of the universe; ``symbols`` are words, and so are added, removed and close_only."""
    words = {
        name: tuple(value.split()) if isinstance(value, str) and name != "held" else value
        for name, value in more.items()
    }
    names = tuple(sorted(symbols.split()))
    return own(
        events.UniverseChanged,
        event_id=f"u{epoch}",
        **{
            "epoch": epoch, "prev_epoch": epoch - 1, "mode": "testnet", "asof_epoch": 1,
            "count": len(names), "sha256": f"s{epoch}", "symbols_sha256": "x", "symbols": names,
            **words,
        },
    )  # fmt: skip


def finding(auditor: str, name: str, subject: str = "", detail: str = "", **more: Any) -> Any:
    """A Finding."""
    fields = {"auditor": auditor, "finding": name, "severity": "info", "subject": subject}
    event_id = more.pop("event_id", f"{auditor}/{subject}/{name}")
    return own(events.AuditFinding, event_id=event_id, detail=detail, **fields, **more)


def decided(plan_id: str, reason: str, *, allow: bool = False, epoch: int = 1, **more: Any) -> Any:
    """A decision of P3.3."""
    fields = {"gate": "p33", "symbol": "BTCUSDT", "event_id": f"p33/{plan_id}/{reason}", **more}
    return own(
        events.PermitDecided, plan_id=plan_id, allow=allow, reason=reason, universe_epoch=epoch,
        **fields,
    )  # fmt: skip


def recorded(seq: int, **more: Any) -> Any:
    """The word of one record of the ledger."""
    fields = {
        "record_type": "operation.recorded", "operation_id": f"OPS-2026-01-27-{seq:03d}",
        "entry_sha256": f"d{seq}", "tree_size": seq, "root_sha256": f"r{seq}", "source": "cli",
        "event_id": f"ledger/{seq}",
    }  # fmt: skip
    return own(events.LedgerRecorded, seq=seq, **{**fields, **more})


def deployed(operation: str, **more: Any) -> events.DeployCompleted:
    """A deployment."""
    fields = {
        "objective": "o", "risk_class": "READ_ONLY", "blast_radius": "b", "changes_summary": "c",
    }  # fmt: skip
    return events.DeployCompleted(operation=operation, **{**fields, **more})
