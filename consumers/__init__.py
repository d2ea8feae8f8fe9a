"""Consumer groups: one file each, run as ``python -m consumers NAME``."""
