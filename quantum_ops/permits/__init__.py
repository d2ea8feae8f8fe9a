"""A gate's permits: the document, the keys that sign it, and the reader for executors.

What needs a key is imported when somebody asks for it: cryptography costs a process that signs
nothing and checks nothing seven megabytes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from quantum_ops.permits.check import REASONS, Verdict, signature_problem, verify
from quantum_ops.permits.document import MAX_BYTES, Permit, encode, plan_sha256

if TYPE_CHECKING:
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


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.keys"), name)
