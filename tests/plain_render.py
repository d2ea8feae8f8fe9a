"""Rendering as plainly as it can be said, to hold the quick one against.

Every line is parsed, every block is written by the plain emitter, everything is held until the end.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from quantum_ops.ledger import pages, render
from tests import plain_emitter


def files(lines: Sequence[bytes], *, every_page: bool = False) -> dict[str, bytes]:
    texts: dict[pages.Part, list[bytes]] = {}
    places: dict[str, tuple[list[bytes], int]] = {}
    counts: dict[str, int] = {}
    blocks: dict[str, list[bytes]] = {}
    up_to = 0
    for line in lines:
        record = json.loads(line)
        if record["type"] in render.SILENT:
            continue
        recorded = record["type"] == "operation.recorded"
        data = record["data"] | ({} if recorded else {"record": record["type"]})
        month, seq = record["occurred_at"][:7], record["seq"]
        block = plain_emitter.block(plain_emitter.ordered(data)).encode()
        counts[month] = counts.get(month, 0) + 1
        part = texts.setdefault((month, pages.part_of(counts[month])), [])
        operation_id = str(data.get("operation_id")) if recorded else ""
        operation_id = operation_id if render.ID.fullmatch(operation_id) else ""
        undoes = data.get("rollback_of", "") if data.get("outcome") == "ROLLBACK" else ""
        if recorded and undoes in places:
            undone, at = places[undoes]
            undone[at] = pages.marked(undone[at], operation_id, seq)
        if operation_id:
            places[operation_id] = (part, len(part))
        part.append(b"<!-- record %d -->\n```yaml\n%b```\n" % (seq, block))
        blocks.setdefault(month, []).append(block)
        up_to = seq
    shown = pages.shown(counts)
    found = {
        pages.name(part): pages.page(part, text)
        for part, text in texts.items()
        if every_page or part not in shown
    }
    found |= {f"{month}.yaml": render.month_text(month, of) for month, of in blocks.items()}
    legacy = render.legacy(lines)
    before = [render.before(name, one) for name, one in legacy.items() if name[-5:] != ".yaml"]
    for name, content in legacy.items():
        if name.endswith(".yaml"):
            found[render.legacy_name(name)] = content
        elif len(content) > render.LEGACY_SHOWN_BYTES:
            found[render.LEGACY_PAGE] = content
    found[render.CHANGELOG] = pages.main(counts, texts, up_to, (before or [b""])[0])
    return found
