"""Start the whole system offline, on a pretend exchange and a pretend trading side."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ops.paths import Paths
from ops.verbs import start

REFRESH_S = "2"
CHECK_S = "5"
COOLDOWN_S = "3"
"""Seconds; the 15 of real life would leave little to see."""
DEMO_RECONCILE_KEY = "the demo's public key"


def configure(parser: argparse.ArgumentParser) -> None:
    """What to serve, and what to begin with."""
    parser.add_argument("-f", "--foreground", action="store_true", help="stay, show all logs")
    parser.add_argument(
        "--seed", type=int, default=1, help="another seed, another course of events"
    )
    parser.add_argument("--body", default="", help="serve this recorded exchangeInfo (.json, .gz)")
    parser.add_argument("--keep", action="store_true", help="go on with the last demo's data")
    parser.add_argument(
        "--wait", type=start.seconds, default=start.WAIT_S, help="seconds, for readiness"
    )


def run(args: argparse.Namespace) -> int:
    """Exit code: as ``start``; 2 if it would write pretend trades into a server of yours."""
    from ops import reader, running
    from ops.daemon import HungError, RefusedByDaemonError
    from ops.demo import recording
    from ops.paths import Paths
    from ops.start import StartError
    from quantum_ops import knobs
    from quantum_ops.errors import ConfigurationError
    from quantum_ops.settings import RedisSettings

    wanted = knobs.load(RedisSettings)
    if (wanted.url or wanted.host) and os.environ.get("DEMO_ON_FOREIGN_REDIS") != "yes":
        print(
            "the demo writes pretend trades and deployments; REDIS_URL or REDIS_HOST names a "
            "server that is not the demo's own. Unset them, or say DEMO_ON_FOREIGN_REDIS=yes",
            file=sys.stderr,
        )
        return 2
    try:
        mode = recording.mode_of(recording.read(args.body)) if args.body else "testnet"
    except ConfigurationError as error:
        print(f"--body: {error}", file=sys.stderr)
        return 2
    paths = Paths.find("demo")
    os.environ.update(_environment(args, mode, paths))
    try:
        fresh = _make_way(paths, keep=args.keep)
        _make_key(paths)
    except (StartError, HungError, RefusedByDaemonError) as error:
        print(f"cannot start: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        reader.raise_if_left(error)
        print(f"cannot start: {error}", file=sys.stderr)
        return 1
    code = start.run(argparse.Namespace(foreground=args.foreground, profile="demo", wait=args.wait))
    if code == 0 and fresh and not args.foreground and running.read(paths.current_env):
        print(_tour(paths))
    return code


def _make_way(paths: Paths, *, keep: bool) -> bool:
    """Throw the last demo's data away, unless something runs here; tells whether nothing did."""
    import shutil

    from ops import data_folder, leftovers
    from ops.daemon import Daemon
    from ops.start import alone

    # Under the lock of start and stop: nothing may come up on a folder that is being removed.
    with alone(paths):
        if Daemon(paths.supervisor_socket).is_there():
            return False
        leftovers.end(paths)
        # Somebody's own server on the folder: start will refuse, and its files stay whole.
        if not keep and data_folder.holder(paths.data) is None:
            for folder in (paths.data, paths.demo_ledger, paths.demo_archive):
                if folder.exists():
                    shutil.rmtree(folder)
    return True


def _make_key(paths: Paths) -> None:
    """A key for the demo's ledger and archive: what is pretended never bears the real one."""
    from ops.ledger_place import demo_key
    from quantum_ops.permits import new_key

    path = demo_key(paths)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        new_key(path)


def _environment(args: argparse.Namespace, mode: str, paths: Paths) -> dict[str, str]:
    """What the programs find; the demo's words win over the machine's ``*.env`` files."""
    from ops import archive_place, ledger_place
    from ops.demo.options import DemoSettings
    from quantum_ops import knobs

    port = _free_port()
    environ = {
        "DEMO_EXCHANGE_PORT": str(port),
        "DEMO_EXCHANGE_BODY": os.path.abspath(args.body) if args.body else "",  # noqa: PTH100 - keeps links
        "DEMO_SEED": str(args.seed),
        # A recorded body of the other network would be refused, and nothing be seen but that.
        "UNIVERSE_MODE": mode,
        "UNIVERSE_URL": f"http://127.0.0.1:{port}/fapi/v1/exchangeInfo",
        # Public, as everything here: it signs the pretend P3.4's plans and nothing else.
        "P33_RECONCILE_KEY": DEMO_RECONCILE_KEY,
        **ledger_place.demo(paths),
        **archive_place.demo(paths),
        "P33_COOLDOWN_SEC": os.environ.get("P33_COOLDOWN_SEC", COOLDOWN_S),
        "UNIVERSE_REFRESH_SEC": os.environ.get("UNIVERSE_REFRESH_SEC", REFRESH_S),
        "UNIVERSE_AUDIT_FETCH": os.environ.get("UNIVERSE_AUDIT_FETCH", "true"),
        "UNIVERSE_AUDIT_FETCH_SEC": os.environ.get("UNIVERSE_AUDIT_FETCH_SEC", CHECK_S),
    }
    # Refused here, in front of the operator, rather than by a program in its log.
    knobs.load(DemoSettings, {**os.environ, **environ})
    return environ


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _tour(paths: Paths) -> str:
    from quantum_ops import knobs
    from quantum_ops.settings import ExporterSettings

    port = knobs.load(ExporterSettings).port
    rows = [row for row in _TOUR.splitlines() if port or "{port}" not in row]
    changelog = _shown(paths.demo_ledger / "OPS_CHANGELOG.md")
    return "\n".join(rows).format(changelog=changelog, port=port)


def _shown(path: Path) -> str:
    """As short as it can be typed from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


_TOUR = """
look at the universe        bash ops/proof_universe.sh
everything, live            ./run tail -f
see it change               ./run tail universe.changed
what the auditors say       ./run tail audit.finding severity!=info
who is behind, who holds    ./run lag          ./run pending
plans decided, live         ./run decisions -f
what can be proven          ./run audit        (two violations are planted within 15 s)
plans and their results     ./run tail apply.plan apply.result
deployments                 ./run tail deploy.completed
what became of them         ./run ledger list; head -40 {changelog}
everything that was said    ./run archive      ./run archive verify
what Prometheus is told     curl -s http://127.0.0.1:{port}/metrics
all logs, live              ./run logs -f
and stop it                 ./run stop"""
