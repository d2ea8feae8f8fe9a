"""Makes the pictures of docs/status-page.md anew, in a real Chromium, of a world made up for it.

``python -m tests.browser.screenshots [FOLDER]`` writes them into docs/img.
"""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from ops.status_page.picture import ProcessesSeen, Running
from quantum_ops import streams
from quantum_ops.events import UniverseChanged
from tests.ledger_story import Ledger
from tests.p33_rig import publish_universe
from tests.page_rig import ROOT, Site, World
from tests.servers import Server
from tests.webdriver import Browser

SETTLE_S = 1.0
PROGRAMS = ("universe", "p33-00", "permit_audit-00", "order_proof-00", "universe_audit-00",
            "ledger-00", "archive-00")  # fmt: skip
SYMBOLS = ("ADA", "AVAX", "BNB", "BTC", "DOGE", "DOT", "ETH", "LINK", "SOL", "XRP")
REASONS = {"symbol_not_allowed": 7, "cooldown_in_flight": 5, "qty_below_step": 2}


def main(argv: list[str]) -> int:
    """Exit code 0; everything it starts ends with it."""
    folder = Path(argv[0]) if argv else ROOT / "docs" / "img"
    folder.mkdir(parents=True, exist_ok=True)
    server = Server("valkey")
    try:
        with tempfile.TemporaryDirectory() as place:
            _pictures(folder, World(server).in_order(), Path(place))
    finally:
        server.close()
    return 0


def _pictures(folder: Path, world: World, place: Path) -> None:
    ledger = Ledger(place)
    ledger.now = datetime.now(UTC)
    for name in ("P3.3 restart", "Universe 0.4", "Risk limits, lowered"):
        ledger.one(operation=name, requested_by="OPS", approved_by="OPS")
    publish_universe(world.db, *(f"{base}USDT" for base in SYMBOLS), epoch=3, refresh_s=60)
    world.decide("sanity_checks_passed", allow=True, count=21)
    for reason, count in REASONS.items():
        world.decide(reason, count=count)
    world.publisher.publish(_change(2, added=("ETHUSDT",)))
    world.publisher.publish(_change(3, removed=("LUNAUSDT",)))
    world.catch_up()
    with Site(world.db, place) as site, Browser() as browser:
        site.processes = ProcessesSeen(tuple(map(_running, PROGRAMS)), "RUNNING")
        for _ in range(3):  # something for the lines to draw
            world.db.xadd(streams.APPLY_PLAN.key, {"plan_id": "1"})
            time.sleep(SETTLE_S)
            world.catch_up()
        _shot(browser, site, folder / "status-light.png", "light")
        _shot(browser, site, folder / "status-dark.png", "dark")
        _shot(browser, site, folder / "status-400px.png", "light", 400)
        world.violate(detail="NOSUCHUSDT executed in 1795512048692-0: p33 denied")
        world.bury()
        world.db.hset(streams.UNIVERSE_META, mapping={"stale": "1", "error": "HTTP 503"})
        world.db.xadd(streams.APPLY_PLAN.key, {"plan_id": "1"})
        _shot(browser, site, folder / "status-violation.png", "light")


def _shot(browser: Browser, site: Site, path: Path, scheme: str, width: int = 1200) -> None:
    browser.scheme(scheme)
    browser.size(width, 640)  # what is seen first, and no more: pictures are kept for ever
    browser.open(site.url)
    time.sleep(SETTLE_S)  # the pictures want looks that were taken after what they show
    browser.screenshot(path)
    print(f"{path}  {path.stat().st_size // 1024} KiB")


def _change(epoch: int, **changed: tuple[str, ...]) -> UniverseChanged:
    return UniverseChanged(
        epoch=epoch, prev_epoch=epoch - 1, mode="testnet", asof_epoch=1, count=10, sha256="x",
        symbols_sha256="x", symbols=("BTCUSDT", "ETHUSDT"), **changed,
    )  # fmt: skip


def _running(name: str) -> Running:
    return Running(name, "RUNNING", "READY", fine=True, detail="handled 35", up_s=5400)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
