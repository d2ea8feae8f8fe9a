"""The only place where evidence asks systemd: a unit's state, and its last log lines."""

from __future__ import annotations

from collections.abc import Mapping

from quantum_ops.ledger.evidence import programs, states
from quantum_ops.ledger.evidence.finding import Finding, one_line
from quantum_ops.ledger.evidence.jobs import Deadline

LINES = 30


def ask(unit: str, environ: Mapping[str, str], deadline: Deadline) -> Finding:
    """The unit's state. What systemd does not know, or nobody can be asked about, is unknown."""
    state, problem = _state(unit, environ, deadline)
    finding = Finding({"services_status": {unit: state}})
    if problem:
        finding.problems.append(f"service {unit}: {problem}")
    if state != states.UNKNOWN:
        _log(unit, environ, deadline, finding)
    return finding


def _state(unit: str, environ: Mapping[str, str], deadline: Deadline) -> tuple[str, str]:
    ran = programs.run(["systemctl", "is-active", "--", unit], deadline, environ)
    if ran.problem:
        return states.UNKNOWN, ran.problem
    word = ran.out.strip()
    if word not in states.KNOWN:
        return states.UNKNOWN, one_line(ran.err or ran.out) or "systemctl says nothing about it"
    if word == "inactive":
        # Also said of a unit that does not exist.
        shown = programs.run(
            ["systemctl", "show", "--property=LoadState", "--", unit], deadline, environ
        )
        if "LoadState=not-found" in shown.out:
            return states.UNKNOWN, "there is no such unit"
    return word, "" if word != states.UNKNOWN else "systemctl does not know it"


def _log(unit: str, environ: Mapping[str, str], deadline: Deadline, finding: Finding) -> None:
    ran = programs.run(
        ["journalctl", f"--unit={unit}", f"--lines={LINES}", "--no-pager", "--quiet",
         "--output=short-iso"], deadline, environ,
    )  # fmt: skip
    if ran.problem or ran.code:
        why = ran.problem or one_line(ran.err) or f"journalctl ended with {ran.code}"
        finding.problems.append(f"log of {unit}: {why}")
    elif ran.out.strip():
        finding.logs[unit] = ran.out.encode("utf-8", "backslashreplace")
