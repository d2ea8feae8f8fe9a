"""The only place that runs bandit, and says which of its findings are accepted and why.

ruff's S rules bear bandit's numbers, so one mark serves both: a finding is accepted where its line
carries ``# noqa: S<number> - reason``, where pyproject.toml leaves the rule out with its reason, or
in :data:`ACCEPTED`, for what only bandit sees. Anything else is red.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("quantum_ops", "consumers", "producers", "ops")
PLANTED = "import subprocess\n\n\ndef run(what):\n    return subprocess.run(what, shell=True)\n"
"""What the scan must find before its silence counts for anything."""
ACCEPTED = {
    ("*", "B404"): "importing subprocess is no fault; each call is judged by B602 to B607",
    ("ops/daemon.py", "B411"): "talks to our own supervisord over its 0700 socket",
    ("quantum_ops/ledger/evidence/supervisord.py", "B411"): "the same, and its answer is capped",
    ("quantum_ops/ledger/aside.py", "B403"): "importing is no fault; its load is judged by B301",
    ("ops/completion.py", "B604"): "an argument of our own function is called shell: bash or zsh",
}


@dataclass(frozen=True)
class Issue:
    """One finding of bandit."""

    file: str
    line: int
    test: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.test} {self.text}"


def scan(root: Path, folders: tuple[str, ...] = SHIPPED) -> list[Issue]:
    """Everything that bandit finds below ``root``; raises RuntimeError if it could not look."""
    ran = subprocess.run(
        [sys.executable, "-m", "bandit", "-q", "-r", "-f", "json", "--ignore-nosec", *folders],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    try:
        told = json.loads(ran.stdout)
    except ValueError:
        raise RuntimeError(f"bandit gave no report: {ran.stderr[-2000:]}") from None
    if told["errors"] or not told["metrics"]["_totals"]["loc"]:
        raise RuntimeError(f"bandit could not read everything: {told['errors']}")
    return [
        Issue(
            one["filename"].removeprefix("./"), one["line_number"], one["test_id"],
            one["issue_text"],
        )
        for one in told["results"]
    ]  # fmt: skip


def left_out() -> set[str]:
    """The S rules that pyproject.toml leaves out everywhere, by bandit's names."""
    ignored = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]["ignore"]
    return {f"B{one[1:]}" for one in ignored if re.fullmatch(r"S\d{3}", one)}


def refused(issues: list[Issue], root: Path) -> tuple[list[Issue], set[tuple[str, str]]]:
    """What nobody accepted, and the rows of :data:`ACCEPTED` that accept nothing any more."""
    skipped, used, bad = left_out(), Counter[tuple[str, str]](), []
    for one in issues:
        marks = re.search(r"# noqa: ([A-Z0-9, ]+)", _line(root, one))
        marked = f"S{one.test[1:]}" in re.findall(r"S\d{3}", marks[1]) if marks else False
        row = next(
            (key for key in ((one.file, one.test), ("*", one.test)) if key in ACCEPTED), None
        )
        if row:
            used[row] += 1
        elif not marked and one.test not in skipped:
            bad.append(one)
    return bad, ACCEPTED.keys() - used.keys()


def finds_what_is_planted() -> bool:
    """Whether the scan, run as it is run on our code, sees a fault that is there."""
    with tempfile.TemporaryDirectory() as name:
        Path(name, "planted").mkdir()
        Path(name, "planted", "fault.py").write_text(PLANTED)
        found, _ = refused(scan(Path(name), ("planted",)), Path(name))
    return [one.test for one in found] == ["B602"]


def main() -> int:
    """Look; gives 1 for a finding, for a row that is no longer needed, for a blind scan."""
    if not finds_what_is_planted():
        print(
            "bandit does not find a planted shell=True: its silence says nothing", file=sys.stderr
        )
        return 1
    issues = scan(ROOT)
    bad, idle = refused(issues, ROOT)
    for one in bad:
        print(one, file=sys.stderr)
    for row in sorted(idle):
        print(
            f"accepted, but no longer there: {row}; take it out of tests/supply/code.py",
            file=sys.stderr,
        )
    if bad or idle:
        return 1
    print(f"bandit: {len(issues)} findings, each with its reason; a planted one was found")
    return 0


def _line(root: Path, issue: Issue) -> str:
    return (root / issue.file).read_text().splitlines()[issue.line - 1]
