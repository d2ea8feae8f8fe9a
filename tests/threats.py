"""The only place that runs the tests which the threat model names, and writes what came of them.

``python -m tests.threats [--write]``: exit code 1 if one failed or is not there, or if no case of
a threat's tests ran at all (a single case may be skipped: root reads every file, say).
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.bench import machine

PAGE = machine.ROOT / "docs" / "security.md"
HEAD = "| threat | what stops it | shown by | last run |"
START, END = "<!-- run: measured -->\n", "<!-- end -->"
UNRUN = "not run yet"
HELD = re.compile(r"[1-9]\d* passed(, \d+ skipped)?")
SIDE_BY_SIDE = ("-n", "2", "--dist", "loadfile")
_NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
Outcomes = dict[str, Counter[str]]
"""``path::function`` -> how many of its cases passed, failed, were skipped."""


class Row(NamedTuple):
    """One threat of the page. ``tests`` are ``path::function``."""

    line: str
    threat: str
    measure: str
    shown: str
    last: str

    @property
    def tests(self) -> list[str]:
        return [f"{path}::{test}" for path, test in _NAMED.findall(self.shown)]

    def told(self, outcomes: Outcomes) -> str:
        """What its last run says, for the page."""
        found: Counter[str] = Counter()
        for test in self.tests:
            found += outcomes.get(test) or Counter({"MISSING": 1})
        return ", ".join(
            f"{count} {what}" if what.islower() else f"**{count} {what}**"
            for what, count in sorted(found.items())
        )


def rows(text: str) -> list[Row]:
    """The threats, in the page's order."""
    return [
        Row(line, *(cell.strip() for cell in line.strip("| ").split(" | ")))
        for line in text.splitlines()
        if line.startswith("| ") and not line.startswith((HEAD, "| --- "))
    ]


def place(test: str) -> str:
    """Where pytest finds it: with its class, if it is of one."""
    path, _, name = test.partition("::")
    for node in ast.parse((machine.ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and name in {getattr(n, "name", "") for n in node.body}:
            return f"{path}::{node.name}::{name}"
    return test


def run(tests: Sequence[str]) -> Outcomes:
    """Run these tests, and none else."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *SIDE_BY_SIDE, f"--junitxml={report}",
             *map(place, tests)],
            cwd=machine.ROOT, check=False, stdout=sys.stderr,
        )  # fmt: skip
        return read(report.read_bytes())


def read(report: bytes) -> Outcomes:
    """The outcomes in a report as pytest writes them."""
    found: Outcomes = {}
    for case in ET.fromstring(report).iter("testcase"):  # noqa: S314 - our own pytest wrote it
        # tests.unit.test_a, or tests.unit.test_a.TestClass
        module = str(case.get("classname")).partition(".Test")[0]
        path = module.replace(".", "/") + ".py"
        test = f"{path}::{str(case.get('name')).partition('[')[0]}"
        kinds = {one.tag for one in case} & {"failure", "error", "skipped"}
        what = "skipped" if kinds == {"skipped"} else "FAILED" if kinds else "passed"
        found.setdefault(test, Counter())[what] += 1
    return found


def rendered(text: str, outcomes: Outcomes) -> str:
    """The page with what came of the run."""
    for row in rows(text):
        cells = (row.threat, row.measure, row.shown, row.told(outcomes))
        text = text.replace(row.line, f"| {' | '.join(cells)} |")
    total = sum(outcomes.values(), Counter())
    told = ", ".join(f"{count} {what}" for what, count in sorted(total.items()))
    facts = "\n".join(
        f"- {label}: {fact}" for label, fact in machine.facts().items() if label != "Processors"
    )
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    run_of = (
        f"`python -m tests.threats --write` ran the {len(outcomes)} tests of this page: {told}."
    )
    return f"{before}{START}{run_of}\n\n{facts}\n{END}{after}"


def main(argv: Sequence[str]) -> int:
    """Run them; 1 if a threat is not shown to be stopped."""
    parser = argparse.ArgumentParser(prog="python -m tests.threats", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write it into docs/{PAGE.name}")
    args = parser.parse_args(argv)
    text = PAGE.read_text(encoding="utf-8")
    wanted = rows(text)
    outcomes = run(sorted({test for row in wanted for test in row.tests}))
    wrong = [row for row in wanted if not HELD.fullmatch(row.told(outcomes))]
    for row in wrong:
        print(f"{row.threat}: {row.told(outcomes)}")
    if args.write:
        PAGE.write_text(rendered(text, outcomes), encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
