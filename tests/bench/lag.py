"""The benchmark of looking at lag: ``python -m tests.bench.lag [--pairs N]``.

A look at all groups of the catalogue beside what a plain exporter asks (XINFO STREAM and XINFO
GROUPS of each stream, in one pipeline, whose lag may be wrong), in turn, on one server: once with
nobody behind, once with four groups behind in one stream. And a count up to the limit.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import walrus

from ops import server_binary
from quantum_ops import client, lag_reading, streams
from quantum_ops.settings import RedisSettings
from tests.bench.place import Server

GROUPS = ("archive", "p33", "order_proof", "permit_audit")
PLAN = {"plan_id": "84c95a8537d51c1d", "decision": "EXECUTE", "symbol": "BTCUSDT", "side": "BUY",
        "qty": "0.002", "type": "MARKET", "reduceOnly": "false", "action": "ENTRY_PROPOSED",
        "source": "intent_bridge", "timestamp": "1769494530"}  # fmt: skip


def fill(db: walrus.Database, count: int) -> None:
    """``count`` entries in each stream, read by all groups."""
    for stream in streams.CATALOGUE:
        line = db.pipeline(transaction=False)
        for _ in range(count):
            line.xadd(stream.key, PLAN)
        for group in GROUPS:
            line.xgroup_create(stream.key, group, "$")
        line.execute()


def plain(db: walrus.Database) -> None:
    """What a plain exporter asks."""
    line = db.pipeline(transaction=False)
    for stream in streams.CATALOGUE:
        line.xinfo_stream(stream.key)
        line.xinfo_groups(stream.key)
    line.execute()


def median_ms(what: Callable[[], object], beside: Callable[[], object], pairs: int) -> list[float]:
    """Median milliseconds of both, run in turn."""
    took: list[list[float]] = [[], []]
    for _ in range(pairs):
        for at, one in enumerate((what, beside)):
            began = time.perf_counter()
            one()
            took[at].append((time.perf_counter() - began) * 1000)
    return [statistics.median(each) for each in took]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=100)
    pairs = parser.parse_args().pairs
    server = Server(server_binary.find().path)
    try:
        db = client.connect(RedisSettings(url=f"redis://127.0.0.1:{server.port}/0"))
        fill(db, lag_reading.LIMIT + 1000)
        key = streams.APPLY_PLAN.key

        def look() -> None:
            lag_reading.look(db)

        ours, theirs = median_ms(look, lambda: plain(db), pairs)
        print(f"{server.flavour}; 10 streams, 40 groups, medians of {pairs}, in turn")
        print(
            f"nobody behind: look {ours:.2f} ms, plain {theirs:.2f} ms, {ours / theirs:.2f} times"
        )
        first = db.xrange(key, count=1)[0][0]
        for group in GROUPS:
            db.xgroup_setid(key, group, first)
        few, many = median_ms(
            lambda: lag_reading.looks(db, [key]),
            lambda: lag_reading.looks(db, [key], ahead=100),
            pairs,
        )
        print(
            f"four behind, one stream: {lag_reading.AHEAD} ids {few:.2f} ms, 100 ids {many:.2f} ms"
        )
        counted, theirs = median_ms(look, lambda: plain(db), max(1, pairs // 10))
        print(f"four counted to {lag_reading.LIMIT}: {counted:.0f} ms, plain {theirs:.2f} ms")
    finally:
        server.close()


if __name__ == "__main__":
    main()
