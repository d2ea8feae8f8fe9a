"""The only place that finds out, before anything is changed, why a deploy must not begin."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import redis
import walrus

from ops import running, signing, system
from ops.daemon import BUSY_STATES, AbsentError, HungError, RefusedByDaemonError
from ops.deploy import loading, releases, watch
from ops.deploy.errors import UNKNOWN, UNREACHABLE, StopError
from ops.deploy.ledger import Deploy, Records
from ops.deploy.recording import connect
from ops.deploy.releases import Releases
from ops.deploy.source import Commit, Repository
from ops.deploy.state import State
from ops.paths import Paths
from ops.readiness import BEATING_ROLES
from ops.running import Running
from ops.terminal import safe
from quantum_ops import client, knobs
from quantum_ops.ledger.folder import Folder
from quantum_ops.settings import LedgerSettings

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Place:
    """Where a deploy happens: everything that is there before it begins."""

    paths: Paths
    current: Running
    repository: Repository
    releases: Releases
    db: walrus.Database
    records: Records
    environ: dict[str, str]
    server: str


def place() -> Place:
    """The running system. Raises :class:`StopError` if there is none that can take a deploy."""
    require_key()
    paths = Paths.find()
    current = running.read(paths.current_env)
    if current is None:
        raise StopError(f"nothing is running at {paths.home}; start it: ./run, then deploy again")
    paths = Paths.find(current.profile)
    if current.profile != "live":
        raise StopError("the demo is running; deploys are of the live system: ./run stop && ./run")
    if not paths.can_release:
        raise StopError(
            f"QUANTUM_HOME={paths.home}: supervisord splits the names of included files at blanks; "
            "deploys need a QUANTUM_HOME without one"
        )
    try:
        daemon = system.daemon(paths)
        state, pid = daemon.state(), daemon.pid()
    except AbsentError:
        raise StopError("supervisord is not running; start it: ./run, then deploy again") from None
    except (HungError, RefusedByDaemonError) as error:
        raise StopError(str(error)) from None
    if state != "RUNNING":
        raise StopError(f"supervisord is in state {state}; deploy when it is RUNNING")
    repository = Repository(paths.root)
    environ = loading.environ_of(pid, paths, owned=current.owned)
    db = connect(current)
    return Place(
        paths, current, repository, Releases(paths, repository), db,
        Records(_folder(environ, paths)), environ, _greet(current, db),
    )  # fmt: skip


def require_clean(found: Repository, paths: Paths, records: Records) -> Commit:
    """What is checked out; :class:`StopError` if the work tree holds anything else.

    The ledger's own files do not count: each deploy changes them.
    """
    commit = found.head()
    folder = records.folder
    ours = [paths.home, folder.changelog, folder.changelog.with_suffix(""), folder.base]
    dirty = found.dirty(ours)
    if dirty:
        more = [f"    ... and {len(dirty) - _SHOWN} more"] if len(dirty) > _SHOWN else []
        raise StopError(
            f"{found.root}: the work tree is not commit {commit.short}; what is not committed "
            "would not be deployed:",
            *(f"    {safe(line)}" for line in dirty[:_SHOWN]),
            *more,
            # Not "git stash -u" nor "git clean": the ledger's files lie in the work tree, too.
            "commit these, or take these and no others away, then deploy again",
        )
    return commit


def require_program(folder: Path, program: str, commit: str = "") -> dict[str, str]:
    """The program's stanzas in a checkout or release; :class:`StopError` if it has none."""
    found = releases.stanzas(folder, program)
    if not found:
        raise StopError(
            f"{safe(program)}: no such program in {commit[:12] or 'this checkout'} (no "
            f"supervisor/conf.d/{safe(program)}.conf); nothing was changed, nothing recorded",
            f"there are: {', '.join(releases.programs(folder))}",
            code=UNKNOWN,
        )
    wrong = {role for text in found.values() for role in releases.roles(text)} - BEATING_ROLES
    if wrong:
        raise StopError(
            f"{program}: writes no heartbeat, so nothing would prove its deploy; use ./run restart"
        )
    return found


def try_release(where: Place, program: str, commit: str) -> None:
    """Unpack ``commit``, try its code and configuration; :class:`StopError` if it is unusable."""
    release = where.releases.make(commit)
    found = require_program(release, program, commit)
    roles = {role for text in found.values() for role in releases.roles(text)}
    loading.load(release, [f"{role}.{program}" for role in sorted(roles)], where.environ)
    loading.parse(where.paths, where.environ)


def require_key() -> None:
    """:class:`StopError` if deploys are to be signed and the key cannot sign."""
    try:
        signing.check()
    except ValueError as error:
        raise StopError(f"DEPLOY_SIGNING_KEY: {error}; nothing was changed") from None


def require_ledger(where: Place) -> None:
    """For a strict deploy: :class:`StopError` unless a ledger is there to record it."""
    verdicts = system.look(where.paths, where.current).verdicts
    mine = [verdict for verdict in verdicts if verdict.process.program == "ledger"]
    if not any(verdict.ready in watch.WORKING for verdict in mine):
        seen = ", ".join(f"{v.process.name} {v.ready}" for v in mine) or "no such program"
        raise StopError(
            f"STRICT_LEDGER=true, and the ledger is not ready ({seen}): the deploy could not be "
            "recorded; nothing was changed"
        )


def fallback(where: Place, state: State) -> tuple[str, str]:
    """The commit that the program runs from now, and how that is known; "" if it is not."""
    program = state.program
    if state.accepted:
        return state.accepted.commit, f"deployed {state.accepted.at}"
    if state.attempt:
        return state.attempt.fallback, "what the interrupted deploy would have gone back to"
    pointed = where.releases.pointed(program)
    if pointed:
        return pointed, "the release that it starts from"
    processes = watch.mine(system.daemon(where.paths).processes(), program)
    up = [process.started_at for process in processes if process.state in BUSY_STATES]
    if not up:
        return "", "it does not run"
    found = where.repository.at(min(up))
    if not found:
        return "", "git's journal does not reach back to its start"
    return found, "never deployed; it was checked out when the program was started"


def _folder(environ: dict[str, str], paths: Paths) -> Folder:
    """Where the program ledger keeps its files: by the settings that it is started with."""
    named = knobs.load(LedgerSettings, environ).folder
    return Folder.find({"LEDGER_DIR": named}, paths.root)


def _greet(current: Running, db: walrus.Database) -> str:
    try:
        info = db.info("server")
    except (redis.RedisError, OSError) as error:
        client.refuse_or_raise(error)
        raise StopError(
            f"{client.shown(current.url)} does not answer ({safe(str(error))}); nothing changed",
            code=UNREACHABLE,
        ) from None
    name = info.get("server_name", "redis")
    return f"{name} {info.get('valkey_version') or info.get('redis_version', '?')}"


def require_deploy(where: Place, operation_id: str) -> Deploy:
    """The recorded deploy of that id; :class:`StopError` if it is none that can be taken back."""
    try:
        found = where.records.deploy(operation_id)
    except (OSError, ValueError) as error:
        raise StopError(f"the ledger cannot be read: {safe(str(error))}") from None
    if found is None:
        raise StopError(
            f"{operation_id}: not in the ledger at {where.records.folder.base}", code=UNKNOWN
        )
    if found.rolled_back_by:
        raise StopError(f"{operation_id} was rolled back already, by {found.rolled_back_by}")
    if found.outcome == "ROLLBACK":
        raise StopError(
            f"{operation_id} is a rollback itself; check out the commit you want and deploy it"
        )
    if not found.commit or not found.services:
        raise StopError(
            f"{operation_id} was no deploy by ./run deploy: its record does not name the commits; "
            "take it back by hand, then record it with ops/ops_ledger_append.py --outcome ROLLBACK"
        )
    if not found.before:
        raise StopError(f"{operation_id}: what ran before it is not known; deploy a commit instead")
    if found.before == found.commit:
        raise StopError(f"{operation_id} changed no code: the same commit ran before it")
    return found


def require_current(where: Place, state: State, found: Deploy) -> None:
    """:class:`StopError` unless ``found`` is what the program runs: later deploys build on it."""
    accepted = state.accepted
    running_now = where.releases.pointed(state.program)
    if accepted and found.source_id not in ("", accepted.entry_id, accepted.event_id):
        later = accepted.operation_id or f"deploy.completed/{accepted.entry_id}"
        raise StopError(
            f"{found.operation_id} is not the last deploy of {state.program}, which is {later} "
            f"({accepted.commit[:12]}); roll that one back, or deploy the commit you want"
        )
    if running_now != found.commit:
        raise StopError(
            f"{state.program} runs from {running_now[:12] or 'the checkout'}, not from "
            f"{found.commit[:12]} as {found.operation_id} left it; deploy the commit you want"
        )
