"""A gate's permits: the document, the keys that sign it, and the reader for executors."""

from __future__ import annotations

from quantum_ops.permits.check import REASONS, Verdict, signature_problem, verify
from quantum_ops.permits.document import MAX_BYTES, Permit, encode, plan_sha256
from quantum_ops.permits.keys import Signer, new_key, public_key, trusted

__all__ = [
    "MAX_BYTES",
    "REASONS",
    "Permit",
    "Signer",
    "Verdict",
    "encode",
    "new_key",
    "plan_sha256",
    "public_key",
    "signature_problem",
    "trusted",
    "verify",
]
