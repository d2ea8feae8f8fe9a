"""The event runtime that producers, consumers and operator tools stand on."""

__version__ = "0.1.0"
