#!/usr/bin/env python3
"""Checks that a live P3.3 uses the universe, and falls back to P33_ALLOWLIST, as specified.

Usage: python3 ops/test_p33_universe_integration.py [--live [--force]] [--wait SECONDS]

Scenarios, each with exactly the keys that the trading side sets: the universe fresh (stale=0),
stale (stale=1), and missing. By default they run on a scratch server with a P3.3 of their own,
where plans prove each source; with --live on the running system, where nothing is traded: only the
source that each process tells is checked, and all keys are put back.

Exit codes: 0 every check holds; 2 one does not; 1 it could not be checked.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FALLBACK, LISTED, STRANGER = "BTCUSDT", ("ETHUSDT", "SOLUSDT"), "NOSUCHUSDT"
FRAME = "═" * 59
POLL_S = 0.05
_AGAIN = "QUANTUM_INTEGRATION_AGAIN"


def home() -> Path:
    """Where the checkout keeps what it writes."""
    return Path(os.environ.get("QUANTUM_HOME") or ROOT / "var")


def use_our_python() -> None:
    """Go on in the checkout's own environment if this Python lacks what P3.3 needs."""
    sys.path.insert(0, str(ROOT))
    try:
        import walrus  # noqa: F401, PLC0415 - only whether it is there
    except ImportError:
        ours = home() / "venv" / "bin" / "python"
        if os.environ.get(_AGAIN) or not ours.exists():
            sys.exit(f"{sys.executable} lacks our packages; ./run --help sets the checkout up")
        os.environ[_AGAIN] = "1"
        os.execv(ours, [str(ours), *sys.argv])  # noqa: S606 - the very same program


Prove = Callable[[str, str], None]
"""Told the scenario and the source that is expected."""


class UncheckedError(Exception):
    """It could not be checked; the message says why and names the way out."""


class Report:
    """One line a check, and what they come to."""

    def __init__(self) -> None:
        self.broken: list[str] = []

    def check(self, name: str, wanted: object, found: object) -> None:
        """Compare and tell."""
        good = wanted == found
        told = f"{found}" if good else f"{found}, not {wanted}"
        print(f"{'✅' if good else '❌'} {name}: {told}", flush=True)
        if not good:
            self.broken.append(name)


def wait_for(seconds: float, ask: Callable[[], Any]) -> Any:
    """The first truthy answer of ``ask``, or the last one after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer or time.monotonic() > deadline:
            return answer
        time.sleep(POLL_S)


def sources(db: Any) -> dict[str, str]:
    """Process -> the source that it tells, of all that are alive."""
    from quantum_ops import streams  # noqa: PLC0415 - after use_our_python

    found = {}
    for key in db.scan_iter(match=f"{streams.HEARTBEAT_PREFIX}p33:*", count=1000):
        told = db.hget(key, "allowlist_source")
        if told is not None:
            found[f"p33-{int(key.rpartition(b':')[2]):02d}"] = told.decode()
    return dict(sorted(found.items()))


def set_universe(db: Any, *, stale: str, mode: str) -> None:
    """The keys as the trading side's own script sets them: active and meta, nothing else."""
    from quantum_ops import streams  # noqa: PLC0415 - see above

    now = int(time.time())
    active = {
        "asof_epoch": now, "source": "test_mock", "mode": mode, "symbols": list(LISTED),
        "filters": {"contractType": "PERPETUAL", "status": "TRADING"},
    }  # fmt: skip
    meta = {"asof_epoch": now, "last_ok_epoch": now, "count": len(LISTED), "stale": stale}
    with db.pipeline(transaction=True) as pipe:
        pipe.delete(streams.UNIVERSE_META, streams.UNIVERSE_SYMBOLS)
        pipe.set(streams.UNIVERSE_ACTIVE, json.dumps(active))
        pipe.hset(streams.UNIVERSE_META, mapping={**meta, "error": ""})
        pipe.execute()


def drop_universe(db: Any) -> None:
    """No universe at all."""
    from quantum_ops import streams  # noqa: PLC0415 - see above

    db.delete(streams.UNIVERSE_ACTIVE, streams.UNIVERSE_META, streams.UNIVERSE_SYMBOLS)


def scenarios(db: Any, report: Report, wait_s: float, mode: str, prove: Prove) -> None:
    """The three of the specification; ``prove`` shows by plans what each source means."""
    steps: tuple[tuple[str, str, Callable[[], None]], ...] = (
        ("Universe fresh (stale=0)", "universe", lambda: set_universe(db, stale="0", mode=mode)),
        ("Universe stale (stale=1)", "fallback", lambda: set_universe(db, stale="1", mode=mode)),
        ("Universe fresh again", "universe", lambda: set_universe(db, stale="0", mode=mode)),
        ("Universe missing", "fallback", lambda: drop_universe(db)),
    )
    for name, wanted, arrange in steps:
        arrange()

        def agreed(wanted: str = wanted) -> bool:
            told = sources(db)
            return bool(told) and set(told.values()) == {wanted}

        wait_for(wait_s, agreed)
        told = sources(db)
        report.check(f"{name}, {len(told)} P3.3", {wanted}, set(told.values()))
        prove(name, wanted)


@contextmanager
def scratch() -> Iterator[Any]:
    """A server and a P3.3 of our own, both gone at the end."""
    from ops import server_binary  # noqa: PLC0415 - see above
    from quantum_ops import client, streams  # noqa: PLC0415 - see above
    from quantum_ops.settings import RedisSettings  # noqa: PLC0415 - see above

    with tempfile.TemporaryDirectory(prefix="qi-") as folder:
        socket = f"{folder}/s"
        options = ["--port", "0", "--unixsocket", socket, "--dir", folder, "--save", ""]
        log = Path(folder, "log").open("wb")  # noqa: SIM115 - for both children, closed below
        server = subprocess.Popen(
            [server_binary.find().path, *options], stdout=log, stderr=subprocess.STDOUT
        )
        children = [server]
        try:
            if not wait_for(10, lambda: Path(socket).exists()):
                raise UncheckedError(
                    f"the scratch server did not start: {Path(log.name).read_text()}"
                )
            environ = {
                "PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT),
                "REDIS_URL": f"unix://{socket}", "QUANTUM_ENV_DIR": folder,
                "UNIVERSE_ENABLE": "true", "UNIVERSE_CACHE_SECONDS": "1",
                "P33_ALLOWLIST": FALLBACK, "P33_MODE": "testnet",
            }  # fmt: skip
            gate = subprocess.Popen(
                [sys.executable, "-m", "consumers", "p33"],
                cwd=ROOT, env=environ, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
            children.append(gate)
            db = client.connect(RedisSettings(url=f"unix://{socket}"))
            if not wait_for(20, lambda: db.exists(streams.heartbeat("p33", 0))):
                raise UncheckedError(f"P3.3 did not start: {Path(log.name).read_text()}")
            yield db
        finally:
            for child in reversed(children):
                child.terminate()
                try:
                    child.wait(15)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
            log.close()


def prover(db: Any, report: Report, wait_s: float) -> Prove:
    """Sends plans on the scratch server and compares what P3.3 permits."""
    from quantum_ops import streams  # noqa: PLC0415 - see above

    sent = 0

    def prove(name: str, source: str) -> None:
        nonlocal sent
        for symbol in (*LISTED, FALLBACK, STRANGER):
            sent += 1
            plan_id = f"{sent:016x}"
            at = str(time.time())
            db.hset(streams.position(symbol), mapping={"position_amt": "0", "ts_epoch": at})
            plan = {
                "plan_id": plan_id, "decision": "EXECUTE", "symbol": symbol, "side": "BUY",
                "qty": "0.01", "action": "ENTRY_PROPOSED", "reduceOnly": "false", "type": "MARKET",
                "source": "test_mock", "timestamp": str(int(time.time())),
            }  # fmt: skip
            db.xadd(streams.APPLY_PLAN.key, plan)
            key = streams.permit("p33", plan_id)
            raw = wait_for(wait_s, partial(db.get, key))
            permit = json.loads(raw) if raw else {"allow": None, "reason": "no permit"}
            allowed = symbol in (LISTED if source == "universe" else (FALLBACK,))
            wanted = (allowed, "sanity_checks_passed" if allowed else "symbol_not_allowed")
            report.check(f"{name}, plan for {symbol}", wanted, (permit["allow"], permit["reason"]))

    return prove


class Saved:
    """The live universe's keys, kept in a file until they are back: a kill -9 loses nothing."""

    def __init__(self, db: Any) -> None:
        from quantum_ops import streams  # noqa: PLC0415 - see above

        self._db = db
        self._file = home() / "run" / "p33-integration-saved.json"
        self._keys = (streams.UNIVERSE_ACTIVE, streams.UNIVERSE_META, streams.UNIVERSE_SYMBOLS)

    def save(self) -> None:
        """Write the copy down before anything is touched; an old copy is put back first."""
        if self._file.exists():
            print(f"an earlier run was killed: putting {self._file} back first", flush=True)
            self.restore()
        dumps = {key: self._db.dump(key) for key in self._keys}
        text = {key: base64.b64encode(raw).decode() for key, raw in dumps.items() if raw}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        draft = self._file.with_suffix(".new")
        draft.write_text(json.dumps(text), encoding="utf-8")
        draft.replace(self._file)

    def restore(self) -> None:
        """Put every key back in one step, then forget the copy."""
        text = json.loads(self._file.read_text(encoding="utf-8"))
        with self._db.pipeline(transaction=True) as pipe:
            for key in self._keys:
                pipe.delete(key)
                if key in text:
                    pipe.restore(key, 0, base64.b64decode(text[key]))
            pipe.execute()
        self._file.unlink()


def live(report: Report, args: argparse.Namespace) -> None:
    """The scenarios on the running system. Trading streams are never written."""
    from ops.target import open_db  # noqa: PLC0415 - see above
    from quantum_ops import streams  # noqa: PLC0415 - see above

    db = open_db("admin")
    if not sources(db):
        raise UncheckedError("no P3.3 is alive there; start it with ./run")
    if db.exists(streams.heartbeat("universe", 0)) and not args.force:
        raise UncheckedError(
            "the universe's producer is alive and would write over the scenarios; stop it with "
            "./run supervisorctl stop universe, or say --force"
        )
    saved = Saved(db)
    saved.save()
    try:
        active = db.get(streams.UNIVERSE_ACTIVE)
        mode = json.loads(active).get("mode", "testnet") if active else "testnet"
        scenarios(db, report, args.wait, mode, lambda _name, _source: None)
    finally:
        saved.restore()
        print("the universe's keys are back as they were", flush=True)


def main(argv: list[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--live", action="store_true", help="on the running system")
    parser.add_argument("--force", action="store_true", help="with --live: beside a live producer")
    parser.add_argument("--wait", type=float, default=20.0, metavar="SECONDS", help="per check")
    args = parser.parse_args(argv)
    use_our_python()
    import redis  # noqa: PLC0415 - see use_our_python

    from quantum_ops.errors import QuantumError  # noqa: PLC0415 - see above

    # Leave through every `finally`, which puts back what was changed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(f"{FRAME}\nP3.3 Universe Integration Test\n{FRAME}", flush=True)
    report = Report()
    try:
        if args.live:
            live(report, args)
        else:
            with scratch() as db:
                scenarios(db, report, args.wait, "testnet", prover(db, report, args.wait))
    except (UncheckedError, QuantumError, redis.RedisError, OSError, ValueError) as error:
        print(f"could not be checked: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 1
    if report.broken:
        print(f"\nSTATUS: ❌ {len(report.broken)} checks do not hold\n{FRAME}")
        return 2
    print(f"\nSTATUS: ✅ ALL CHECKS HOLD\n{FRAME}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
