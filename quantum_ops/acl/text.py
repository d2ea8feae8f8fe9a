"""The only place that writes the catalogue as a server reads it: an ACL file. Pure.

One file for each generation of servers: a server refuses to start on a file that names a command
which it does not know.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final, Literal

from quantum_ops.acl import catalogue
from quantum_ops.acl.rights import Grant, User

Generation = Literal["7.0", "9"]
GENERATIONS: Final[tuple[Generation, ...]] = ("7.0", "9")
"""``7.0``: redis 7.0. ``9``: redis 7.2 and newer, every valkey."""
_NEWER: Final = frozenset({"client|setinfo"})
"""Commands that redis 7.0 does not know."""


def generation(name: str, version: tuple[int, ...]) -> Generation:
    """The generation of a server: ``redis`` or ``valkey``, in that version."""
    return "7.0" if name == "redis" and version < (7, 2) else "9"


def replays_all(name: str, version: tuple[int, ...]) -> bool:
    """Whether a server that starts applies every transaction of its append-only file.

    Others judge each EXEC in the file by the rights of the user ``default``, and drop in silence
    what that one may not: almost all that a script of ours ever wrote. There ``default`` MUST have
    every right, so it must be off. Known not to: the server that we pin, and what came after it.
    """
    return name == "valkey" and version >= (9, 1, 2)


def selector(grant: Grant, of: Generation) -> str:
    """``grant`` as a selector."""
    parts = [
        *(f"%R~{one}" for one in grant.read),
        *(f"%W~{one}" for one in grant.write),
        *(f"~{one}" for one in grant.both),
        *(f"&{one}" for one in grant.channels),
        *_commands(grant.commands, of),
    ]
    return f"({' '.join(parts)})"


def rules(user: User, of: Generation) -> list[str]:
    """What ``user`` may do, as ``ACL SETUSER`` takes it; it begins from nothing."""
    if user.all_rights:
        return ["~*", "&*", "+@all"]
    root = ["resetkeys", "resetchannels", "-@all", *_commands(user.commands, of)]
    return root + [selector(grant, of) for grant in user.grants]


def line(user: User, of: Generation, login: str) -> str:
    """The line of an ACL file. ``login`` is ``nopass``, or ``#`` and the hash of a password."""
    return " ".join(["user", user.name, "on", login, *rules(user, of)])


def file(
    of: Generation, logins: Mapping[str, str], *, demo: bool = False, default: bool = True
) -> str:
    """The whole file. ``logins`` has every user's (:func:`login`); ``default`` off is refused.

    Raises ``ValueError`` for a default user that no server of this generation may have:
    :func:`replays_all`.
    """
    if default and of == "7.0":
        raise ValueError("redis 7.0 drops what the default user may not do when it starts")
    lines = [line(user, of, logins[user.name]) for user in catalogue.users(demo=demo)]
    if default:
        lines.append(line(catalogue.DEFAULT, of, "nopass"))
    else:
        # Nobody can become it: it is off and has no password. Its rights are for replays_all.
        lines.append("user default off resetpass ~* &* +@all")
    # No comment at its head: servers refuse any line that is no user.
    return "".join(f"{one}\n" for one in lines)


def login(password: str) -> str:
    """The login of a user who has ``password``: a file never holds the password itself."""
    return "#" + hashlib.sha256(password.encode()).hexdigest()


def _commands(names: Iterable[str], of: Generation) -> list[str]:
    return [f"+{name}" for name in names if of != "7.0" or name not in _NEWER]
