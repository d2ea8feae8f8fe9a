"""The only place that words a proof of execution, as ops/lib/proofs.lua does without Python."""

from __future__ import annotations

import json

from ops.ascii import quoted, shown
from quantum_ops.audit.execution import Execution
from quantum_ops.audit.proof_search import Search

FRAME = "═" * 59
WIDEST, LINE = 512, 200
PROVEN, UNPROVEN = 0, 3


def exit_code(search: Search) -> int:
    """What the script promises: 0 with a proof, 3 without."""
    return PROVEN if search.proof else UNPROVEN


def heading(entries: int, *, by_index: bool) -> str:
    """What is said before the search; it may take a while."""
    how = " (found by the index)" if by_index else ""
    title = "Quantum Trader Order Execution Proof"
    return f"{FRAME}\n{title}\n{FRAME}\nSearching {entries} apply.result entries{how}...\n"


def as_text(search: Search) -> str:
    """What is said after it."""
    if search.proof:
        rows = "\n".join(
            f"{name + ':':<12} {shown(value, LINE) or '-'}" for name, value in _rows(search.proof)
        )
        return f"✅ PROOF FOUND: executed=true + order_id present\n\n{rows}\n{FRAME}"
    told = "nothing was executed"
    if search.executed:
        told = f"{search.without} executed without an order_id, the newest of them {search.bare}"
    return f"❌ NO PROOF FOUND: {told}\n{FRAME}"


def as_json(search: Search) -> str:
    """One line, in ASCII; the fields are told in docs/audit-scripts.md."""
    head = json.dumps(
        {
            "exit_code": exit_code(search),
            "status": "proven" if search.proof else "unproven",
            "found_by": search.found_by or None,
            "searched": search.searched,
            "executed": search.executed,
            "without_order_id": search.without,
            "newest_without_order_id": search.bare or None,
        }
    )
    return f'{head[:-1]}, "proof": {_object(search.proof) if search.proof else "null"}}}'


def _rows(proof: Execution) -> list[tuple[str, str]]:
    return [
        ("Entry ID", proof.entry_id),
        ("Symbol", proof.symbol),
        ("Plan ID", proof.plan_id),
        ("Executed", "true"),
        ("Order ID", proof.order_id),
        ("Side", proof.side),
        ("Quantity", proof.quantity),
        ("Price", proof.price),
        ("Timestamp", f"{proof.moment:%Y-%m-%d %H:%M:%S}"),
    ]


def _object(proof: Execution) -> str:
    fields = {
        "entry_id": proof.entry_id,
        "symbol": proof.symbol,
        "plan_id": proof.plan_id,
        "order_id": proof.order_id,
        "side": proof.side,
        "quantity": proof.quantity,
        "price": proof.price,
        "timestamp": f"{proof.moment:%Y-%m-%dT%H:%M:%SZ}",
        "order_id_in": proof.order_id_in,
        "entry": proof.entry,
    }
    parts = [
        f'"{name}": {quoted(value, WIDEST) if value else "null"}' for name, value in fields.items()
    ]
    # The fourth, as the rows of text have it: whatever is a proof was executed.
    parts.insert(3, '"executed": true')
    return f"{{{', '.join(parts)}}}"
