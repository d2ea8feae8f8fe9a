"""The only place that knows secrets by their looks: keys, tokens, passwords inside addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator

MARK = "[redacted]"

_LABEL = r"[^-\n]{0,40}PRIVATE KEY[^-\n]{0,40}-----"
_PEM = re.compile(rf"-----BEGIN {_LABEL}.*?(?:-----END {_LABEL}|\Z)", re.DOTALL)
# Of a block whose beginning was cut off, its end tells.
_PEM_END = re.compile(rf"\A.*-----END {_LABEL}", re.DOTALL)
# No pattern looks twice at what it has passed: each begins at the edge of a run of its characters.
_JWT = re.compile(r"(?<![\w-])eyJ[\w-]{6,}\.[\w-]{4,}(?:\.[\w-]*)?", re.ASCII)
_LONG = re.compile(r"[\w-]{14}", re.ASCII)
_TOKENS = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])"  # AWS
    r"|(?:gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|[rs]k[-_](?:live|test|ant|proj)[-_]|hf_|npm_)"
    r"[\w-]{10,}"
    r"|AIza[\w-]{35}"
    r"|[0-9]{8,10}:[\w-]{35}(?![\w-]))",  # a bot of Telegram
    re.ASCII,
)
_HOOK = re.compile(r"(?:(?<=hooks\.slack\.com/services/)|(?<=/api/webhooks/))[^\s\"']+")
_RUN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z0-9]{40,}(?![A-Za-z0-9])")
_HEX = re.compile(r"(?:0[xX])?[0-9a-fA-F]+")
_DIGIT = re.compile(r"[0-9]")
_BEARER = re.compile(r"\b(bearer[ \t]+)([\w.~+/=-]{8,})", re.IGNORECASE)
_SAID = re.compile(
    r"\b((?:password|passwd|passphrase|secret|token|api[ _-]?key)[ \t]+(?:is|was)[ \t]+"
    r"|(?:requirepass|masterauth|primaryauth)[ \t]+)(\S+)",
    re.IGNORECASE,
)
_SETUSER = re.compile(r"\bsetuser\b[^\n]*", re.IGNORECASE)
_ACL_PASSWORD = re.compile(r"(?<=\s)[<>#][^\s\"']+")
_LOGIN = re.compile(r"(?<![A-Za-z0-9+.-])([A-Za-z][A-Za-z0-9+.-]*)(://)((?:(?!://)[^\s\"'<>`])*)@")
_PLAIN_HOST = re.compile(r"[^:@/?#]+(?::[0-9]{1,5})?")
_REST = re.compile(r"[/?#]")
_NAMES_ONLY = frozenset({"ssh", "git", "git+ssh", "sftp", "scp", "svn+ssh"})
_WEB = frozenset({"http", "https", "ws", "wss"})


def redact(text: str) -> str:
    """``text`` with a mark for everything that looks like a secret."""
    if "PRIVATE KEY" in text:
        text = _PEM_END.sub(MARK, _PEM.sub(MARK, text))
    if "://" in text:
        text = _LOGIN.sub(_without_login, text)
    if "eyJ" in text:
        text = _JWT.sub(MARK, text)
    if _LONG.search(text):
        text = _RUN.sub(_without_run, _TOKENS.sub(MARK, text))
    if "hooks" in text:
        text = _HOOK.sub(MARK, text)
    folded = text.lower()
    if "bearer" in folded:
        text = _BEARER.sub(_without_bearer, text)
    if any(one in folded for one in (" is", "\tis", " was", "\twas", "requirepass", "auth")):
        text = _SAID.sub(rf"\1{MARK}", text)
    if "setuser" in folded:
        text = _SETUSER.sub(lambda found: _ACL_PASSWORD.sub(MARK, found[0]), text)
    return text


def passwords(text: str) -> Iterator[str]:
    """The passwords inside the addresses of ``text``, as they stand there and unquoted."""
    from urllib.parse import unquote  # noqa: PLC0415 - few texts hold an address

    for found in _LOGIN.finditer(text):
        login = _login(found)
        if login and ":" in login:
            password = login.partition(":")[2]
            yield password
            yield unquote(password)


def _login(found: re.Match[str]) -> str:
    """The user and password of an address; empty if what stands before the @ is something else."""
    before = found[3]
    rest = _REST.search(before)
    if not rest:
        return before
    authority = before[: rest.start()]
    if "@" in authority:
        return authority.rpartition("@")[0]
    # A password with a slash in it; of a web address it may as well be a path with an @.
    plain = _PLAIN_HOST.fullmatch(authority)
    return "" if plain and (":" not in authority or found[1].lower() in _WEB) else before


def _without_login(found: re.Match[str]) -> str:
    login = _login(found)
    user, colon, password = login.partition(":")
    if not login or (colon and not password):
        return found[0]
    if not colon:
        if found[1].lower() in _NAMES_ONLY:
            return found[0]
        user = ""
    rest = found[0][len(found[1]) + len(found[2]) + len(login) :]
    return f"{found[1]}://{user}{colon}{MARK}{rest}"


def _without_run(found: re.Match[str]) -> str:
    """A long run of letters and digits is a key, unless it is hex: digests and commits are that."""
    run = found[0]
    if _HEX.fullmatch(run) or len(_DIGIT.findall(run)) < 3:  # noqa: PLR2004 - a long name has fewer
        return run
    return MARK


def _without_bearer(found: re.Match[str]) -> str:
    token = found[2]
    is_token = len(token) >= 20 or _DIGIT.search(token)  # noqa: PLR2004 - no word is as long
    return f"{found[1]}{MARK}" if is_token else found[0]
