"""The only place of a server with users: those that the product gives it, and one for the suite.

At its start such a server may judge its append-only file by the rights of the user ``default``, and
drop what that one may not write (:func:`quantum_ops.acl.text.replays_all`).
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from quantum_ops.acl import catalogue, text
from tests.servers import Server

PASSWORD = "of-the-suite"


class Guarded(Server):
    """What is durable has users, as the server that ./run starts."""

    login = f"suite:{PASSWORD}@"

    def __init__(self, flavour: str, *options: str, env: dict[str, str] | None = None) -> None:
        self._users = Path(tempfile.mkdtemp(prefix="qo-acl-")) / "users.acl"
        self._users.write_text(users(flavour), encoding="ascii")
        super().__init__(flavour, "--aclfile", str(self._users), *options, env=env)

    def close(self) -> None:
        """End it, and forget its users."""
        super().close()
        shutil.rmtree(self._users.parent, ignore_errors=True)


def users(flavour: str) -> str:
    """The ACL file: as ./run writes it for such a server, and a user for what is no program."""
    login = text.login(PASSWORD)
    logins = dict.fromkeys((user.name for user in catalogue.users(demo=False)), login)
    of: text.Generation = "7.0" if flavour == "redis7" else "9"
    return text.file(of, logins, default=of == "9") + f"user suite on {login} ~* &* +@all\n"
