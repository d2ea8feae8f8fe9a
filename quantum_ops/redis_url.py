"""The only place that checks and shows the URL of a Redis server, and what TLS to it rests on."""

from __future__ import annotations

import re
import ssl
import urllib.parse
from pathlib import Path
from typing import Any

from quantum_ops.errors import ConfigurationError
from quantum_ops.settings import RedisSettings

SENTINEL_SCHEMES = ("sentinel", "sentinels")
SCHEMES = ("redis", "rediss", "unix", *SENTINEL_SCHEMES)
_ENCRYPTED = ("rediss", "sentinels")
_WRITE = (
    "write redis://HOST:PORT/DB, rediss://..., unix:///path, sentinel://HOST:PORT/SERVICE or "
    "sentinels://..."
)
_OPTIONS = {"db", "password", "username", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"}
_PASSWORD = re.compile(r"((?:^|[?&])password=)[^&#]*", re.IGNORECASE)
_FILES = {
    "ssl_ca_certs": ("REDIS_TLS_CA", "tls_ca", "the certificates of the CAs to trust"),
    "ssl_certfile": ("REDIS_TLS_CERT", "tls_cert", "our own certificate"),
    "ssl_keyfile": ("REDIS_TLS_KEY", "tls_key", "the key of our own certificate"),
}
"""redis-py's names of the files, the settings that name them, and what they are to hold."""


def url_of(settings: RedisSettings) -> str:
    """The one URL that the settings mean, credentials included; see :func:`shown` for logs.

    Raises :class:`ConfigurationError`, without the password, for one that cannot be used.
    """
    if settings.url:
        _check(settings.url)
        return settings.url
    login = ""
    if settings.password or settings.username:
        quoted = urllib.parse.quote(settings.password, safe="")
        login = f"{urllib.parse.quote(settings.username, safe='')}:{quoted}@"
    return f"redis://{login}{settings.host or '127.0.0.1'}:{settings.port}/{settings.db}"


def shown(url: str) -> str:
    """``url`` with its password starred, fit for logs and screens, however wrong it is."""
    # Not by urlsplit: a password with an unquoted / or # in it would be shown as a path.
    scheme, mark, rest = _PASSWORD.sub(r"\1***", url).partition("://")
    if not mark:
        return scheme.rpartition("@")[2]
    login, at, where = rest.rpartition("@")
    return f"{scheme}://{login.partition(':')[0]}:***@{where}" if at else f"{scheme}://{where}"


def is_sentinel(url: str) -> bool:
    """Whether ``url`` names sentinels, who name the server."""
    return url.partition("://")[0] in SENTINEL_SCHEMES


def tls_options(url: str, settings: RedisSettings) -> dict[str, Any]:
    """What redis-py is to be told of TLS: empty unless the URL's scheme says TLS.

    With ``sentinels`` it is for the sentinels and for the servers that they name. Certificates and
    names are always checked. Files that the URL names count before those of the settings. Raises
    :class:`ConfigurationError` for a file that cannot be used.
    """
    named = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
    found = {
        option: named.get(option) or getattr(settings, field)
        for option, (_, field, _) in _FILES.items()
    }
    scheme = url.partition("://")[0]
    if scheme not in _ENCRYPTED:
        given = [_FILES[option][0] for option, path in found.items() if path]
        if given:
            write = "sentinels://..." if scheme == "sentinel" else "rediss://HOST:PORT"
            raise ConfigurationError(
                f"{given[0]}: is set, but {shown(url)!r} is not encrypted; write {write}, or take "
                f"{given[0]} out"
            )
        return {}
    if bool(found["ssl_certfile"]) != bool(found["ssl_keyfile"]):
        raise ConfigurationError(
            "REDIS_TLS_CERT and REDIS_TLS_KEY: one is set and the other is not; a certificate of "
            "our own needs both"
        )
    for option, path in found.items():
        if path:
            _readable(option, path)
    _loads(found)
    return {
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": True,
        **{option: path for option, path in found.items() if path},
    }


def tls_problem(error: BaseException | None) -> str:
    """What to mend if ``error`` comes of certificates; empty if it does not.

    Waiting mends none of these: whoever sees one stops (exit code 78), as with a wrong password.
    """
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    # The deepest first: what redis-py makes of it repeats the text and loses the kind.
    for one in reversed(chain):
        if isinstance(one, ssl.SSLCertVerificationError):
            return _of_theirs(one)
    return next((told for one in reversed(chain) if (told := _of_ours(str(one)))), "")


def _of_theirs(error: ssl.SSLCertVerificationError) -> str:
    told = error.verify_message or str(error)
    if "expired" in told or "not yet valid" in told:
        cure = "renew the server's certificate, or set the clock of this machine"
    elif "mismatch" in told or "doesn't match" in told or "not valid for" in told:
        cure = "write in REDIS_URL the name that the certificate is for"
    else:
        cure = "let REDIS_TLS_CA name the file of the CA that signed it"
    return f"the server's certificate is not believed: {told}; {cure}"


def _of_ours(told: str) -> str:
    upper = told.upper()
    if "[SSL" not in upper:
        return ""
    if "WRONG_VERSION_NUMBER" in upper or "RECORD LAYER" in upper:
        return "the server does not speak TLS on this port; write redis://, or its TLS port"
    if "ALERT" in upper:
        return (
            f"the server does not believe us ({told}); let REDIS_TLS_CERT and REDIS_TLS_KEY name a "
            "certificate and its key, signed by a CA that the server trusts"
        )
    return ""


def _check(url: str) -> None:
    problem = f"REDIS_URL={shown(url)!r}"
    try:
        # What the library says may repeat a part of the password.
        parts = urllib.parse.urlsplit(url)
        _ = parts.scheme in SENTINEL_SCHEMES or (parts.port, parts.hostname)
    except ValueError:
        raise ConfigurationError(f"{problem}: is no URL; {_WRITE}") from None
    if parts.scheme not in SCHEMES:
        raise ConfigurationError(f"{problem}: scheme {parts.scheme!r} is unknown; {_WRITE}")
    if parts.scheme == "unix" and not parts.path:
        raise ConfigurationError(f"{problem}: names no socket; write unix:///path/redis.sock")
    # redis-py lets the query of a URL overrule what client.py decides, retries included.
    for key in urllib.parse.parse_qs(parts.query):
        if key not in _OPTIONS:
            raise ConfigurationError(f"{problem}: option {key!r} is not taken; take it out")


def _readable(option: str, path: str) -> None:
    name, _, what = _FILES[option]
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except OSError as error:
        raise ConfigurationError(
            f"{name}={path}: {error.strerror}; it is to hold {what}, in PEM"
        ) from None


def _loads(found: dict[str, str]) -> None:
    """Try the files: what is no PEM, or no pair, would be told again with each connection."""
    context = ssl.create_default_context()
    option = "ssl_ca_certs"
    try:
        if found[option]:
            context.load_verify_locations(found[option])
        option = "ssl_certfile"
        if found[option]:
            context.load_cert_chain(found[option], found["ssl_keyfile"], password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        name, _, what = _FILES[option]
        raise ConfigurationError(
            f"{name}={found[option]}: is not usable ({error}); it is to hold {what}, in PEM"
            + (", the one of REDIS_TLS_KEY, without a password" if option == "ssl_certfile" else "")
        ) from None


def _no_password() -> str:
    # Without it OpenSSL would ask on the terminal, and a program would wait for ever.
    return ""
