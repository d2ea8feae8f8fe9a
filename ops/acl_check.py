"""The only place that compares the users of a server with the catalogue.

A server gives rights back in words and an order of its own (redis 7.0 makes ``+@transaction
-watch`` of four commands), so the catalogue's are asked of the same server: they are given to a
user that is off, read back, and taken away again, in one step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import hiredis
import walrus

from ops import system
from quantum_ops import client
from quantum_ops.acl import text
from quantum_ops.acl.rights import User

PROBE = "quantum-check"
"""The user that lives for the length of one transaction. It is off: nobody can become it."""
Rights = frozenset[str]
_MOST = 200


def generation(db: walrus.Database) -> text.Generation:
    """The generation of the server."""
    name, _, version = system.flavour(db.execute_command("INFO", "server")).partition(" ")
    return text.generation(name, tuple(int(part) for part in version.split(".")[:2]))


def of_default(db: walrus.Database) -> Iterator[str]:
    """What is dangerous with the user ``default``: see :func:`text.replays_all`."""
    name, _, version = system.flavour(db.execute_command("INFO", "server")).partition(" ")
    if text.replays_all(name, tuple(int(part) for part in version.split("."))):
        return
    found = _read(client.raw(db, "ACL", "GETUSER", "default")) or {}
    if "+@all" not in str(found.get("commands")) or "~*" not in str(found.get("keys")):
        yield (
            f"lacks rights, so {name} {version} drops what scripts and transactions wrote when it "
            "starts; give it all, switched off: ACL SETUSER default off resetpass ~* &* +@all"
        )


def differences(
    db: walrus.Database, user: User, of: text.Generation, password_hash: str
) -> Iterator[str]:
    """What is not as it should be with ``user``; ``password_hash`` '' is not compared.

    Raises what the client raises: whoever asks must be an administrator.
    """
    found = _read(client.raw(db, "ACL", "GETUSER", user.name))
    if found is None:
        yield "is not there"
        return
    if "on" not in found["flags"]:
        yield "is switched off"
    if "nopass" in found["flags"]:
        yield "needs no password"
    elif password_hash and password_hash not in found["passwords"]:
        yield "has another password than its file"
    has, should = _rights(found), _rights(_wanted(db, user, of))
    for rights in (has - should).elements():
        yield f"has rights that it should not have: {_shown(rights)}"
    for rights in (should - has).elements():
        yield f"lacks rights: {_shown(rights)}"


def _wanted(db: walrus.Database, user: User, of: text.Generation) -> Mapping[str, Any]:
    commands = (
        ("MULTI",),
        ("ACL", "SETUSER", PROBE, "reset", *text.rules(user, of)),
        ("ACL", "GETUSER", PROBE),
        ("ACL", "DELUSER", PROBE),
        ("EXEC",),
    )
    packed = b"".join(hiredis.pack_command(one) for one in commands)
    *_, done = client.ask(db, packed, len(commands))
    if isinstance(done, Exception):
        raise done
    return _read(done[1]) or {}


def _rights(reply: Mapping[str, Any]) -> Counter[Rights]:
    """Those of the root and of each selector."""
    parts = [reply, *reply.get("selectors", ())]
    return Counter(
        frozenset(f"{one['commands']} {one['keys']} {one['channels']}".split()) - {"-@all"}
        for one in parts
    )


def _read(reply: Any) -> dict[str, Any] | None:
    """An ``ACL GETUSER`` reply as RESP2 has it (names and values in turn), as text."""
    if reply is None:
        return None
    made: dict[str, Any] = {}
    for raw_name, value in zip(reply[::2], reply[1::2], strict=True):
        name = raw_name.decode()
        if name == "selectors":
            made[name] = [_read(one) for one in value]
        elif isinstance(value, bytes):
            made[name] = value.decode("utf-8", "backslashreplace")
        else:
            made[name] = [one.decode("utf-8", "backslashreplace") for one in value]
    return made


def _shown(rights: Rights) -> str:
    told = " ".join(sorted(rights))
    return told if len(told) < _MOST else f"{told[: _MOST - 4]} ..."
