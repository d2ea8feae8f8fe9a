"""The permit's bytes, its keys, and what is never believed."""

from __future__ import annotations

import base64
import json
import random
import re
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import replace

from quantum_ops.errors import ConfigurationError
from quantum_ops.p33.amounts import amount
from quantum_ops.permits import REASONS, Permit, Signer, encode, new_key, plan_sha256, trusted
from quantum_ops.permits.check import judge
from quantum_ops.permits.document import MAX_BYTES, decode, split
from quantum_ops.permits.keys import key_id
from tests.p33_stories import NOW, opening, plan
from tests.programs import FULL

# The private key of RFC 8032, 7.1, TEST 1: golden bytes need a key that everybody knows.
RFC8032 = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
KEY = Ed25519PrivateKey.from_private_bytes(RFC8032)
SIGNER = Signer(KEY)
TRUSTED = {SIGNER.key_id: KEY.public_key()}
PLAN = plan()
AMOUNTS = ("exchange_position_amt", "ledger_amt", "safe_close_qty", "safe_qty")


def allowance(**fields) -> Permit:
    given = {
        "allow": True, "created_at": NOW, "expires_at": NOW + 60, "gate": "p33",
        "exchange_position_amt": Decimal("1.5"), "ledger_amt": Decimal("1.5"),
        "plan_id": PLAN.plan_id, "plan_sha256": plan_sha256(PLAN),
        "reason": "sanity_checks_passed", "safe_qty": Decimal("0.75"),
        "safe_close_qty": Decimal("0.75"), "symbol": "BTCUSDT", "universe_epoch": 7, **fields,
    }  # fmt: skip
    return Permit(**given)


def denial(**fields) -> Permit:
    given = {
        "allow": False, "reason": "no_position", "context": {"a": "b"},
        **dict.fromkeys(AMOUNTS, UNSET), **fields,
    }  # fmt: skip
    return allowance(**given)


def judged(raw: bytes, of=PLAN, *, now_s: float = NOW + 1, **options) -> str:
    verdict = judge(raw, of, **{"trusted": TRUSTED, "now_s": now_s, **options})
    assert verdict.allow == (verdict.reason == "ok")
    assert verdict.reason in REASONS
    return verdict.reason


GOLDEN = {
    "allowance": (
        b'{"allow":true,"created_at":1790000000.0,"exchange_position_amt":1.5,'
        b'"expires_at":1790000060.0,"gate":"p33","ledger_amt":1.5,'
        b'"plan_id":"0123456789abcdef","plan_sha256":'
        b'"%s","reason":"sanity_checks_passed","safe_close_qty":0.75,"safe_qty":0.75,'
        b'"symbol":"BTCUSDT","universe_epoch":7,"v":1}'
    ),
    "denial": (
        b'{"allow":false,"context":{"a":"b"},"created_at":1790000000.0,'
        b'"expires_at":1790000060.0,"gate":"p33","plan_id":"0123456789abcdef","plan_sha256":'
        b'"%s","reason":"no_position","symbol":"BTCUSDT","universe_epoch":7,"v":1}'
    ),
}
SHA = b"b3ddd1099f0f0718ed6177eceb7deca6b9a35ef490c3adcfc6a522f73efaf877"


@pytest.mark.parametrize(("kind", "make"), [("allowance", allowance), ("denial", denial)])
def test_golden_bytes_of_each_kind(kind, make):
    # A difference here breaks every reader: raise v with it.
    golden = GOLDEN[kind] % SHA
    assert encode(make()) == golden
    content, signature = split(encode(make(), SIGNER))
    key = b'"gate":"p33","key_id":"' + SIGNER.key_id.encode() + b'"'
    assert content == golden.replace(b'"gate":"p33"', key)
    assert len(base64.b64decode(signature)) == 64


SIGNATURES = {
    "allowance": (
        "SLJ8QB/WdrLSmgZruhEXN5E2a7lVi1bSyU3dwt2GpgmpNPtBoxsmoVeQgjpjQuOBOzpTZ6X7B8ZyH1q9L4eTBg=="
    ),
    "denial": (
        "lbYwfr5ZkfCb4DiH44cueSZGQR9FYBhw9BaVyhA/BP+2CznUv4oJaaZWJiIeIrJYc7RSdhrBEpgjaVTX7kIpDg=="
    ),
}


@pytest.mark.parametrize(("kind", "make"), [("allowance", allowance), ("denial", denial)])
def test_golden_signature_of_each_kind(kind, make):
    # Ed25519 gives one signature for one text: this holds the domain and what is covered, too.
    assert split(encode(make(), SIGNER))[1] == SIGNATURES[kind]


def test_signature_is_found_right_with_nothing_but_the_page_and_openssl(tmp_path):
    content, _, tail = encode(allowance(), SIGNER).rpartition(b',"signature":"')
    text, signature, public = tmp_path / "text", tmp_path / "signature", tmp_path / "public"
    text.write_bytes(b"quantum-permit/1\0" + content + b"}")
    signature.write_bytes(base64.b64decode(tail.removesuffix(b'"}')))
    public.write_bytes(SIGNER.public_pem)
    checked = subprocess.run(
        ["openssl", "pkeyutl", "-verify", "-rawin", "-in", text, "-sigfile", signature,
         "-pubin", "-inkey", public],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_key_id_is_the_hash_of_the_raw_public_key():
    assert SIGNER.key_id == "21fe31dfa154a261"
    assert key_id(KEY.public_key()) == SIGNER.key_id


def test_signed_permit_is_believed_and_told_in_full():
    verdict = judge(encode(allowance(), SIGNER), PLAN, trusted=TRUSTED, now_s=NOW)
    assert verdict.allow
    assert verdict.permit == replace(allowance(), key_id=SIGNER.key_id)


def test_every_reason_but_those_of_a_live_key_has_its_story():
    other = Signer(Ed25519PrivateKey.generate())
    stories = {
        "ok": judged(encode(allowance(), SIGNER)),
        "malformed": judged(b"1"),
        "unsigned": judged(encode(allowance())),
        "unknown_key": judged(encode(allowance(), other)),
        "bad_signature": judged(encode(allowance(), SIGNER).replace(b"0.75", b"7.50")),
        "other_gate": judged(encode(allowance(gate="p26"), SIGNER)),
        "other_plan": judged(encode(allowance(), SIGNER), plan(qty="2")),
        "not_yet_valid": judged(encode(allowance(), SIGNER), now_s=NOW - 5.1),
        "expired": judged(encode(allowance(), SIGNER), now_s=NOW + 60),
        "denied": judged(encode(denial(), SIGNER)),
    }
    assert stories == {reason: reason for reason in stories}
    # These need a server: tests/integration/test_permits.py, test_replicas.py
    assert set(REASONS) - set(stories) == {"missing", "not_replicated", "used"}


def test_bounds_of_its_life():
    raw = encode(allowance(), SIGNER)
    assert judged(raw, now_s=NOW - 5) == "ok"
    assert judged(raw, now_s=NOW + 59.999) == "ok"
    assert judged(raw, now_s=NOW + 60) == "expired"
    for odd in (float("nan"), float("inf")):
        assert judged(raw, now_s=odd) == "expired"
    # A permit that gives itself a life longer than can be set is over from the start.
    assert judged(encode(allowance(expires_at=NOW + 3601), SIGNER)) == "expired"


def test_unsigned_permit_is_taken_only_by_a_reader_that_says_so():
    assert judged(encode(allowance()), require_signature=False) == "ok"
    # A signature that is there must be right all the same.
    spoilt = encode(allowance(), SIGNER).replace(b"0.75", b"7.50")
    assert judged(spoilt, require_signature=False) == "bad_signature"


@pytest.mark.parametrize(
    "field",
    ["plan_id", "decision", "symbol", "side", "action", "qty", "type_", "close_qty", "price",
     "leverage", "stop_loss", "take_profit", "steps"],
)  # fmt: skip
def test_permit_holds_for_its_plan_only(field):
    changed = replace(PLAN, **{field: getattr(PLAN, field) + "1"})
    assert judged(encode(allowance(), SIGNER), changed) == "other_plan"


def test_plan_published_again_is_the_same_plan():
    again = replace(PLAN, timestamp="1790000009", source="elsewhere", signature="x", hmac="y")
    assert plan_sha256(again) == plan_sha256(PLAN)
    assert plan_sha256(replace(PLAN, reduce_only=False)) != plan_sha256(PLAN)
    assert plan_sha256(opening()) != plan_sha256(PLAN)
    # Fields cannot flow into each other.
    assert plan_sha256(plan(side="BUY", type_="")) != plan_sha256(plan(side="BU", type_="Y"))


def test_no_mutation_of_a_signed_permit_is_accepted():
    source = random.Random(7)
    raw = encode(allowance(), SIGNER)
    foreign = encode(allowance(), Signer(Ed25519PrivateKey.generate()))
    # Of the same key, so that its members are honest, each in its place
    bigger = Decimal("9.75")
    siblings = [
        encode(allowance(safe_qty=bigger, safe_close_qty=bigger), SIGNER),
        encode(allowance(expires_at=NOW + 3600), SIGNER),
        encode(allowance(symbol="ETHUSDT"), SIGNER),
    ]
    accepted = 0
    for number in range(20_000):
        bad = bytearray(raw)
        kind = number % 6
        if kind == 0:
            bad[source.randrange(len(bad))] ^= 1 << source.randrange(8)
        elif kind == 1:
            del bad[source.randrange(len(bad)) :]
        elif kind == 2:
            at = source.randrange(len(bad))
            bad[at:at] = source.randbytes(source.randrange(1, 4))
        elif kind == 3:
            cut = source.randrange(len(bad))
            bad = bytearray(foreign[:cut]) + bad[cut:]
        elif kind == 4:
            sibling = source.choice(siblings).split(b",")
            members = raw.split(b",")
            for at in source.sample(range(len(members)), source.randrange(1, len(members))):
                members[at] = sibling[at]
            bad = bytearray(b",".join(members))
            if bytes(bad) in siblings:
                continue
        else:
            one, two = sorted(source.sample(range(len(bad)), 2))
            bad[one], bad[two] = bad[two], bad[one]
        if bytes(bad) != raw and judge(bytes(bad), PLAN, trusted=TRUSTED, now_s=NOW).allow:
            accepted += 1
    assert accepted == 0


def test_signature_of_something_else_is_no_permits_signature():
    content, _ = split(encode(allowance(), SIGNER))
    # Signed without the domain in front
    forged = content[:-1] + b',"signature":"' + SIGNER.sign(content).encode() + b'"}'
    assert judged(forged) == "bad_signature"


HOSTILE = [
    b"", b"1", b"null", b"[]", b"{}", b"\xff\xfe", b'{"allow":true}', b"[" * 50_000,
    b'{"allow":true,' + encode(allowance())[1:],
    encode(allowance())[:-1] + b',"allow":false}',
    encode(allowance())[:-1] + b',"extra":1}',
    encode(allowance())[:-1] + b',"extra":' + b"[" * 5000 + b"]" * 5000 + b"}",
    encode(allowance()).replace(b"0.75", b"NaN"),
    encode(allowance()).replace(b"1790000060.0", b"1e400"),
    encode(allowance()).replace(b"1790000060.0", b"Infinity"),
    encode(allowance()).replace(b'"v":1', b'"v":2'),
    encode(allowance()).replace(b"true", b'"true"'),
    encode(allowance()).replace(b"1.5", b'"NaN"'),
    encode(allowance()).replace(b"1.5", b'"1.5"'),
    encode(allowance()).replace(b"0.75", b'"Infinity"'),
    encode(allowance()).replace(b"0.75", b"1e400"),
    encode(allowance()).replace(b"0.75", b"1E2"),
    encode(allowance()).replace(b"0.75", b"1e-400"),
    encode(allowance()).replace(b"0.75", b"1e999999"),
    encode(allowance()).replace(b"0.75", b"9" * 129),
    encode(allowance()).replace(b"0.75", b"-0.75"),
    encode(allowance()).replace(b"0.75", b"null"),
    encode(allowance()).replace(b'"safe_qty":0.75', b'"safe_qty":9.75'),
    *(encode(allowance(**{name: UNSET})) for name in AMOUNTS),
    encode(allowance(context={})),
    *(encode(denial(**{name: Decimal(1)})) for name in AMOUNTS),
    encode(denial(ledger_amt=None)),
    encode(denial()).replace(b'{"a":"b"}', b'{"a":{"b":1}}'),
    encode(allowance()) + b" " * MAX_BYTES,
    encode(allowance(reason="x" * 10_000_000)),
]  # fmt: skip


@pytest.mark.parametrize("raw", HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_no_permit_is_malformed(raw):
    assert judged(raw, require_signature=False) == "malformed"


@settings(max_examples=10_000 if FULL else 120, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_judged_without_a_word(raw):
    assert judged(raw, require_signature=False) != "ok"


@settings(max_examples=5_000 if FULL else 80, deadline=None)
@given(
    st.decimals(min_value=0, max_value=10**15, places=12),
    st.text(max_size=20),
    st.booleans(),
)
def test_what_is_written_is_read_as_it_was(safe, symbol, signed):
    made = allowance(safe_qty=safe, safe_close_qty=safe, symbol=symbol)
    content, _ = split(encode(made, SIGNER if signed else None))
    assert b"E" not in content.split(b'"safe_close_qty":')[1].split(b",")[0]
    read = decode(content)
    assert (read.safe_qty, read.symbol) == (safe, symbol)


@pytest.mark.parametrize("text", ["1E+2", "1E-9", "0E-9", "-0", "1E+19"])
def test_amounts_never_have_an_exponent(text):
    made = encode(allowance(safe_qty=Decimal(text), safe_close_qty=Decimal(text)))
    written = made.split(b'"safe_qty":')[1].split(b",")[0]
    assert Decimal(written.decode()) == Decimal(text)
    assert b"E" not in written.upper()
    assert judged(made, require_signature=False) == "ok"


# As wide as P3.3 reads amounts: what it may write, its reader must take.
@settings(max_examples=5_000 if FULL else 100, deadline=None)
@given(st.from_regex(r"-?[0-9]{1,30}(\.[0-9]{1,28})?([eE][+-]?[0-9]{1,2})?", fullmatch=True))
def test_every_amount_that_the_gate_can_read_is_read_back(text):
    try:
        value = amount(text)
    except ValueError:
        return
    size = value.copy_abs()
    made = allowance(
        exchange_position_amt=value, ledger_amt=value, safe_qty=size, safe_close_qty=size
    )
    verdict = judge(encode(made), PLAN, trusted={}, now_s=NOW, require_signature=False)
    assert verdict.reason == "ok"
    assert (verdict.permit.exchange_position_amt, verdict.permit.safe_qty) == (value, size)


def test_key_file_made_here_signs_and_is_read_by_its_owner_only(tmp_path):
    path = tmp_path / "permit.pem"
    made = new_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Signer.from_file(str(path)).key_id == made.key_id
    assert list(trusted([f"{path}.pub"])) == [made.key_id]
    with pytest.raises(ConfigurationError, match="is there already"):
        new_key(path)


def test_key_whose_public_half_cannot_be_written_is_not_left_behind(tmp_path):
    public = tmp_path / "permit.pem.pub"
    public.write_text("somebody's")
    with pytest.raises(ConfigurationError, match=r"permit\.pem\.pub: is there already"):
        new_key(tmp_path / "permit.pem")
    assert [one.name for one in tmp_path.iterdir()] == ["permit.pem.pub"]
    assert public.read_text() == "somebody's"


def test_key_made_with_openssl_is_taken(tmp_path):
    path = tmp_path / "k.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", path], check=True)
    path.chmod(0o600)
    public = tmp_path / "k.pub"
    subprocess.run(["openssl", "pkey", "-in", path, "-pubout", "-out", public], check=True)
    assert list(trusted([public])) == [Signer.from_file(str(path)).key_id]


def refuses(path, match: str) -> None:
    with pytest.raises(ConfigurationError, match=match):
        Signer.from_file(str(path))


def test_key_files_that_cannot_be_used_are_refused_with_the_cure(tmp_path):
    refuses(tmp_path / "none.pem", "No such file.*openssl genpkey")
    refuses(tmp_path, "Is a directory")
    odd = tmp_path / "odd.pem"
    odd.write_bytes(b"\xff" * 100)
    odd.chmod(0o600)
    refuses(odd, "no unencrypted PEM private key")
    rsa = tmp_path / "rsa.pem"
    subprocess.run(["openssl", "genrsa", "-out", rsa, "2048"], check=True, capture_output=True)
    rsa.chmod(0o600)
    refuses(rsa, "is no Ed25519 key")
    locked = tmp_path / "locked.pem"
    subprocess.run(
        [
            "openssl",
            "genpkey",
            "-algorithm",
            "ed25519",
            "-aes256",
            "-pass",
            "pass:x",
            "-out",
            locked,
        ],
        check=True,
    )
    locked.chmod(0o600)
    refuses(locked, "no unencrypted PEM private key")
    shared = tmp_path / "shared.pem"
    new_key(shared)
    shared.chmod(0o640)
    refuses(shared, "others may read it .mode 0640.; chmod 600")
    with pytest.raises(ConfigurationError, match="no PEM Ed25519 public key"):
        trusted([odd])
    with pytest.raises(ConfigurationError, match="No such file"):
        trusted([tmp_path / "none.pub"])


def test_permit_on_the_page_is_one_that_is_written():
    page = (Path(__file__).resolve().parents[2] / "docs" / "permits.md").read_text()
    printed = page.partition("permit show 3f9c1a7be2d04586\n")[2].partition("\nexpires in ")[0]
    shown = json.loads(printed)
    assert list(shown)[-1] == "signature"
    assert list(shown)[:-1] == sorted(list(shown)[:-1])
    closing = plan(plan_id="3f9c1a7be2d04586", qty="1.5", action="PARTIAL_50")
    assert shown.pop("signature")
    assert shown["plan_sha256"] == plan_sha256(closing)
    assert decode(json.dumps(shown).encode()).safe_qty == Decimal("0.75")


def test_page_tells_every_verdict_and_every_member():
    page = (Path(__file__).resolve().parents[2] / "docs" / "permits.md").read_text()
    verdicts = page.partition("| verdict | when |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", verdicts, re.MULTILINE)
    assert rows == list(REASONS.items())
    members = page.partition("| member | on |")[2].partition("\n\n")[0]
    told = re.findall(r"`(\w+)`", "".join(re.findall(r"^\|([^|]*)\|", members, re.MULTILINE)))
    assert sorted(told) == sorted((*Permit.__struct_fields__, "signature"))
