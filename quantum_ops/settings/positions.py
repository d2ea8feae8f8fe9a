"""The only place of the settings of the producer of positions and of the ledger's notes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from quantum_ops.knobs import decimal, knob, one_of, regex, text, whole
from quantum_ops.settings.universe import SYMBOL_REGEX


@dataclass(frozen=True, slots=True)
class PositionsSettings:
    """The producer of positions; off unless it has credentials."""

    mode: str = knob(
        "POSITIONS_MODE",
        one_of("testnet", "mainnet"),
        "",
        "Network whose account is read; empty takes UNIVERSE_MODE. Decides the host.",
    )
    universe_mode: str = knob(
        "UNIVERSE_MODE",
        one_of("testnet", "mainnet"),
        "testnet",
        "The universe producer's setting; what POSITIONS_MODE is when it is empty.",
    )
    url: str = knob(
        "POSITIONS_URL",
        text,
        "",
        "Base address instead of the mode's own host, for example https://demo-fapi.binance.com; "
        "https only, because the API key travels with each request (http on this machine).",
    )
    api_key: str = knob(
        "BINANCE_API_KEY",
        text,
        "",
        "API key; the right to read is enough. Never logged. Without credentials nothing is asked.",
        secret=True,
    )
    api_secret: str = knob(
        "BINANCE_API_SECRET", text, "", "Secret of that key. Never logged.", secret=True
    )
    api_key_file: str = knob(
        "BINANCE_API_KEY_FILE", text, "", "File that holds the key instead; not for others to read."
    )
    api_secret_file: str = knob(
        "BINANCE_API_SECRET_FILE", text, "", "File that holds the secret; not for others to read."
    )
    refresh_s: float = knob(
        "POSITIONS_REFRESH_SEC",
        decimal(0.2, 60, "s"),
        2.0,
        "Seconds between fetches, 5 of the request weight each. P3.3 denies beyond "
        "P33_STALE_THRESHOLD_SEC.",
    )
    http_timeout_s: float = knob(
        "POSITIONS_HTTP_TIMEOUT_SEC", decimal(0.05, 30, "s"), 4.0, "Seconds for one whole request."
    )
    recv_window_ms: int = knob(
        "POSITIONS_RECV_WINDOW_MS",
        whole(1, 60_000, "ms"),
        5000,
        "Milliseconds after its own timestamp in which the exchange takes a request.",
    )
    max_bytes: int = knob(
        "POSITIONS_MAX_BYTES",
        whole(1024, 1 << 30, "bytes"),
        4 * 1024 * 1024,
        "Largest unpacked body that is read; real ones are below 500 KiB.",
    )
    symbol_regex: re.Pattern[str] = knob(
        "UNIVERSE_SYMBOL_REGEX", regex, SYMBOL_REGEX, "Symbols whose positions are written."
    )


@dataclass(frozen=True, slots=True)
class PositionLedgerSettings:
    """The consumer that notes the last order of each symbol."""

    symbol_regex: re.Pattern[str] = knob(
        "UNIVERSE_SYMBOL_REGEX", regex, SYMBOL_REGEX, "Symbols whose ledgers are written."
    )
