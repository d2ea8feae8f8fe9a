"""The only place that decides what evidence a deploy event gets, and where it comes from.

Collecting is the ledger's own business (:mod:`quantum_ops.ledger.evidence`); here it is decided
whether this host may speak for the deploy at all, and what the event knows better.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from quantum_ops.events import DeployCompleted
from quantum_ops.ledger import evidence, ids

LISTED = ("allowed_services", "metrics_urls", "metrics_grep", "redis_cmds")


class Evidence:
    """The evidence of one batch; what several of its events ask alike is collected once."""

    def __init__(
        self, root: Path, logs: Path, environ: Mapping[str, str], *, stale_s: float
    ) -> None:
        self._root, self._logs, self._environ = root, logs, environ
        self._stale_s = stale_s
        self._host = socket.gethostname().encode("ascii", "backslashreplace").decode()
        self._found: dict[Any, dict[str, Any]] = {}

    def of(self, event: DeployCompleted, id_: str, age_s: float, now: datetime) -> dict[str, Any]:
        """The fields of ``entry.EVIDENCE`` for the event in entry ``id_``. Never raises."""
        asked = self._asked(event)
        if event.hostname and event.hostname != self._host:
            found: dict[str, Any] = {}
            if any(asked):
                _incomplete(
                    found,
                    f"not collected: the deploy was on {event.hostname}, the ledger is kept on "
                    f"{self._host}",
                )
        else:
            found = dict(self._collected(event, id_, asked, now))
            if any(asked) and age_s > self._stale_s:
                _incomplete(
                    found, f"collected {age_s:.0f} s after the deploy: it may show another state"
                )
        return _known_better(found, event)

    def forget(self) -> None:
        """What was collected is of one moment."""
        self._found.clear()

    @staticmethod
    def _asked(event: DeployCompleted) -> tuple[Any, ...]:
        return (event.proof_path, *(getattr(event, name) for name in LISTED))

    def _collected(
        self, event: DeployCompleted, id_: str, asked: tuple[Any, ...], now: datetime
    ) -> dict[str, Any]:
        key = (event.outcome, *asked)
        if key not in self._found:
            self._found[key] = self._collect(event, id_, now)
        return self._found[key]

    def _collect(self, event: DeployCompleted, id_: str, now: datetime) -> dict[str, Any]:
        named = event.operation_id if ids.is_valid(event.operation_id) else ""
        wanted = evidence.Wanted(
            operation=named or f"{now.strftime('%Y%m%dT%H%M%SZ')}-{id_}",
            outcome=event.outcome,
            services=event.allowed_services,
            proof_path=event.proof_path,
            metrics_urls=event.metrics_urls,
            metrics_grep=event.metrics_grep,
            redis_cmds=event.redis_cmds,
            root=self._root,
            environ=self._environ,
        )
        return evidence.collect(wanted, now, self._logs)


def _known_better(found: dict[str, Any], event: DeployCompleted) -> dict[str, Any]:
    """``found`` with what the event itself says of the commit and the host of its deploy."""
    if event.git_commit:
        # Branch and state of our checkout say nothing of another commit.
        for name in ("git_branch", "git_dirty"):
            found.pop(name, None)
        found["git_commit"] = event.git_commit
    for name in ("git_branch", "hostname"):
        if getattr(event, name):
            found[name] = getattr(event, name)
    return found


def _incomplete(found: dict[str, Any], problem: str) -> None:
    told = found.get("evidence_problems", [])
    found["evidence"] = "incomplete"
    found["evidence_problems"] = [*told, f"evidence: {problem}"]
