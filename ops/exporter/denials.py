"""The only place that tells Prometheus what the server refused to users for want of a right."""

from __future__ import annotations

import walrus
from prometheus_client.core import Metric

from ops.exporter import catalogue

REASONS = ("auth", "cmd", "key", "channel")
"""As servers name them: a wrong password, a command, a key, a channel."""
_FIELD = "acl_access_denied_"


class Denials:
    """Reads the server's own counts, which begin anew with it."""

    def __init__(self, db: walrus.Database) -> None:
        self._db = db

    def read(self) -> list[Metric]:
        """Raises what the client raises. Nothing is told of a server that does not count."""
        told = self._db.info("stats")
        family = catalogue.DENIED.family()
        for reason in REASONS:
            if _FIELD + reason in told:
                family.add_metric([reason], float(told[_FIELD + reason]))  # type: ignore[attr-defined]  # a counter
        return [family]
