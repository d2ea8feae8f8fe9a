"""The only place that puts names on the warden's hold list and takes them off."""

from __future__ import annotations

from ops import naming, single, system
from ops.daemon import AbsentError
from ops.paths import Paths
from ops.telling import Teller
from ops.warden import holds


def hold(names: list[str], why: str, tell: Teller) -> int:
    """Hold ``names``, or list what is held; gives the exit code 0.

    Raises :class:`~ops.naming.UnknownNameError`, :class:`~ops.warden.holds.UnreadableHoldsError`.
    """
    paths, _ = system.find()
    if names:
        holds.add(paths, _known(paths, names), single.made(why))
    held = holds.read(paths)
    for name in _known(paths, names) if names else sorted(held):
        one = held[name]
        until = ", until it is started" if one.until_started else ""
        detail = f"since {one.since} by {one.by}{until}{': ' if one.why else ''}{one.why}"
        tell.row(
            name, "held", detail,
            since=one.since, by=one.by, why=one.why, until_started=one.until_started,
        )  # fmt: skip
    if not held:
        tell.line("nothing is on hold")
    return 0


def release(names: list[str], tell: Teller) -> int:
    """Release ``names``; gives the exit code 0. Raises as :func:`hold`.

    A name that stands in the list is taken off whether or not a program of it exists any more.
    """
    paths, _ = system.find()
    held = holds.read(paths)
    unknown = [name for name in names if name not in held]
    wanted = [name for name in names if name in held] + (_known(paths, unknown) if unknown else [])
    were = holds.remove(paths, wanted)
    for name in wanted:
        tell.row(name, "released" if name in were else "was not held")
    return 0


def _known(paths: Paths, names: list[str]) -> list[str]:
    try:
        return naming.programs(system.daemon(paths).processes(), names)
    except AbsentError:
        return naming.declared(paths, names)
