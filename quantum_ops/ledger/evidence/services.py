"""The only place that decides whom to ask about a service, and whether the answer fits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from quantum_ops.ledger.evidence import places, states, supervisord, systemd
from quantum_ops.ledger.evidence.finding import Finding, failed, one_line
from quantum_ops.ledger.evidence.jobs import Deadline

NAME = re.compile(r"[A-Za-z0-9_@][A-Za-z0-9:_.@\\-]{0,254}")
"""What a unit or program may be called. Anything else would be an option, or a pattern."""


def look(
    service: str, outcome: str, root: Path, environ: Mapping[str, str], deadline: Deadline
) -> Finding:
    """``services_status`` of one service, its log lines, and what does not fit the outcome.

    Asked are our supervisord, then the host's, then systemd: the first that knows it. A SUCCESS
    with a service that is not active is a problem; after a ROLLBACK it is what was to be seen.
    """
    if not NAME.fullmatch(service):
        return failed(f"service {one_line(service, 80)!r}: is no name of a service")
    told: list[str] = []
    finding = None
    try:
        # Half of the time: one that hangs must leave some for the others.
        half = Deadline(deadline.left() / 2)
        finding = supervisord.ask(places.supervisor_socket(root, environ), service, half)
    except Exception as error:  # noqa: BLE001 - the XML of a broken server raises anything
        told.append(f"service {service}: our supervisord gave no answer ({error!r:.200})")
    finding = finding or supervisord.ask_host(service, environ, deadline)
    finding = finding or systemd.ask(service, environ, deadline)
    state = finding.fields["services_status"][service]
    if state == states.UNKNOWN:
        finding.problems[:0] = told
    elif outcome == "SUCCESS" and state != states.ACTIVE:
        finding.problems.insert(0, f"service {service}: {state}, while the outcome is SUCCESS")
    return finding
