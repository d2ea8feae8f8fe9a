"""Evidence of an operation: what can be seen of it when it is recorded.

``collect`` looks at everything that is wanted, at the same time and for a bounded time, and never
raises: what could not be seen is told as a problem of the evidence.
"""

from quantum_ops.ledger.evidence.collector import Wanted, collect

__all__ = ["Wanted", "collect"]
