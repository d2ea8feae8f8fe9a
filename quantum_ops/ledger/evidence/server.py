"""The only place that decides which Redis server evidence asks, and as whom."""

from __future__ import annotations

import ssl
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from quantum_ops.ledger.evidence import places
from quantum_ops.ledger.evidence.jobs import Deadline
from quantum_ops.ledger.evidence.resp import BrokenError, Connection, ReplyError

DEFAULT_PORT = 6379
AUDIT = "audit"
"""The user that may read only, and whose password file lies in QUANTUM_ACL_DIR."""
SENTINEL_PORT = 26379
SENTINEL_S = 0.5
"""Seconds for one sentinel: a dead one must leave time for the next."""


@dataclass(frozen=True)
class Server:
    """A server and a user of it. ``where`` is the path of a socket, or host and port."""

    where: str | tuple[str, int]
    username: str = ""
    password: str = ""
    db: int = 0
    tls: bool = False
    ca: str = ""
    cert: str = ""
    key: str = ""
    sentinels: tuple[tuple[str, int], ...] = ()
    service: str = ""

    def connect(self, deadline: Deadline) -> Connection:
        """A connection that is logged in and at the right database.

        Raises:
            BrokenError: if the server cannot be reached.
            ReplyError: if it does not let us in.
        """
        tls = self._context() if self.tls else None
        where = self._master(deadline, tls) if self.sentinels else self.where
        made = Connection.open(where, deadline, tls=tls)
        try:
            if self.password:
                login = [self.username, self.password] if self.username else [self.password]
                made.call([b"AUTH", *(one.encode() for one in login)])
            if self.db:
                made.call([b"SELECT", b"%d" % self.db])
        except BaseException:
            made.close()
            raise
        return made

    def _context(self) -> ssl.SSLContext:
        try:
            made = ssl.create_default_context(cafile=self.ca or None)
            if self.cert:
                made.load_cert_chain(self.cert, self.key or None, password=str)
        except (OSError, ValueError) as error:
            raise BrokenError(f"cannot be reached (a file of REDIS_TLS_*: {error})") from error
        return made

    def _master(self, deadline: Deadline, tls: ssl.SSLContext | None) -> tuple[str, int]:
        told = "names no sentinel"
        for one in self.sentinels:
            soon = Deadline(deadline.left(SENTINEL_S))
            try:
                made = Connection.open(one, soon, tls=tls)
            except BrokenError as error:
                told = str(error)
                continue
            try:
                found = made.call([b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", self.service.encode()])
                if found:
                    return str(found[0], "utf-8"), int(found[1])
                told = f"no sentinel knows {self.service!r}"
            except (BrokenError, ReplyError, ValueError, TypeError) as error:
                told = str(error)
            finally:
                made.close()
        raise BrokenError(f"its sentinels: {told}")


def find(root: Path, environ: Mapping[str, str]) -> Server:
    """The server that the project's settings name, else the running system's, else the local one.

    ``REDIS_AUDIT_USERNAME`` and ``REDIS_AUDIT_PASSWORD`` take the place of every other login: a
    user that may read only. Without them and without any login it is the user ``audit`` of
    ``QUANTUM_ACL_DIR``, or of the running system.

    Raises:
        ValueError: if a setting is unusable; never with a password in its text.
    """

    def setting(name: str) -> str:
        return places.setting(name, environ)

    url, host = setting("REDIS_URL"), setting("REDIS_HOST")
    port = _number("REDIS_PORT", setting("REDIS_PORT"), DEFAULT_PORT)
    named = bool(url or host)
    ours = {} if named else places.running(root, environ)
    url = url or ours.get("REDIS_URL", "")
    db = _number("REDIS_DB", setting("REDIS_DB"), 0)
    found = _of_url(url, db) if url else Server((host or "127.0.0.1", port), db=db)
    found = replace(
        found,
        ca=found.ca or setting("REDIS_TLS_CA"),
        cert=found.cert or setting("REDIS_TLS_CERT"),
        key=found.key or setting("REDIS_TLS_KEY"),
    )
    if not found.password:
        found = replace(
            found,
            username=found.username or setting("REDIS_USERNAME"),
            password=setting("REDIS_PASSWORD"),
        )
    if setting("REDIS_AUDIT_PASSWORD"):
        return replace(
            found,
            username=setting("REDIS_AUDIT_USERNAME") or AUDIT,
            password=setting("REDIS_AUDIT_PASSWORD"),
        )
    users = setting("QUANTUM_ACL_DIR") or ("" if named else ours.get("QUANTUM_ACL_DIR", ""))
    if users and not found.password:
        return replace(found, username=AUDIT, password=_password(Path(users)))
    return found


def _password(folder: Path) -> str:
    path = folder / f"{AUDIT}.password"
    try:
        return path.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, ValueError):
        raise ValueError(
            f"QUANTUM_ACL_DIR: {path} cannot be read; make it anew: ./run acl apply"
        ) from None


def _of_url(url: str, db: int) -> Server:
    try:
        parts = urllib.parse.urlsplit(url)
        query = dict(urllib.parse.parse_qsl(parts.query))
        username = urllib.parse.unquote(parts.username or "") or query.get("username", "")
        password = urllib.parse.unquote(parts.password or "") or query.get("password", "")
        path = parts.path.strip("/")
        db = _number("REDIS_URL's db", query.get("db", ""), db)
        if parts.scheme == "unix":
            return Server(urllib.parse.unquote(parts.path), username, password, db)
        tls = parts.scheme in {"rediss", "sentinels"}
        files = (query.get(f"ssl_{name}", "") for name in ("ca_certs", "certfile", "keyfile"))
        ca, cert, key = files
        if parts.scheme in {"sentinel", "sentinels"}:
            hosts = parts.netloc.rpartition("@")[2].split(",")
            sentinels = tuple(_host(one) for one in hosts)
            service, _, number = path.partition("/")
            db = _number("REDIS_URL's db", number, db)
            named = urllib.parse.unquote(service)
            return Server(
                sentinels[0], username, password, db, tls=tls, ca=ca, cert=cert, key=key,
                sentinels=sentinels, service=named,
            )  # fmt: skip
        if parts.scheme in {"redis", "rediss"}:
            where = (parts.hostname or "127.0.0.1", parts.port or DEFAULT_PORT)
            db = _number("REDIS_URL's db", path, db)
            return Server(where, username, password, db, tls=tls, ca=ca, cert=cert, key=key)
    except ValueError:
        pass
    raise ValueError(
        "REDIS_URL: unusable; write redis://HOST:PORT/DB, rediss://..., unix:///path or "
        "sentinel://HOST:PORT/SERVICE, sentinels://... with TLS"
    )


def _host(text: str) -> tuple[str, int]:
    name, _, port = text.rpartition(":")
    return (name, int(port)) if name and port.isdecimal() else (text, SENTINEL_PORT)


def _number(name: str, text: str, default: int) -> int:
    if not text:
        return default
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"{name}: is no number")
    return int(text)
