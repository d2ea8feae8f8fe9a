"""The only place of the page of one ledger record, and of the file that proves it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from http import HTTPStatus

from ops import ledger_view
from ops.status_page.markup import Markup, joined, lines, tag
from ops.status_page.page import document
from quantum_ops.errors import QuantumError
from quantum_ops.ledger import canonical, checkpoint, proof
from quantum_ops.ledger.errors import CheckpointError
from quantum_ops.ledger.folder import Folder
from quantum_ops.ledger.journal import Journal
from quantum_ops.ledger.lookup import Lookup

MAX_LINE = 70_000
"""Characters of one line that are shown: a record has 64 KiB at most."""
TROUBLE = (QuantumError, CheckpointError, ValueError, OSError)


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent: ``body`` of ``kind``."""

    status: HTTPStatus
    kind: str
    body: str


def record(folder: Folder, seq: int) -> Answer:
    """The page of record ``seq``. Raises nothing: what cannot be read is told as such."""
    try:
        with Lookup(folder) as lookup:
            found = lookup.number(seq)
            if found is None:
                return _trouble(HTTPStatus.NOT_FOUND, f"there is no record {seq} in the ledger")
            newest = None
            with contextlib.suppress(CheckpointError):  # which ./run ledger verify tells
                newest = checkpoint.newest(folder)
            told = ledger_view.where(lookup, found, newest)
            shown = ledger_view.entry(canonical.load(found.line), told)
    except TROUBLE as error:
        return _unknown(error)
    return Answer(HTTPStatus.OK, "text/html", _page(seq, str(told["id"]), shown, newest))


def proven(folder: Folder, seq: int) -> Answer:
    """The file that proves record ``seq``, made from the journal and its newest checkpoint."""
    try:
        newest = checkpoint.newest(folder)
        if newest is None or not 1 <= seq <= newest.head.size:
            return _trouble(HTTPStatus.NOT_FOUND, f"no checkpoint covers a record {seq}")
        made = proof.make(Journal(folder).lines(), seq, newest)
        made.check()
    except TROUBLE as error:
        return _unknown(error)
    return Answer(HTTPStatus.OK, "text/plain", made.text())


def _page(seq: int, id_: str, shown: str, newest: checkpoint.Checkpoint | None) -> Markup:
    return document(
        f"{id_ or f'record {seq}'} · quantum ops",
        tag("header", _back("/#ledger"), tag("h1", id_ or f"Record {seq}")),
        tag(
            "main",
            tag(
                "section",
                tag("h2", f"Record {seq} of the ledger"),
                tag("pre", lines(shown, MAX_LINE), tabindex="0"),
                class_="part",
            ),
            tag("section", tag("h2", "Proof"), _proof(seq, newest), class_="part"),
        ),
        reload=False,
    )


def _proof(seq: int, newest: checkpoint.Checkpoint | None) -> Markup:
    if newest is None or newest.head.size < seq:
        return tag("p", "No checkpoint covers this record yet: it has no proof.")
    name = f"record-{seq}.proof"
    link = tag("a", name, href=f"/ledger/{seq}/proof")
    check = f"./run verify --key PUBLIC_KEY {name}"
    return joined(
        tag("p", "The proof of this record: ", link, ". Whoever has the log's key can check it:"),
        tag("pre", check, tabindex="0"),
    )


def _back(where: str) -> Markup:
    return tag("p", tag("a", "← all of it", href=where))


def _trouble(status: HTTPStatus, words: str) -> Answer:
    body = document(
        f"{status.phrase} · quantum ops",
        tag("header", _back("/"), tag("h1", status.phrase)),
        tag("main", tag("p", words)),
        reload=False,
    )
    return Answer(status, "text/html", body)


def _unknown(error: Exception) -> Answer:
    words = f"unknown: {error}; ./run ledger verify says more"
    return _trouble(HTTPStatus.SERVICE_UNAVAILABLE, words)
