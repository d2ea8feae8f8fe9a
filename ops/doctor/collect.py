"""The only place that gathers the doctor's snapshot; it changes nothing, anywhere."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from ops import archive_place, leftovers, system
from ops.daemon import AbsentError, Daemon, HungError, RefusedByDaemonError
from ops.doctor import exchange_clock, server_facts
from ops.doctor.snapshot import Disk, FileMode, Port, ServerFacts, Snapshot
from ops.leftovers import Leftover
from ops.paths import Paths
from ops.running import Running
from ops.system import Sight
from quantum_ops import client, env_files, knobs
from quantum_ops.errors import ConfigurationError
from quantum_ops.settings import (
    SECTIONS,
    ExporterSettings,
    LedgerSettings,
    PositionsSettings,
    StatusPageSettings,
    UniverseSettings,
)

T = TypeVar("T")
_OTHERS, _EVERYBODY_ELSE, _OTHERS_WRITING = 0o007, 0o077, 0o002


def take(*, ask_exchange: bool = False) -> Snapshot:
    """Look at everything once. Never raises for what it looks at: that is what is looked for.

    ``ask_exchange``: ask the exchange for the time, which is one request over the network.
    """
    problems: list[str] = []
    for section in SECTIONS:
        _try(lambda section=section: knobs.load(section), problems)  # type: ignore[misc]
    found = _try(system.find, problems)
    if found is None:
        return Snapshot(settings=tuple(dict.fromkeys(problems)))
    paths, current = found
    sight, daemon_problem = _sight(paths, current)
    skew_ms, exchange_problem = None, ""
    if ask_exchange:
        universe = _try(lambda: knobs.load(UniverseSettings), []) or UniverseSettings()
        skew_ms, exchange_problem = exchange_clock.skew_ms(universe)
    facts = ServerFacts(problem=sight.server.problem) if sight.server.problem else None
    return Snapshot(
        settings=tuple(dict.fromkeys(problems)),
        url=client.shown(current.url),
        owned=current.owned,
        ports=tuple(_ports(current)),
        supervisor=sight.state,
        supervisor_problem=daemon_problem,
        verdicts=tuple(sight.verdicts),
        orphans=tuple(_orphans(paths, sight)),
        disks=tuple(_disks(paths)),
        files=tuple(_files(paths)),
        server=facts or server_facts.take(current.redis(server_facts.LOOK_S)),
        exchange_skew_ms=skew_ms,
        exchange_problem=exchange_problem,
        held=sight.held,
    )


def _sight(paths: Paths, current: Running) -> tuple[Sight, str]:
    try:
        return system.look(paths, current), ""
    except (HungError, RefusedByDaemonError) as error:
        server, _, _ = system.ask(current, [])
        return Sight(paths, current, "", server), str(error)


def _try(work: Callable[[], T], problems: list[str]) -> T | None:
    try:
        return work()
    except ConfigurationError as error:
        problems.extend(error.lines)
        return None


def _ports(current: Running) -> Iterable[Port]:
    """The ports that programs of ours listen on; 0 is none."""
    page = _try(lambda: knobs.load(StatusPageSettings), [])
    exporter = _try(lambda: knobs.load(ExporterSettings), [])
    wanted = [
        (current.port if current.owned else 0, "redis", "REDIS_PORT"),
        (page.port if page else 0, "status_page", "QUANTUM_STATUS_PAGE_PORT"),
        (exporter.port if exporter else 0, "exporter", "QUANTUM_EXPORTER_PORT"),
    ]
    for number, program, setting in wanted:
        if number:
            yield Port(number, program, setting, _is_taken(number))


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _orphans(paths: Paths, sight: Sight) -> Iterable[Leftover]:
    """Programs that carry our marks, and that neither supervisord nor one of its programs began."""
    known = {verdict.process.pid for verdict in sight.verdicts if verdict.process.pid}
    try:
        known.add(Daemon(paths.supervisor_socket).pid())
    except (AbsentError, HungError, RefusedByDaemonError):
        if sight.state:
            return
    for one in leftovers.find(paths):
        if one.pid not in known and not _descends(one.pid, known):
            yield one


def _descends(pid: int, ancestors: set[int]) -> bool:
    while pid > 1:
        try:
            text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return True  # gone meanwhile
        pid = int(text.rpartition(")")[2].split()[1])
        if pid in ancestors:
            return True
    return False


def _disks(paths: Paths) -> Iterable[Disk]:
    ledger = _try(lambda: knobs.load(LedgerSettings), [])
    places = {"home": paths.home, "data": paths.data, "logs": paths.log}
    archive = _try(lambda: archive_place.find("", paths), [])
    if archive is not None:
        places["archive"] = archive.base
    if ledger is not None and ledger.folder:
        places["ledger"] = Path(ledger.folder)
    for name, path in places.items():
        there = next((one for one in (path, *path.parents) if one.exists()), None)
        if there is None:
            continue
        try:
            usage, inodes = shutil.disk_usage(there), os.statvfs(there)
        except OSError:
            continue
        yield Disk(name, str(path), usage.free, usage.total, inodes.f_favail, inodes.f_files)


def _files(paths: Paths) -> Iterable[FileMode]:
    private = [
        paths.run_dir, paths.supervisor_socket, paths.redis_socket, paths.current_env, paths.data,
        paths.log, paths.warden, paths.acl, *sorted(paths.acl.glob("*")),
    ]  # fmt: skip
    for path in private:
        yield from _mode(path, _EVERYBODY_ELSE)
    # What runs lies there: whoever may write into them is whoever they like.
    for path in (paths.home, Path(sys.prefix), paths.root, paths.releases):
        yield from _mode(path, _OTHERS_WRITING, ours=False)
    folder = Path(os.environ.get("QUANTUM_ENV_DIR") or env_files.DEFAULT_DIR)
    for path in sorted(folder.glob("*.env")):
        # Root writes these and the service's group reads them: only others are too many.
        yield from _mode(path, _OTHERS, ours=False)
    positions = _try(lambda: knobs.load(PositionsSettings), [])
    for named in (positions.api_key_file, positions.api_secret_file) if positions else ():
        if named:
            yield from _mode(Path(named), _OTHERS, ours=False)


def _mode(path: Path, wanted: int, *, ours: bool = True) -> Iterable[FileMode]:
    try:
        found = path.lstat()
    except OSError:
        return
    is_ours = not ours or found.st_uid == os.getuid()
    yield FileMode(str(path), stat.S_IMODE(found.st_mode), is_ours, wanted)
