"""Producers turn the outside world into events; run as ``python -m producers NAME``."""
