"""The only place of the settings of the signoff ledger's consumer.

The command line tool reads the same variables from the same places, without this: it runs where
nothing is installed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from quantum_ops.knobs import decimal, flag, knob, text


def place(text_: str) -> str:
    """Parser of a folder's name."""
    if os.path.expanduser(text_).startswith("~"):  # noqa: PTH111 - Path raises RuntimeError
        raise ValueError("there is no such user; write it from / on")
    return text_


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """The signoff ledger."""

    folder: str = knob(
        "LEDGER_DIR",
        place,
        "",
        "Folder that holds the whole ledger, from the project's root if it is relative; empty: "
        "docs/OPS_CHANGELOG.md and ops/ledger/.",
    )
    origin: str = knob(
        "LEDGER_ORIGIN",
        text,
        "",
        "The log's name in its checkpoints, without spaces and +; empty takes quantum-ops/ledger.",
    )
    key: str = knob(
        "LEDGER_KEY",
        text,
        "",
        "File of the Ed25519 private key (PEM) that signs checkpoints; empty leaves them unsigned.",
    )
    tags: bool = knob(
        "LEDGER_TAGS",
        flag,
        False,  # noqa: FBT003 - a default
        "Make an annotated git tag, ops-YYYY-MM-DD-NNN, of each operation.",
    )
    strict: bool = knob(
        "STRICT_LEDGER",
        flag,
        False,  # noqa: FBT003 - a default
        "An event that breaks a rule (a rollback of nothing, an unusable id) goes to the dead "
        "letter; false records it together with what is wrong.",
    )
    producers: str = knob(
        "LEDGER_PRODUCERS",
        text,
        "",
        "Folder of the public keys (NAME.pub, Ed25519, PEM) of producers whose deploys are signed; "
        "empty trusts nobody and checks nothing.",
    )
    require_signed: bool = knob(
        "LEDGER_REQUIRE_SIGNED",
        flag,
        False,  # noqa: FBT003 - a default
        "Only deploys that a trusted producer signed are recorded, others go to the dead letter; "
        "false records them, marked unsigned.",
    )
    signing_key: str = knob(
        "DEPLOY_SIGNING_KEY",
        text,
        "",
        "File of the Ed25519 private key (NAME.pem) that signs what ./run deploy and ./run publish "
        "deploy send, as the producer NAME; empty sends it unsigned.",
    )
    stale_s: float = knob(
        "LEDGER_STALE_SEC",
        decimal(1, 86_400, "s"),
        300.0,
        "Seconds after a deploy from which on collected evidence is marked as late.",
    )
