"""The only place where a process answers Prometheus itself, on a port of this machine.

Under ``./run`` none does: the exporter tells of all of them. Imported when somebody asks for it,
for what the client library weighs.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from quantum_ops.measures import Registry


class Told(Collector):
    """What a :class:`~quantum_ops.measures.Registry` holds, as the client library wants it."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client's Collector."""
        for family in self._registry.collect():
            metric = Metric(family.name, family.doc, family.kind)
            for sample in family.samples:
                metric.add_sample(sample.name, sample.labels, sample.value)
            yield metric


def serve(registry: Registry, port: int) -> None:
    """Serve ``registry`` on 127.0.0.1:``port`` until the process ends."""
    served = CollectorRegistry()
    served.register(Told(registry))
    start_http_server(port, addr="127.0.0.1", registry=served)
