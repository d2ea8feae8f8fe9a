"""The only place that knows which processes an operator means by a name."""

from __future__ import annotations

from collections.abc import Mapping

from ops import scale_plan
from ops.daemon import BUSY_STATES, Process
from ops.paths import ROOT, Paths


class UnknownNameError(KeyError):
    """No such process, program or role; the message lists what there is."""

    def __str__(self) -> str:
        return str(self.args[0])


def meant(processes: list[Process], names: list[str], wanted: Mapping[str, int]) -> list[Process]:
    """The processes that ``names`` mean, in supervisord's order of them.

    A name is a process (``p33-01``, ``p33:p33-01``), a program (``p33``) or a role (``consumers``,
    ``producers``); ``:*`` at its end changes nothing. Spares that nobody asked for (``wanted``, see
    :mod:`ops.scale_plan`) are meant by their own name only, or when they run. Raises
    :class:`UnknownNameError`.
    """
    found: list[Process] = []
    for name in names:
        stem = name.removesuffix(":*")
        exact = [p for p in processes if stem in (p.name, p.address) and p.program != stem]
        family = [p for p in processes if stem in (p.program, p.role, p.group)]
        if not exact and not family:
            known = ", ".join(sorted({process.program for process in processes}))
            raise UnknownNameError(
                f"no program {name!r}; there are: {known}, consumers and producers"
            )
        some = exact or [
            p for p in family if p.state in BUSY_STATES or scale_plan.is_wanted(p, wanted)
        ]
        found += [process for process in some if process not in found]
    return found


def programs(processes: list[Process], names: list[str]) -> list[str]:
    """The names to note for ``names``: a role stands for its programs, the rest for itself.

    Raises :class:`UnknownNameError`.
    """
    found: list[str] = []
    for name in names:
        stem = name.removesuffix(":*")
        exact = [p.name for p in processes if stem in (p.name, p.address)]
        family = sorted({p.program for p in processes if stem in (p.program, p.role, p.group)})
        meant(processes, [name], {})
        some = family if stem not in exact or stem in family else exact
        found += [one for one in some or exact if one not in found]
    return found


def declared(paths: Paths, names: list[str]) -> list[str]:
    """``names`` of programs, judged by their stanzas alone, for when nothing runs.

    Raises :class:`UnknownNameError`.
    """
    folders = [ROOT / "supervisor" / name for name in ("conf.d", "server.d", "demo.d")]
    known = {path.stem for folder in folders for path in folder.glob("*.conf")}
    known |= {path.stem for path in paths.release_stanzas.glob("[!0-9]*.conf")}
    known = {name for name in known if not name.endswith("_spare")}
    for name in names:
        if name not in known and name.rpartition("-")[0] not in known:
            raise UnknownNameError(f"no program {name!r}; there are: {', '.join(sorted(known))}")
    return names
