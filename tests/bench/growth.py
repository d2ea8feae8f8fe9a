"""The only place that measures how cost grows with entries and groups, and draws it.

A part of ``python -m tests.bench.scaling``, which has the options.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ops import server_binary
from quantum_ops import client, lag_reading, streams
from quantum_ops.settings import RedisSettings
from tests.bench import machine
from tests.bench.lag import PLAN
from tests.bench.place import Server

PLOT = machine.ROOT / "docs" / "img" / "scaling.svg"
KEY = streams.APPLY_PLAN.key
SAMPLES = 300
BATCH = 100
COUNTED = 1000
"""Entries up to which a look counts; beyond, it says at least so many."""
FILL = """
local args = {'XADD', KEYS[1], '*'}
for i = 2, #ARGV do args[#args + 1] = ARGV[i] end
for _ = 1, tonumber(ARGV[1]) do redis.call(unpack(args)) end
"""
"""Fills on the server: ten million round trips would be the time of the benchmark."""


@dataclass(frozen=True, slots=True)
class Point:
    """What things cost with so many entries in the stream and so many groups on it."""

    entries: int
    groups: int
    add_us: float
    read_us: float
    """Reading and acknowledging, for each entry of a batch."""
    look_ms: float
    """A look at the lag of all groups (./run lag, the status page, a scrape); nobody is behind."""
    behind_ms: float
    """The same while all groups but one are two thousand entries behind."""
    bytes_each: float


def measure(entries: int, groups: int) -> str:
    """Measure up to so many, draw it, and give the text of a page."""
    sizes = [size for size in (1_000, 10_000, 100_000, 1_000_000, 10_000_000) if size <= entries]
    counts = [count for count in (1, 10, 100) if count <= groups]
    server = Server(server_binary.find().path)
    db = client.connect(RedisSettings(url=server.url, timeout_s=60.0))
    points: list[Point] = []
    try:
        empty = db.info("memory")["used_memory"]
        held = made = 0
        for size in sizes:
            while held < size:
                part = min(20_000, size - held)
                flat = [word for pair in PLAN.items() for word in pair]
                db.eval(FILL, 1, KEY, part, *flat)
                held += part
            each = (db.info("memory")["used_memory"] - empty) / db.xlen(KEY)
            # Beginning anew at each size: with few groups first.
            for number in range(made):
                db.xgroup_destroy(KEY, f"g{number}")
            made = 0
            for count in counts:
                for number in range(made, count):
                    db.xgroup_create(KEY, f"g{number}", "$")
                made = count
                points.append(_point(db, size, count, each))
                print(points[-1], file=sys.stderr, flush=True)
        flavour = server.flavour
    finally:
        db.connection_pool.disconnect()
        server.close()
    PLOT.write_text(_svg(points), encoding="utf-8")
    return _text(flavour, points)


def _point(db: Any, size: int, count: int, each: float) -> Point:
    add_us = _median(lambda: db.xadd(KEY, PLAN)) * 1e6
    # What those left is acknowledged by all, so that each reads the next batch.
    for number in range(count):
        db.xgroup_setid(KEY, f"g{number}", "$")

    def read() -> None:
        [(_, found)] = db.xreadgroup("g0", "me", {KEY: ">"}, count=BATCH)
        db.xack(KEY, "g0", *(id_ for id_, _ in found))

    look_ms = _median(lambda: lag_reading.look(db, limit=COUNTED), 20) * 1e3
    took = []
    for _ in range(20):
        with db.pipeline(transaction=False) as pipe:
            for _ in range(BATCH):
                pipe.xadd(KEY, PLAN)
            pipe.execute()
        began = time.perf_counter()
        read()
        took.append((time.perf_counter() - began) / BATCH)
    behind_ms = _median(lambda: lag_reading.look(db, limit=COUNTED), 3) * 1e3
    read_us = statistics.median(took) * 1e6
    return Point(size, count, add_us, read_us, look_ms, behind_ms, each)


def _median(what: Callable[[], object], samples: int = SAMPLES) -> float:
    took = []
    for _ in range(samples):
        began = time.perf_counter()
        what()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def _text(flavour: str, points: list[Point]) -> str:
    lines = [
        f"{flavour}, not durable, plans of ten fields; medians, client and server on one machine.",
        "",
        "| entries | groups | XADD | XREADGROUP, XACK | lag, nobody behind | all behind | memory |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {one.entries:,} | {one.groups} | {one.add_us:.0f} us | {one.read_us:.1f} us | "
        f"{one.look_ms:.1f} ms | {one.behind_ms:,.0f} ms | {one.bytes_each:.0f} B |"
        for one in points
    ]
    return "\n".join([*lines, "", "![cost against entries](img/scaling.svg)"])


_COLOURS = {1: "#1b6ca8", 10: "#3a9d5d", 100: "#c0392b"}


def _svg(points: list[Point]) -> str:
    """Two panels, both axes logarithmic: XADD, and a look at all lag, against entries."""
    panels = (("XADD (us)", "add_us"), ("a look at all lag, nobody behind (ms)", "look_ms"))
    size = 'width="820" height="330"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" '
    parts = [f'{head}font-size="12"><rect {size} fill="white"/>']
    for at, (title, name) in enumerate(panels):
        parts.append(_panel(60 + at * 400, title, points, name))
    return "\n".join([*parts, "</svg>\n"])


def _panel(left: int, title: str, points: list[Point], name: str) -> str:
    width, height, top = 310, 220, 40
    xs = sorted({math.log10(one.entries) for one in points})
    values = [getattr(one, name) for one in points]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    span_x, span_y = max(xs[-1] - xs[0], 1e-9), max(high - low, 1)

    def x(entries: float) -> float:
        return left + (math.log10(entries) - xs[0]) / span_x * width

    def y(value: float) -> float:
        return top + height - (math.log10(value) - low) / span_y * height

    made = [f'<text x="{left}" y="24" font-weight="bold">{title}</text>']
    for power in range(low, high + 1):
        at = y(10.0**power)
        made.append(f'<path d="M{left} {at:.1f}h{width}" stroke="#ddd"/>')
        made.append(
            f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{10.0**power:g}</text>'
        )
    below, middle = top + height, 'text-anchor="middle"'
    made += [f'<text x="{x(10**at):.1f}" y="{below + 18}" {middle}>10^{at:.0f}</text>' for at in xs]
    made.append(f'<text x="{left + width / 2}" y="{below + 36}" {middle}>entries</text>')
    for at, count in enumerate(sorted({one.groups for one in points})):
        mine = [one for one in points if one.groups == count]
        way = " ".join(f"{x(one.entries):.1f},{y(getattr(one, name)):.1f}" for one in mine)
        colour = _COLOURS.get(count, "#555")
        made.append(f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="2"/>')
        made.append(
            f'<text x="{left + width - 4}" y="{top + 14 + at * 15}" text-anchor="end" '
            f'fill="{colour}">{count} {"group" if count == 1 else "groups"}</text>'
        )
    return "\n".join(made)
