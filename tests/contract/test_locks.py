"""The only place that holds the lock files to the requirements files, offline."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PAIRS = [
    ("requirements.txt", "requirements.lock"),
    ("requirements-dev.txt", "requirements-dev.lock"),
]
# Markers differ between these; a pin must be locked wherever it applies.
PLATFORMS = [
    {"sys_platform": "linux", "platform_machine": "x86_64", "platform_system": "Linux"},
    {"sys_platform": "linux", "platform_machine": "aarch64", "platform_system": "Linux"},
    {"sys_platform": "darwin", "platform_machine": "arm64", "platform_system": "Darwin"},
]
PYTHONS = ["3.11.0", "3.12.0", "3.13.0", "3.14.0"]


def asked(path: Path) -> list[Requirement]:
    """The pins of a requirements file, those of the files it includes too."""
    found = []
    for raw in path.read_text().splitlines():
        line = raw.partition("#")[0].strip()
        if line.startswith("-r "):
            found += asked(path.parent / line[3:].strip())
        elif line:
            found.append(Requirement(line))
    return found


def locked(text: str) -> list[tuple[Requirement, list[str]]]:
    """Each requirement of a lock file with its hashes."""
    found = []
    for entry in text.replace("\\\n", " ").splitlines():
        line = entry.partition("#")[0].strip()
        if line:
            head, *hashes = re.split(r"\s+--hash=", line)
            found.append((Requirement(head), hashes))
    return found


def missing(wanted: list[Requirement], held: list[Requirement]) -> list[str]:
    """What is asked for but not locked in that version, per platform and Python."""
    problems = []
    for platform in PLATFORMS:
        for python in PYTHONS:
            where = {**platform, "python_version": python[:4], "python_full_version": python}
            pins = {
                canonicalize_name(item.name): str(item.specifier)
                for item in held
                if item.marker is None or item.marker.evaluate(where)
            }
            problems += [
                f"{item} on {where}: locked {pins.get(canonicalize_name(item.name))}"
                for item in wanted
                if (item.marker is None or item.marker.evaluate(where))
                and pins.get(canonicalize_name(item.name)) != str(item.specifier)
            ]
    return problems


@pytest.mark.parametrize(("source", "lock"), PAIRS)
def test_every_pin_is_locked_in_that_version_on_every_platform(source, lock):
    held = [item for item, _ in locked((ROOT / lock).read_text())]
    assert missing(asked(ROOT / source), held) == []


@pytest.mark.parametrize(("source", "lock"), PAIRS)
def test_every_requirement_is_an_exact_pin(source, lock):
    # given what we ask for and what is locked
    held = [item for item, _ in locked((ROOT / lock).read_text())]
    # then a range, a URL or a path stands nowhere: each would let an index choose for us
    loose = [
        str(item)
        for item in asked(ROOT / source) + held
        if item.url or not re.fullmatch(r"==[^*,]+", str(item.specifier))
    ]
    assert loose == []


@pytest.mark.parametrize("lock", [lock for _, lock in PAIRS])
def test_every_locked_requirement_has_sha256_hashes(lock):
    entries = locked((ROOT / lock).read_text())
    assert entries
    bare = [
        str(item)
        for item, hashes in entries
        if not hashes or not all(re.fullmatch("sha256:[0-9a-f]{64}", digest) for digest in hashes)
    ]
    assert bare == []


@pytest.mark.parametrize("lock", [lock for _, lock in PAIRS])
def test_no_lock_names_an_index_or_a_path(lock):
    text = (ROOT / lock).read_text()
    assert not re.search(r"https?://|file:|--(extra-)?index|--find-links|/home/|/tmp/|/root/", text)


def test_the_dev_lock_holds_the_runtime_lock_so_that_one_venv_serves_both():
    # given both locks, each requirement with its hashes
    runtime = {
        str(item): sorted(hashes) for item, hashes in locked((ROOT / PAIRS[0][1]).read_text())
    }
    dev = {str(item): sorted(hashes) for item, hashes in locked((ROOT / PAIRS[1][1]).read_text())}
    # then ./test never replaces a package under a running system
    assert {name: dev.get(name) for name in runtime} == runtime


def test_a_lock_out_of_step_is_noticed():
    # given a lock with another version, and one that lacks the pin on a platform
    wanted = [Requirement("redis==8.1.0")]
    assert missing(wanted, [Requirement("redis==8.0.0")])
    assert missing(wanted, [Requirement("redis==8.1.0 ; sys_platform == 'linux'")])
    assert missing(wanted, [Requirement("redis==8.1.0")]) == []
