"""The parsers that read what others put into Redis, or send us: events, exchange, permits."""

from __future__ import annotations

import functools
import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from producers import exchange_info, position_risk
from quantum_ops import codec, dead_letter, events, streams
from quantum_ops.errors import DecodeError
from quantum_ops.history import entry as archived
from quantum_ops.permits import check, document, keys
from quantum_ops.settings import UniverseSettings
from quantum_ops.settings.universe import SYMBOL_REGEX
from tests import exchange
from tests.fuzz.target import Target
from tests.p33_stories import NOW, plan

PART = b"\x1e"
"""Between the names and values of an entry that travels as one input."""
_GOLDEN = Path(__file__).parents[1] / "unit" / "golden_events.json"
_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
_SIGNER = keys.Signer(_KEY)
_TRUSTED = {_SIGNER.key_id: _KEY.public_key()}
_UNIVERSE = UniverseSettings()


def _golden() -> dict[str, list[bytes]]:
    told = json.loads(_GOLDEN.read_text(encoding="utf-8"))
    return {name: [part.encode() for part in flat] for name, flat in told.items()}


def _event(kind: type[events.Event], given: bytes) -> bool:
    found = codec.decoder(kind)(given.split(PART))
    # What was taken is written and read back as the same: nothing is understood in two ways.
    # (Moments are written to the millisecond, so it is what is written that is compared.)
    written = codec.encode(found)
    assert codec.encode(codec.decoder(kind)(written)) == written
    return True


def _events() -> list[Target]:
    made = []
    golden = _golden()
    for stream in streams.CATALOGUE:
        flat = golden.get(stream.name)
        if flat is None:
            continue
        made.append(
            Target(
                f"event {stream.name}",
                "codec.Decoder",
                functools.partial(_event, stream.event),
                # A value that was taken and is too large to be written again is refused there.
                (DecodeError,),
                (PART.join(flat),),
                (PART, *flat[::2]),
            )
        )
    return made


def _exchange(given: bytes) -> bool:
    found = exchange_info.read(given, _UNIVERSE, NOW)
    assert found.symbols
    assert list(found.symbols) == sorted(set(found.symbols))
    assert all(_UNIVERSE.symbol_regex.fullmatch(one) for one in found.symbols)
    return bool(found.sha256)


def _positions(given: bytes) -> bool:
    found = position_risk.read(given, SYMBOL_REGEX)
    return bool(found.rows or found.hedged)


def _permit(given: bytes) -> bool:
    content, _ = document.split(given)
    document.decode(content)
    return True


def _signed_permit(given: bytes) -> bool:
    verdict = check.judge(given, plan(), trusted=_TRUSTED, now_s=NOW + 1)
    assert not verdict.allow or given in _honest_permits(), "nobody signed it"
    return verdict.allow


@functools.cache
def _honest_permits() -> frozenset[bytes]:
    from tests.unit.test_permits import allowance, denial

    return frozenset(document.encode(one, _SIGNER) for one in (allowance(), denial()))


def _archived(given: bytes) -> bool:
    found = archived.decode(given)
    try:
        return bool(found.flat) or True
    except (ValueError, IndexError, TypeError):
        return False


def _letter(given: bytes) -> bool:
    flat = given.split(PART)
    if len(flat) % 2:
        return False  # Redis has no entry without a value for each name
    return dead_letter.read(b"1-1", flat, None) is not None


def targets() -> list[Target]:
    """All of them."""
    position = json.dumps(
        [
            {
                "symbol": name, "positionSide": side, "positionAmt": amount, "entryPrice": "1.0",
                "markPrice": "1.5", "unRealizedProfit": "-0.5", "leverage": "10",
            }
            for name, side, amount in (("BTCUSDT", "BOTH", "0.5"), ("ETHUSDT", "LONG", "0"))
        ]
    ).encode()  # fmt: skip
    dead = _golden()["dead_letter"]
    line = archived.encode(
        "quantum:stream:apply.plan", b"1769494530123-0", [b"plan_id", b"9a3f", b"raw", b"\xff\xfe"]
    )
    permits = tuple(_honest_permits())
    return [
        *_events(),
        Target(
            "dead letter", "dead_letter.read", _letter, (),
            (PART.join([*dead, b"original.a", b"\xff"]),), (PART, *dead[::2]),
        ),
        Target(
            "exchangeInfo", "exchange_info.read", _exchange, (exchange_info.Refusal,),
            (
                exchange.body("BTCUSDT", "ETHUSDT"),
                exchange.body("AUSDT", exchange.row("BUSDT", status="SETTLING"), weight=2400),
            ),
            (b'"symbol":"BTCUSDT"', b'"status":"BREAK"', b'"filters":[]', b'"deliveryDate":-1'),
        ),
        Target(
            "positionRisk", "position_risk.read", _positions, (position_risk.Refusal,),
            (position,), (b'"positionSide":"SHORT"', b'"positionAmt":"-1"'),
        ),
        Target("permit", "permits.document.decode", _permit, (ValueError,), permits),
        Target("signed permit", "permits.check.judge", _signed_permit, (), permits),
        Target(
            "archive line", "history.entry.decode", _archived, (ValueError,),
            (line,), (b'"base64":[1]', b'"fields":[]'),
        ),
    ]  # fmt: skip
