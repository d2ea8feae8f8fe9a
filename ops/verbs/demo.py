"""Start the whole system offline, on a pretend exchange and a pretend trading side."""

from __future__ import annotations

import argparse
import os
import sys

from ops.paths import Paths
from ops.verbs import start

REFRESH_S = "2"


def configure(parser: argparse.ArgumentParser) -> None:
    """See ops.__main__."""
    parser.add_argument("-f", "--foreground", action="store_true", help="stay, show all logs")
    parser.add_argument(
        "--seed", type=int, default=1, help="another seed, another course of events"
    )
    parser.add_argument("--body", default="", help="serve this recorded exchangeInfo (.json, .gz)")
    parser.add_argument("--keep", action="store_true", help="go on with the last demo's data")
    parser.add_argument("--wait", type=float, default=30.0, metavar="SECONDS", help="for readiness")


def run(args: argparse.Namespace) -> int:
    """Exit code: as ``start``; 2 if it would write pretend trades into a server of yours."""
    import shutil

    from quantum_ops import knobs
    from quantum_ops.settings import RedisSettings

    wanted = knobs.load(RedisSettings)
    if (wanted.url or wanted.host) and os.environ.get("DEMO_ON_FOREIGN_REDIS") != "yes":
        print(
            "the demo writes pretend trades and deployments; REDIS_URL or REDIS_HOST names a "
            "server that is not the demo's own. Unset them, or say DEMO_ON_FOREIGN_REDIS=yes",
            file=sys.stderr,
        )
        return 2
    if args.body and not os.path.isfile(args.body):  # noqa: PTH113 - a plain question
        print(f"--body {args.body}: no such file", file=sys.stderr)
        return 2
    paths = Paths.find("demo")
    running = _is_running(paths)
    if not running:
        if not args.keep:
            shutil.rmtree(paths.data, ignore_errors=True)
        os.environ.update(_environment(args))
    code = start.run(argparse.Namespace(foreground=args.foreground, profile="demo", wait=args.wait))
    if code == 0 and not running and not args.foreground:
        print(_tour())
    return code


def _is_running(paths: Paths) -> bool:
    """Asked of supervisord itself: current.env outlives a kill of the system."""
    from ops.daemon import Daemon
    from quantum_ops.errors import QuantumError

    try:
        return Daemon(paths.supervisor_socket).is_there()
    except QuantumError:
        return True  # it hangs or is another user's: start says so


def _environment(args: argparse.Namespace) -> dict[str, str]:
    port = _free_port()
    return {
        "DEMO_EXCHANGE_PORT": str(port),
        "DEMO_EXCHANGE_BODY": os.path.abspath(args.body) if args.body else "",  # noqa: PTH100 - keeps links
        "DEMO_SEED": str(args.seed),
        "UNIVERSE_URL": f"http://127.0.0.1:{port}/fapi/v1/exchangeInfo",
        "UNIVERSE_MODE": os.environ.get("UNIVERSE_MODE", "testnet"),
        "UNIVERSE_REFRESH_SEC": os.environ.get("UNIVERSE_REFRESH_SEC", REFRESH_S),
    }


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _tour() -> str:
    return """
look at the universe        bash ops/proof_universe.sh
see it change               ./run redis-cli XREVRANGE quantum:stream:universe.changed + - COUNT 1
what the auditor says       ./run redis-cli XREVRANGE quantum:stream:audit.finding + - COUNT 3
plans of the trading side   ./run redis-cli XREVRANGE quantum:stream:apply.plan + - COUNT 1
deployments                 ./run redis-cli XREVRANGE quantum:stream:deploy.completed + - COUNT 1
all logs, live              ./run logs -f
and stop it                 ./run stop"""
