"""Whether an operation may have a path or a service in its scope; the only place that decides it.

A path stands for itself and for all that is in it. Relative ones start at the checkout. Upper and
lower case count as the same: rather too much is refused than too little.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from ops import ops_bounds
from ops.ops_bounds import Rule

LONGEST_PATH = 1024
_UNSAFE = re.compile(r"[\\$`;|&<>(){}\"'!*?\[\]]")
_SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@:-]*")
_UNIT = re.compile(r"\.(?:service|socket|timer|path)\Z")
_MANY_SERVICES = re.compile(r"\.(?:target|slice|mount|scope|swap|device)\Z")


class ScopeError(ValueError):
    """A scope that no operation may have; the message names field, value and cure."""


def check_path(field: str, text: str, root: Path, ledger: Sequence[Path] = ()) -> None:
    """Whether ``text`` may be a path of an operation on the checkout ``root``.

    ``ledger`` are the files and folders of a ledger that lies elsewhere. Where links of this host
    lead is judged, too.

    Raises:
        ScopeError: if it is out of bounds, covers what is, or cannot be judged.
    """
    told = f"{field}: {text[:200]!r}"
    for wrong, cure in (
        (len(text) > LONGEST_PATH, f"is longer than {LONGEST_PATH} characters: name its folder"),
        (not text.strip(), "is empty: write a path"),
        (text != text.strip(), "begins or ends with a blank: leave it out"),
        (not text.isprintable(), "holds a character that nobody sees: write it anew"),
        (_UNSAFE.search(text), "holds a sign that a shell changes: name the file or the folder"),
        (text.startswith("~"), "depends on who reads it: write it from / on"),
        (re.search(r",\s*[/.]", text), "looks like several: give each as an argument of its own"),
        (".." in text.split("/"), "climbs with '..': write where it leads"),
    ):
        if wrong:
            raise ScopeError(f"{told} {cure}")
    named = Path(os.path.abspath(root), text)  # noqa: PTH100 - resolve() would follow links
    for place in (named, Path(os.path.realpath(named))):
        link = "" if place == named else f", a link to {str(place)!r},"
        for rule, what in _broken(place, root, ledger):
            raise ScopeError(f"{told}{link} {what} ({rule.what}): {rule.cure}")


def check_service(field: str, name: str) -> None:
    """Whether ``name`` may be a service that an operation restarts.

    Raises:
        ScopeError: if it is none, more than one, or out of bounds.
    """
    if not _SERVICE.fullmatch(name):
        raise ScopeError(
            f"{field}: {name[:200]!r} is not the name of one service: write it as systemctl or "
            "supervisorctl shows it"
        )
    if _MANY_SERVICES.search(name):
        raise ScopeError(f"{field}: {name!r} is no service: name those that it starts")
    reason = ops_bounds.SERVICES.get(_UNIT.sub("", name).casefold())
    if reason:
        raise ScopeError(f"{field}: {name!r} is out of bounds ({reason}): leave it out")


def _broken(place: Path, root: Path, ledger: Sequence[Path]) -> Iterator[tuple[Rule, str]]:
    """The rules that the absolute path ``place`` breaks, and how."""
    whole = _parts(place)
    homes = [_parts(one) for one in (root, os.path.realpath(root), *ops_bounds.CHECKOUTS)]
    inside = next((whole[len(home) :] for home in homes if whole[: len(home)] == home), None)
    for rule in ops_bounds.RULES:
        if any(_is(one, whole, inside) for one in rule.wholes):
            yield rule, "is too wide"
        for tree in rule.trees:
            if _reaches(tree, whole, inside):
                yield rule, f"reaches {tree}"
        # What a checkout lies in is nobody's choice: only what is below is judged by its name.
        for part in whole if inside is None else inside:
            named = any(fnmatchcase(part, name) for name in rule.names)
            if named and not part.endswith(ops_bounds.SOURCE):
                yield rule, f"has {part!r} in it"
    for kept in ledger:
        if any(_meet(whole, _parts(one)) for one in (kept, os.path.realpath(kept))):
            yield ops_bounds.LEDGER, f"reaches {kept}"
    if inside is None and any(_meet(whole, home) for home in homes):
        yield ops_bounds.EVERYTHING, "covers a checkout"


def _is(pattern: str, whole: Sequence[str], inside: Sequence[str] | None) -> bool:
    if pattern == ".":
        return inside is not None and not inside
    wanted = _parts(pattern)
    same = len(wanted) == len(whole) and all(map(fnmatchcase, whole, wanted))
    return inside is None and same


def _reaches(tree: str, whole: Sequence[str], inside: Sequence[str] | None) -> bool:
    """Whether a place lies in ``tree``, or holds it."""
    parts = _parts(tree)
    if tree.startswith("/"):
        # A checkout may lie anywhere, below /root for one.
        return inside is None and _meet(whole, parts)
    if inside is not None:
        return _meet(inside, parts)
    # Of a checkout that is not known as one; only what lies in the tree can be told then.
    starts = range(len(whole) - len(parts) + 1)
    return any(whole[at : at + len(parts)] == parts for at in starts)


def _meet(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether one of two places lies in the other."""
    return all(left == right for left, right in zip(one, other, strict=False))


def _parts(path: str | os.PathLike[str]) -> list[str]:
    return [part for part in os.fspath(path).casefold().split("/") if part not in ("", ".")]
