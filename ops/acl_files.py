"""The only place that gives the embedded server its users: passwords, and the ACL file it reads.

Both lie in ``QUANTUM_HOME/acl``. The passwords come first and are the truth: the file is made of
them before each start of the server, so that whatever a kill left behind fits again.
"""

from __future__ import annotations

from pathlib import Path

from ops.paths import Paths
from ops.server_binary import Flavour
from quantum_ops.acl import catalogue, passwords, text

FILE = "users.acl"


def prepare(paths: Paths) -> dict[str, str]:
    """The passwords of all users of this system, by name; makes what is missing.

    MUST come before the first program is started: programs read theirs and do not wait for it.
    """
    wanted = [user.name for user in catalogue.users(demo=paths.profile == "demo")]
    return passwords.make(paths.acl, wanted)


def lets_nameless_in(flavour: Flavour, wanted: str) -> tuple[bool, str]:
    """Whether whoever names no user may do anything, and why not, if ``wanted`` is ``spec``."""
    if wanted != "spec" or text.replays_all(flavour.name, flavour.version):
        return wanted == "spec", ""
    return False, (
        f"QUANTUM_DEFAULT_USER=spec: not on {flavour}, which would drop data when it starts; "
        "whoever names no user is not let in (docs/acl.md)"
    )


def write(paths: Paths, flavour: Flavour, *, default: bool) -> Path:
    """Make the ACL file for a server of ``flavour``; gives its path."""
    logins = {user: text.login(password) for user, password in prepare(paths).items()}
    path = paths.acl / FILE
    of = text.generation(flavour.name, flavour.version)
    demo = paths.profile == "demo"
    passwords.replace(path, text.file(of, logins, demo=demo, default=default))
    return path
