"""The only place that keeps the users' passwords: a file for each, mode 0600, made once.

Whoever reads one while another process makes it sees the whole file or none. A file that holds no
password (somebody's editor, a power loss) is made anew by the next start, together with the ACL
file, so that the two never stay apart.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
import time
from collections.abc import Iterable
from pathlib import Path

from quantum_ops.errors import ConfigurationError

SUFFIX = ".password"
_WHOLE = re.compile(rb"[0-9a-f]{64}\n?")
_BYTES = 32
_STALE_S = 60.0


def path_of(folder: Path, user: str) -> Path:
    """Where the password of ``user`` is kept."""
    return folder / (user + SUFFIX)


def read(folder: Path, user: str) -> str:
    """The password of ``user``; :class:`ConfigurationError` with the cure if there is none.

    Any line of text is taken: whoever looks after a server of their own chooses passwords, too.
    """
    path = path_of(folder, user)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(
            f"QUANTUM_ACL_DIR={str(folder)!r}: has no {path.name}, so there is no way in as Redis "
            f"user {user}; make users, passwords and ACL anew: ./run acl apply (docs/acl.md)"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read ({error})") from None
    password = text.removesuffix("\n")
    if not password or "\n" in password:
        raise ConfigurationError(
            f"{path}: holds no password; remove it and make it anew: ./run acl apply"
        )
    return password


def make(folder: Path, users: Iterable[str]) -> dict[str, str]:
    """The passwords of ``users`` by name; those that are missing or damaged are made.

    MUST be safe against a kill at any point and against another process that makes them at the
    same time: both end with the same passwords, which stand in the files.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        folder.chmod(0o700)
    for draft in folder.glob(".*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - draft.stat().st_mtime > _STALE_S:
                draft.unlink()  # of a maker that was killed
    return {user: _made(folder, path_of(folder, user)) for user in users}


def replace(path: Path, text: str) -> None:
    """Write ``text`` to ``path``, mode 0600 and on disk, in one step."""
    draft = _draft(path, text)
    draft.replace(path)
    _sync(path.parent)


def _made(folder: Path, path: Path) -> str:
    while True:
        with contextlib.suppress(FileNotFoundError):
            found = path.read_bytes()
            if _WHOLE.fullmatch(found):
                if stat.S_IMODE(path.stat().st_mode) & 0o077:
                    path.chmod(0o600)
                return found.decode().removesuffix("\n")
            path.unlink()
        draft = _draft(path, secrets.token_hex(_BYTES) + "\n")
        try:
            # A link fails where a file stands: of two makers the first one's password counts.
            path.hardlink_to(draft)
        except FileExistsError:
            continue
        finally:
            draft.unlink()
        _sync(folder)


def _draft(path: Path, text: str) -> Path:
    draft = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return draft


def _sync(folder: Path) -> None:
    place = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)
