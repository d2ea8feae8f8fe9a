"""The only place that keeps log lines of services: 30 lines each, redacted, by operation."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from quantum_ops.ledger import durable, redaction
from quantum_ops.ledger.evidence.finding import Finding, one_line

LINES = 30
LINE_CHARACTERS = 2000
_UNUSUAL = re.compile(r"[^A-Za-z0-9_@.-]|^\.")
# Everything that a terminal would obey rather than show.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def keep(folder: Path, operation: str, found: Mapping[str, bytes], known: Sequence[str]) -> Finding:
    """Write the last lines of each log; ``services_logs`` names the files and their digests."""
    finding = Finding()
    kept: dict[str, str] = {}
    for service, raw in sorted(found.items()):
        content = shown(raw, known)
        path = folder / _name(operation) / f"{_name(service)}.log"
        try:
            durable.write(path, content)
        except OSError as error:
            finding.problems.append(f"log of {service}: cannot be kept ({one_line(error)})")
        else:
            digest = hashlib.sha256(content).hexdigest()
            kept[service] = f"{folder.name}/{path.relative_to(folder)} sha256:{digest}"
    if kept:
        finding.fields["services_logs"] = kept
    return finding


def shown(raw: bytes, known: Sequence[str] = ()) -> bytes:
    """The last lines of a log as they are kept: UTF-8, nothing invisible, nothing secret."""
    lines = raw.decode("utf-8", "backslashreplace").replace("\r\n", "\n").split("\n")
    if lines and not lines[-1]:
        lines.pop()
    # Before lines are cut: half a secret would not be known for one.
    text = redaction.redact("\n".join(lines[-LINES:]), known)
    cut = [
        line if len(line) <= LINE_CHARACTERS else f"{line[:LINE_CHARACTERS]}..."
        for line in text.split("\n")
    ]
    text = _CONTROL.sub(lambda one: f"\\x{ord(one[0]):02x}", "\n".join(cut))
    return f"{text}\n".encode("utf-8", "backslashreplace") if text else b""


def _name(text: str) -> str:
    return _UNUSUAL.sub("_", text)[:100]
