"""The program `status_page`: serves one page about the whole system, on 127.0.0.1, read-only.

It writes nowhere, and nothing waits for it: without it the system works, unseen.
"""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import sys

from ops import running, target
from ops.paths import Paths
from quantum_ops import client, knobs, lifeline, logs
from quantum_ops.clock import Clock
from quantum_ops.errors import ConfigurationError
from quantum_ops.settings import RedisSettings, RuntimeSettings, StatusPageSettings

NAME = "status_page"
ANSWER_S = 2.0
"""Seconds that one answer of Redis may take: somebody is looking at the page."""
OFF = "off: QUANTUM_STATUS_PAGE_PORT=0"


def main() -> int:
    """Exit code: 0 after a stop, 78 for a wrong setting or a taken port."""
    try:
        return _main()
    except ConfigurationError as error:
        return lifeline.refuse(*(f"{NAME}: {line}" for line in error.lines))


def _main() -> int:
    lifeline.die_with_parent()
    settings = knobs.load(StatusPageSettings)
    runtime = knobs.load(RuntimeSettings)
    asked: RedisSettings = target.settings()
    logs.configure(NAME, runtime.log_level)
    clock = Clock()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: clock.stop())
    if settings.port:
        _serve(settings, asked, clock)
    else:
        logs.get().info("status_page_off", why=OFF)
        while not clock.stopping():
            clock.wait(3600.0)
    logs.get().info("stopped")
    return 0


def _serve(settings: StatusPageSettings, asked: RedisSettings, clock: Clock) -> None:
    """Serve until asked to stop. Raises :class:`ConfigurationError` for a port that is taken."""
    # Only here: who wants no page need not pay for a web server and everything that it shows.
    from ops.status_page import readers, serving, web  # noqa: PLC0415 - see above
    from ops.status_page.collector import Collector  # noqa: PLC0415 - see above

    with serving.listener(settings.port) as socket:
        patience = dataclasses.replace(asked, timeout_s=min(asked.timeout_s, ANSWER_S))
        db = client.connect(patience, name=NAME, user=NAME)
        collector = Collector(readers.all_of(db), settings.every_s, profile=_profile())
        looker = serving.Looker(collector, settings, clock)
        looker.start()
        site = web.Site(lambda: looker.newest, readers.folder, settings.every_s)
        server = serving.server(web.app(site, lambda: server.should_exit))
        logs.get().info("started", url=serving.url(settings.port))
        asyncio.run(server.serve([socket]))


def _profile() -> str:
    """``live`` or ``demo``, as the running system was started."""
    current = running.read(Paths.find().current_env)
    return current.profile if current else "live"


if __name__ == "__main__":
    sys.exit(main())
