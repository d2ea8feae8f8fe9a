"""The only place that asks whether a vulnerability is known in what we stand on: pip-audit.

An answer counts only from a service that knows a fault which everybody knows (:data:`CANARY`). A
mirror of a package index serves files and has no advisories: asked for them it has no bad news of
anything, and that is no good news. Then the verdict is NOT AUDITED, in as many words, exit code 75;
``--require-service`` makes it 1.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from packaging.utils import canonicalize_name

from tests.supply.sbom import locked

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.lock", "requirements-dev.lock")
CANARY = "requests==2.19.0"
"""CVE-2018-18074; every service that has advisories has this one."""
_CANARY_LOCK = f"{CANARY} --hash=sha256:{'0' * 64}\n"
_LIMIT_S = 900.0
_PROBE_S = 60.0
EXIT_NOT_AUDITED = 75

Outcome = Literal["clean", "vulnerable", "not audited"]


@dataclass(frozen=True)
class Verdict:
    """What is known of a set of pins."""

    outcome: Outcome
    lines: tuple[str, ...] = field(default=())

    def exit_code(self, *, required: bool) -> int:
        """0 clean, 1 vulnerable, 75 not audited (1 where a service is required)."""
        if self.outcome == "not audited":
            return 1 if required else EXIT_NOT_AUDITED
        return 0 if self.outcome == "clean" else 1


def judge(report: str, wanted: set[str]) -> Verdict:
    """The verdict on pip-audit's JSON report about the packages ``wanted``. Pure.

    Clean means that each of them was looked up and nothing was found: one that was skipped, or is
    not in the report, makes it "not audited". A known vulnerability weighs more than a gap.
    """
    try:
        told: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return Verdict("not audited", ("pip-audit gave no report",))
    bad = [
        f"{one['name']} {one.get('version')}: {found['id']}, fixed in "
        f"{', '.join(found.get('fix_versions') or ['no version yet'])}"
        for one in told
        for found in one.get("vulns", ())
    ]
    if bad:
        return Verdict("vulnerable", tuple(bad))
    skipped = [f"{one['name']}: {one['skip_reason']}" for one in told if "skip_reason" in one]
    looked = {str(one["name"]).lower().replace("_", "-") for one in told if "vulns" in one}
    missing = [f"{name}: not in the report" for name in sorted(wanted - looked)]
    if skipped or missing:
        return Verdict("not audited", (*skipped, *missing))
    return Verdict("clean", (f"{len(told)} packages",))


def audit(lock: Path, *, service: list[str], limit_s: float = _LIMIT_S) -> tuple[str, str]:
    """pip-audit's JSON report about a lock, and what it said; an empty report if it failed."""
    try:
        ran = subprocess.run(
            [
                sys.executable, "-m", "pip_audit", "--strict", "--require-hashes", "--disable-pip",
                "--progress-spinner", "off", "--format", "json", "-r", str(lock), *service,
            ],
            capture_output=True, text=True, timeout=limit_s, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "", f"no answer within {limit_s:.0f} s"
    return ran.stdout, ran.stderr.strip().rpartition("\n")[2][:300]


def services(osv_url: str) -> list[list[str]]:
    """The options of the services to try, best first."""
    if osv_url:
        return [["-s", "osv", "--osv-url", osv_url]]
    return [["-s", "pypi"], ["-s", "osv"]]


def knowing(candidates: list[list[str]]) -> tuple[list[str] | None, list[str]]:
    """The first service that knows the canary's fault; and what the others said."""
    said = []
    with tempfile.TemporaryDirectory() as name:
        lock = Path(name, "canary.lock")
        lock.write_text(_CANARY_LOCK)
        for service in candidates:
            report, told = audit(lock, service=service, limit_s=_PROBE_S)
            if judge(report, {"requests"}).outcome == "vulnerable":
                return service, said
            said.append(f"{' '.join(service)}: {told or 'knows no fault of ' + CANARY}")
    return None, said


def main(*, osv_url: str, required: bool) -> int:
    """Audit both locks; gives the worse exit code."""
    service, said = knowing(services(osv_url))
    if service is None:
        verdict = Verdict("not audited", tuple(said))
        _tell("both locks", verdict)
        return verdict.exit_code(required=required)
    code = 0
    for name in LOCKS:
        verdict = audited(ROOT / name, service)
        _tell(name, verdict)
        # 1 weighs more than 75: a fault that is known is worse than one that may be there.
        found = verdict.exit_code(required=required)
        code = found if found == 1 or not code else code
    return code


def audited(lock: Path, service: list[str]) -> Verdict:
    """The verdict on one lock by a service that is known to know."""
    report, told = audit(lock, service=service)
    verdict = judge(report, _pinned_here(lock))
    return (
        verdict
        if verdict.outcome != "not audited"
        else Verdict("not audited", (*verdict.lines, told))
    )


def _pinned_here(lock: Path) -> set[str]:
    """The packages of a lock that this platform installs: pip-audit leaves the others out."""
    return {
        str(canonicalize_name(item.name))
        for item, _ in locked(lock.read_text())
        if item.marker is None or item.marker.evaluate()
    }


def _tell(what: str, verdict: Verdict) -> None:
    out = sys.stdout if verdict.outcome == "clean" else sys.stderr
    print(f"advisories: {what}: {verdict.outcome.upper()}", file=out)
    for line in verdict.lines:
        print(f"  {line}", file=out)
