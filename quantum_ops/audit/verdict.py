"""The only place that sums up what the auditors found into one verdict each. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from quantum_ops.audit.violations import Violation

AUDITORS = {
    "permits": ("permit_audit", "no order was executed without its permits"),
    "orders": ("order_proof", "every executed order has an order id of its own"),
    "universe": ("universe_audit", "the universe that gates use is the exchange's"),
}
"""Verdict -> (its auditor, what it says when it is PROVEN)."""
State = Literal["PROVEN", "VIOLATED", "UNPROVEN"]


class Word(msgspec.Struct, frozen=True):
    """What an auditor says of itself: what keeps it from a proof, and what bounds its proof."""

    hindrance: str = ""
    caveat: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """``UNPROVEN``: nothing is open, but its auditor is not at work, or sees what hinders it."""

    name: str
    state: State
    detail: str
    violations: tuple[Violation, ...] = ()


def verdicts(found: Iterable[Violation], words: Mapping[str, Word]) -> list[Verdict]:
    """One verdict for each auditor; Findings of others stand under ``other`` if there are any.

    ``words`` are the auditors' own; one that says nothing is not running.
    """
    unsettled = [one for one in found if not one.settled]
    made = []
    for name, (auditor, claim) in AUDITORS.items():
        mine = tuple(one for one in unsettled if one.finding.auditor == auditor)
        word = words.get(auditor, Word("is not running"))
        if mine:
            made.append(Verdict(name, "VIOLATED", f"{len(mine)} open", mine))
        elif word.hindrance:
            made.append(Verdict(name, "UNPROVEN", f"{auditor} {word.hindrance}"))
        else:
            caveat = f" ({word.caveat})" if word.caveat else ""
            made.append(Verdict(name, "PROVEN", f"{claim}{caveat}"))
    known = {auditor for auditor, _ in AUDITORS.values()}
    others = tuple(one for one in unsettled if one.finding.auditor not in known)
    if others:
        made.append(Verdict("other", "VIOLATED", f"{len(others)} open", others))
    return made


def exit_code(made: Iterable[Verdict]) -> int:
    """0 if all is proven, 2 with an open violation, 1 if something could not be proven."""
    states = {one.state for one in made}
    return 2 if "VIOLATED" in states else 1 if "UNPROVEN" in states else 0
