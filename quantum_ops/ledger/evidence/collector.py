"""The only place that decides what is looked at for an operation, and puts it together."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from quantum_ops.ledger import redaction
from quantum_ops.ledger.evidence import checkout, logs, metrics, proof_file, services, snapshot
from quantum_ops.ledger.evidence.finding import Finding, one_line
from quantum_ops.ledger.evidence.jobs import Deadline, Job, run

METRICS_S, REDIS_S, GIT_S, PROOF_S, SERVICES_S = 2.0, 2.0, 3.0, 3.0, 4.0
"""Seconds for each look, all of them at the same time."""

MOST_OF_EACH = 20
"""Services, addresses and commands that are looked at; an event may name thousands."""

MOST_PROBLEMS = 30
_SNAPSHOT_BYTES = 20 * 1024
"""Of each snapshot: a record holds 64 KiB."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to look at.

    ``operation`` names the folder of its logs. A relative ``proof_path`` and the checkout are
    looked for at ``root``; Redis, supervisord and programs as ``environ`` says.
    """

    operation: str
    outcome: str = "SUCCESS"
    services: Sequence[str] = ()
    proof_path: str = ""
    metrics_urls: Sequence[str] = ()
    metrics_grep: Sequence[str] = ()
    redis_cmds: Sequence[str] = ()
    root: Path
    environ: Mapping[str, str] = field(repr=False)


def collect(wanted: Wanted, now: datetime, logs_folder: Path) -> dict[str, Any]:
    """Everything that can be seen of an operation, as fields of ``entry.EVIDENCE``.

    Takes ``SERVICES_S`` seconds at most, and the time to write the logs. Never raises: what could
    not be seen stands in ``evidence_problems``, and ``evidence`` is ``incomplete`` then. Everything
    in it is redacted, and so are the logs in ``logs_folder``. ``now`` is the caller's moment; files
    and services tell their own.
    """
    try:
        return _collect(wanted, now, logs_folder)
    except Exception as error:  # noqa: BLE001 - a deploy was done: it is recorded in any case
        told = f"evidence: could not be collected: {one_line(repr(error))}"
        return {"hostname": _host(), **_flagged([redaction.redact(told)])}


def _collect(wanted: Wanted, now: datetime, logs_folder: Path) -> dict[str, Any]:
    del now
    known = redaction.known(wanted.environ)
    total = Finding({"hostname": _host()})
    for one in run(_jobs(wanted, total)):
        _add(total, one)
    kept = logs.keep(logs_folder, wanted.operation, total.logs, known)
    total.fields |= kept.fields
    problems = [*total.problems, *kept.problems]
    fields = {
        name: _bounded(value) if name.endswith("_snapshot") else value
        for name, value in redaction.redact_all(total.fields, known).items()
    }
    if len(problems) > MOST_PROBLEMS:
        problems[MOST_PROBLEMS:] = [f"... {len(problems) - MOST_PROBLEMS} more"]
    told = [redaction.redact(one_line(one, 2000), known) for one in problems]
    return {**fields, **_flagged([one_line(one) for one in told])}


def _jobs(wanted: Wanted, total: Finding) -> list[Job]:
    root, environ = Path(wanted.root), wanted.environ
    jobs = [Job("git", GIT_S, lambda by: checkout.look(root, environ, by))]
    jobs += [
        Job(f"service {one_line(one, 80)}", SERVICES_S, _service(one, wanted))
        for one in _first("allowed_services", wanted.services, total)
    ]
    if wanted.proof_path:
        path = root / wanted.proof_path
        jobs.append(Job("proof_file", PROOF_S, lambda by: proof_file.look(path, by)))
    patterns = _first("metrics_grep", wanted.metrics_grep, total)
    if patterns and not wanted.metrics_urls:
        total.problems.append("metrics_grep: there is no page to look in; name one: metrics_urls")
    jobs += [
        Job(f"metrics {one_line(one, 200)}", METRICS_S, _metrics(one, patterns, wanted))
        for one in _first("metrics_urls", wanted.metrics_urls, total)
    ]
    asked = _first("redis_cmds", wanted.redis_cmds, total)
    if asked:
        jobs.append(Job("redis", REDIS_S, lambda by: snapshot.look(asked, root, environ, by)))
    return jobs


def _service(name: str, wanted: Wanted) -> Callable[[Deadline], Finding]:
    root, environ = Path(wanted.root), wanted.environ
    return lambda by: services.look(name, wanted.outcome, root, environ, by)


def _metrics(url: str, patterns: Sequence[str], wanted: Wanted) -> Callable[[Deadline], Finding]:
    return lambda by: metrics.look(url, patterns, wanted.environ, by)


def _first(name: str, values: Sequence[str], total: Finding) -> list[str]:
    found = list(dict.fromkeys(values))
    if len(found) > MOST_OF_EACH:
        total.problems.append(f"{name}: {len(found)} are given, the first {MOST_OF_EACH} looked at")
    return found[:MOST_OF_EACH]


def _add(total: Finding, one: Finding) -> None:
    """Put ``one`` to ``total``: texts behind each other, maps together."""
    for name, value in one.fields.items():
        before = total.fields.get(name)
        if isinstance(before, str) and name.endswith("_snapshot"):
            total.fields[name] = before + value
        elif isinstance(before, dict):
            total.fields[name] = {**before, **value}
        else:
            total.fields[name] = value
    total.problems += one.problems
    total.logs |= one.logs


def _bounded(text: str) -> str:
    raw = text.encode("utf-8", "backslashreplace")
    if len(raw) <= _SNAPSHOT_BYTES:
        return text
    cut = raw[:_SNAPSHOT_BYTES]
    return cut[: cut.rfind(b"\n") + 1].decode("utf-8", "ignore") + "... cut at 20 KiB\n"


def _flagged(problems: list[str]) -> dict[str, Any]:
    return {"evidence": "incomplete", "evidence_problems": problems} if problems else {}


def _host() -> str:
    return socket.gethostname().encode("ascii", "backslashreplace").decode()
