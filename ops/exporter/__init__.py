"""The program `exporter`: everything that Prometheus asks of this system, in one answer."""
