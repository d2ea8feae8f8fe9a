"""The only place that tells Prometheus which processes do their work."""

from __future__ import annotations

from prometheus_client.core import Metric

from ops import system
from ops.daemon import AbsentError
from ops.exporter import catalogue


class Supervised:
    """Looks at the running system as `./run status` does."""

    def read(self) -> list[Metric]:
        """Raises what :class:`~ops.daemon.Daemon` raises. Spares that nobody wants are left out."""
        sight = system.look(*system.find())
        if not sight.state:
            raise AbsentError("no supervisord runs here")
        ready = catalogue.PROCESS_READY.family()
        for verdict in sight.verdicts:
            if verdict.ready != "SPARE":
                ready.add_metric([verdict.process.name], float(verdict.is_fine))  # type: ignore[attr-defined]  # a gauge
        return [ready]
