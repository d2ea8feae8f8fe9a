"""The only place of the settings of whoever verifies proofs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from quantum_ops.knobs import knob, words

VKEY = re.compile(r"[^\s+,]+\+[0-9a-f]{8}\+[A-Za-z0-9+/]+={0,2}")


@dataclass(frozen=True, slots=True)
class ProofSettings:
    """Verifying proofs."""

    trusted: tuple[str, ...] = knob(
        "VERIFY_KEYS",
        words(VKEY, "a key such as name+1a2b3c4d+AZ..."),
        (),
        "Public keys (name+id+key, several apart by commas) of the logs whose proofs "
        "./run verify trusts without --key; ./run archive key prints this system's.",
    )
