"""The only place that reads and writes ``run/current.env``: what is running, on which server."""

from __future__ import annotations

import os
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from ops.paths import PROFILES, Paths
from quantum_ops import knobs
from quantum_ops.errors import ConfigurationError
from quantum_ops.settings import HostSettings, RedisSettings


@dataclass(frozen=True, slots=True)
class Running:
    """The system as it was started. ``url`` may hold a password: show it only starred.

    ``page_port`` is the status page's on 127.0.0.1, 0 without one; ``host`` is ``QUANTUM_HOST``;
    ``acl_dir`` the folder of the passwords, empty if everybody connects as the URL says.
    """

    url: str
    port: int
    profile: str
    run_dir: Path
    page_port: int = 0
    host: str = ""
    acl_dir: str = ""

    @property
    def owned(self) -> bool:
        """Whether the server is the embedded one, started and stopped with the system."""
        return self.url.partition("?")[0] == _socket_url(self.run_dir / "redis.sock")

    def redis(self, timeout_s: float, *, writes: bool = False) -> RedisSettings:
        """How to connect to its server: by its URL, with what the settings say of TLS.

        Who ``writes`` waits for the replicas, too, as the settings say.
        """
        try:
            found = knobs.load(RedisSettings)
        except ConfigurationError:
            found = RedisSettings()  # whoever looks at a broken system must be able to look
        return RedisSettings(
            url=self.url,
            db=found.db,
            sentinel_username=found.sentinel_username,
            sentinel_password=found.sentinel_password,
            tls_ca=found.tls_ca,
            tls_cert=found.tls_cert,
            tls_key=found.tls_key,
            acl_dir=self.acl_dir,
            timeout_s=timeout_s,
            wait_replicas=found.wait_replicas if writes else 0,
            wait_replicas_ms=found.wait_replicas_ms,
        )


def plan(settings: RedisSettings, paths: Paths) -> Running:
    """The system that these settings ask for.

    ``REDIS_URL`` or ``REDIS_HOST`` names a server and none is started; otherwise ours is used,
    over its unix socket. Raises :class:`ConfigurationError` for settings that ours cannot honour.
    """
    if settings.url or settings.host:
        # Only here: whoever just reads what runs would wait for redis-py to be imported.
        from quantum_ops.client import url_of  # noqa: PLC0415 - see above

        url = url_of(settings)
    elif settings.password or settings.username:
        name = "REDIS_PASSWORD" if settings.password else "REDIS_USERNAME"
        raise ConfigurationError(
            f"{name} is set, but neither REDIS_URL nor REDIS_HOST: the embedded server makes "
            f"users and passwords of its own; name your server, or unset {name}"
        )
    else:
        url = _socket_url(paths.redis_socket) + (f"?db={settings.db}" if settings.db else "")
    return Running(
        url,
        settings.port,
        paths.profile,
        paths.run_dir,
        host=knobs.load(HostSettings).name,
        acl_dir=settings.acl_dir if settings.url or settings.host else str(paths.acl),
    )


def write(path: Path, running: Running) -> None:
    """Write the file, mode 0600, so that a reader sees the old one or the new one, never half."""
    lines = {
        "REDIS_URL": running.url,
        "REDIS_PORT": running.port,
        "PROFILE": running.profile,
        "QUANTUM_RUN_DIR": running.run_dir,
        "STATUS_PAGE_PORT": running.page_port,
        "QUANTUM_HOST": running.host,
        "QUANTUM_ACL_DIR": running.acl_dir,
    }
    text = "".join(f"{name}={value}\n" for name, value in lines.items())
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


def read(path: Path) -> Running | None:
    """What stands in the file; None if there is none, or if it cannot be understood."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    port, profile = values.get("REDIS_PORT", ""), values.get("PROFILE", "")
    if not (values.get("REDIS_URL") and port.isdecimal() and profile in PROFILES):
        return None
    if not values.get("QUANTUM_RUN_DIR"):
        return None
    page = values.get("STATUS_PAGE_PORT", "")
    page_port = int(page) if page.isdecimal() else 0  # one of before there was a page has no line
    run_dir = Path(values["QUANTUM_RUN_DIR"])
    host = values.get("QUANTUM_HOST", "")
    acl_dir = values.get("QUANTUM_ACL_DIR", "")  # one of before there were users has no line
    return Running(values["REDIS_URL"], int(port), profile, run_dir, page_port, host, acl_dir)


def _socket_url(socket: Path) -> str:
    return "unix://" + urllib.parse.quote(str(socket))
