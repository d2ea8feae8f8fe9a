"""The only place that looks for the proof of an execution in quantum:stream:apply.result."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import walrus

from quantum_ops import client, streams
from quantum_ops.audit import execution
from quantum_ops.audit.execution import Execution

STREAM = streams.APPLY_RESULT.key
PAGE = 1000
BELL_MS = 500
"""Longest wait for an entry in one call; well below any timeout of a client."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which execution is looked for, as bytes of the wire; empty ones match any."""

    symbol: bytes = b""
    plan_id: bytes = b""


@dataclass(slots=True)
class Search:
    """What was found so far. ``searched`` entries were read, ``executed`` of them match.

    ``bare`` is the newest that was executed without an order id, ``without`` counts these.
    """

    wanted: Wanted
    proof: Execution | None = None
    found_by: Literal["", "index", "stream"] = ""
    searched: int = 0
    executed: int = 0
    without: int = 0
    bare: str = ""


def extent(db: walrus.Database) -> tuple[int, bytes]:
    """How many entries there are, and the newest one's id (``0-0`` of none)."""
    count = client.raw(db, "XLEN", STREAM)
    newest = client.raw(db, "XREVRANGE", STREAM, "+", "-", "COUNT", 1)
    return count, newest[0][0] if newest else b"0-0"


def by_index(db: walrus.Database, wanted: Wanted) -> Search:
    """Ask order_proof's index: one plan in two round trips, however many results there are.

    The index is a hint: while the entry is there, what counts is what it says.
    """
    search = Search(wanted)
    plan_id = wanted.plan_id.decode("utf-8", "surrogateescape")
    key = streams.proof_of_plan(plan_id).encode("utf-8", "surrogateescape")
    row = client.raw(db, "HMGET", key, "entry_id", "symbol", "order_id", "executed_at")
    known = execution.indexed(plan_id, row)
    if known is None or (wanted.symbol and wanted.symbol != row[1]) or not _is_utf8(plan_id):
        return search
    entries = client.raw(db, "XRANGE", STREAM, known.entry_id, known.entry_id)
    if entries:
        _over(search, entries)
    else:
        search.proof = known
    search.found_by = "index" if search.proof else ""
    return search


def by_stream(db: walrus.Database, wanted: Wanted, count: int) -> Search:
    """Read the newest ``count`` entries, newest first, until one is a proof."""
    search = Search(wanted)
    newest: bytes = b"+"
    while search.proof is None and search.searched < count:
        size = min(PAGE, count - search.searched)
        entries = client.raw(db, "XREVRANGE", STREAM, newest, "-", "COUNT", size)
        if not entries:
            break
        _over(search, entries)
        newest = b"(" + entries[-1][0]
    search.found_by = "stream" if search.proof else ""
    return search


def follow(db: walrus.Database, search: Search, after: bytes, timeout_s: float) -> None:
    """Go on with ``search`` over what comes ``after`` that entry, for at most so long."""
    deadline = time.monotonic() + timeout_s
    while not search.proof:
        entries = client.raw(db, "XRANGE", STREAM, b"(" + after, "+", "COUNT", PAGE)
        if entries:
            _over(search, entries)
            after = entries[-1][0]
            continue
        left_ms = int((deadline - time.monotonic()) * 1000)
        if left_ms <= 0:
            break
        # Only a bell: what came is read above.
        client.raw(
            db, "XREAD", "COUNT", 1, "BLOCK", min(BELL_MS, left_ms), "STREAMS", STREAM, after
        )
    if search.proof and not search.found_by:
        search.found_by = "stream"


def _over(search: Search, entries: Sequence[Any]) -> None:
    wanted = search.wanted
    for id_, flat in entries:
        search.searched += 1
        # Bytes first: of a million results of other plans none needs to be understood.
        if wanted.plan_id and wanted.plan_id not in flat:
            continue
        if wanted.symbol and wanted.symbol not in flat:
            continue
        found = execution.read(id_.decode(), flat)
        if found is None or not _matches(found, wanted):
            continue
        search.executed += 1
        if found.order_id:
            search.proof = found
            return
        search.without += 1
        search.bare = search.bare or found.entry_id


def _matches(found: Execution, wanted: Wanted) -> bool:
    return not (
        (wanted.plan_id and wanted.plan_id != found.plan_id.encode())
        or (wanted.symbol and wanted.symbol != found.symbol.encode())
    )


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
