"""What is secret is gone before it is recorded; what proves something stays."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantum_ops.ledger import redaction, secret_names
from tests.programs import FULL

CANARY = "Zk3canary9Qw"
LONG = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
PEM = "-----BEGIN {0}PRIVATE KEY-----\nMIIEvQIBADANBgkq\nZk3canary9Qw\n-----END {0}PRIVATE KEY-----"
SECRETS = [
    "redis://:{}@host:6379/0", "redis://user:{}@host", "rediss://u:{}@h/1", "redis://u:p/{}@h",
    "redis://:a#{}@h", "redis://:a@{}@h", "https://u:{}@h/x?mail=a@b", "https://{}@h/x.git",
    "postgres://u:1234/{}@h", "see unix://u:{}@/tmp/s, then go",
    "redis-cli -a {} GET x", "redis-cli -h h -a '{} x' PING", "used -a {}", "valkey-cli -a {}",
    "--pass {}", "--pass={}", "--password {}", "--password='{}'", "--api-key {}", "--token={}",
    "redis-cli --user u --pass {} PING", "redis-cli AUTH {}", "redis-cli AUTH user {}",
    "sshpass -p {} ssh h", "curl -u user:{} http://h/", "REDISCLI_AUTH={} redis-cli PING",
    "BINANCE_API_KEY={}", "BINANCE_API_SECRET={}", "export DB_PASS={}", "P33_RECONCILE_KEY={}",
    "GITHUB_TOKEN={} make", "a=b_KEY={}", "password: {}", "Password = {}", "pwd={}", "pw: {}",
    "API key: {}", "api_key = {}", "apiKey={}", "secretKey: {}", "client-secret: {}",
    '{{"api_secret": "{}", "n": 1}}', '{{"apiKey":"a\\"{}"}}', '{{\\"token\\":\\"{}\\"}}',
    "{{'password': '{}'}}", "password='two {} words'", 'api_key="{}', "password => {}",
    "Authorization: Bearer {}", "Authorization: Basic {}", 'curl -H "Authorization: Bearer {}" u',
    "Authorization: AWS4-HMAC-SHA256 Credential=x, Signature={}", "X-MBX-APIKEY: {}",
    "Cookie: a=b; session={}", "bearer {}0123456789", "https://h/x?api_key={}&y=1", "?token={}",
    "passphrase: correct horse {} staple", "seed phrase: correct horse {} staple",
    "mnemonic=correct horse {}", "requirepass {}", "CONFIG SET masterauth {}",
    "ACL SETUSER audit on >{} ~*", "the password is {}", "my token was {}", "[redacted]token={}",
    "https://hooks.slack.com/services/T0/B0/{}", "https://discord.com/api/webhooks/1/{}",
    PEM.format("").replace(CANARY, "{}"), PEM.format("EC ").replace(CANARY, "{}"),
    "x\n-----BEGIN PRIVATE KEY-----\n{}", "{}\nMII=\n-----END RSA PRIVATE KEY-----\nafter",
    '{{"key": "-----BEGIN PRIVATE KEY-----\\n{}\\n-----END PRIVATE KEY-----\\n"}}',
]  # fmt: skip
SHAPES = [
    LONG, f"key {LONG}, rotated", "AKIAIOSFODNN7EXAMPLE",
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "xoxb-123456789012-abcdefghijkl", "123456789:AAEhBOweik6ad9r_QXMENQjcrGbqCr4K-bc",
    "sk_live_4eC39HqLyjWDarjtT1zdp7dc", "AIzaSyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY",
]  # fmt: skip
KEPT = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "c5148ef7538330e1e0cacc3336d978079464e0e2", "fix #42: it's \"done\"",
    "P2.7 Deploy — Portfolio Clusters (atomic) + P2.6 sync", "p27_corr_ready 1.0",
    "git tag -a ops-2026-01-27-001 -m x", "ls -a /x", "http://127.0.0.1:8048/metrics",
    "http://grafana:3000/d/x?user=a@b", "ssh://git@host/x.git", "mail ops@example.com",
    "redis://host:6379/0", "tokens_total 5", "token_total=5", "redis key: quantum:x", "key=5",
    "P33_SIGNING_KEY=/etc/quantum/p33.pem", "primary_key: id", "public_key=abc", "password=",
    "BINANCE_API_KEY_FILE=/etc/quantum/key", "the author: me", "passed: 30", "monkey: 1",
    "quantum-portfolio-clusters", "OPS-2026-01-27-010", "12:30:45", "a: b", "x=1 y=2", "-a", "--",
    "author=me", "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----", "NOAUTH required",
    "QuantumPortfolioClustersServiceManagerFactoryBean", "redis-cli GET quantum:x",
    "bearer of news",
]  # fmt: skip


@pytest.mark.parametrize("text", SECRETS)
def test_a_secret_is_taken_out_wherever_it_hides(text):
    # given a text with a canary in it / when it is redacted
    redacted = redaction.redact(f"before {text.format(CANARY)}\nafter")
    # then the canary is gone, and the text still says that there was something
    assert CANARY not in redacted
    assert redaction.MARK in redacted
    assert redacted.endswith("after") or "BEGIN" in text


@pytest.mark.parametrize("text", SHAPES)
def test_a_secret_is_known_by_its_looks(text):
    redacted = redaction.redact(text)
    assert redaction.MARK in redacted
    assert not any(part in redacted for part in text.replace(",", " ").split() if len(part) > 15)


@pytest.mark.parametrize("text", KEPT)
def test_what_is_no_secret_stays(text):
    assert redaction.redact(text) == text


def test_names_and_places_around_a_secret_stay():
    assert redaction.redact("redis://audit:pw@h:6379/0") == "redis://audit:[redacted]@h:6379/0"
    assert redaction.redact('curl -H "X-MBX-APIKEY: k" u') == 'curl -H "X-MBX-APIKEY: [redacted]" u'
    assert redaction.redact('{"token": "a", "n": 1}') == '{"token": "[redacted]", "n": 1}'


pieces = st.sampled_from([
    *SECRETS, *SHAPES, *KEPT, "password=", "'", '"', "\\", "://", "@", ":", " ", "\n", "-a ", "--",
    "[redacted]", "[", "]", "redacted", "key", "token", "BEGIN PRIVATE KEY-----", "-----", "eyJ",
    "is ", "bearer ", "AUTH ", "redis-cli ", "setuser ", ">", "=", ",", ";", ")",
])  # fmt: skip
texts = st.one_of(st.text(max_size=60), st.lists(pieces, max_size=8).map("".join))


@settings(max_examples=20_000 if FULL else 400, deadline=None)
@given(texts)
def test_redacting_again_changes_nothing(text):
    once = redaction.redact(text)
    assert redaction.redact(once) == once
    assert redaction.redact(text) == once


@settings(max_examples=5_000 if FULL else 200, deadline=None)
@given(texts, st.sampled_from(SECRETS))
def test_a_secret_on_a_line_of_its_own_is_found_between_others(text, secret):
    redacted = redaction.redact(f"{text}\n{secret.format(CANARY)}\n")
    assert CANARY not in redacted


@pytest.mark.parametrize("piece", [
    "KEY", "://", "x://@", "eyJ", "eyJa.", "a:", "password='", "password=\\'", " -a x", "--pass ",
    "a", "redis://", "setuser >", "bearer ", "@", "token is ", "-", "_-.", "a b", "seed phrase: ",
    '"', "\\", "key ", "AUTH ", "redis-cli AUTH ", "-----BEGIN PRIVATE KEY-----", "PRIVATE KEY",
    "-----BEGIN PRIVATE KEY", "-----END PRIVATE KEY", "BEGIN ", "=", ":=", "1:", "hooks.slack.com/",
])  # fmt: skip
def test_no_text_takes_for_ever(piece):
    # 128 KiB of it; what is not linear does not come back within the test's time
    text = piece * (128 * 1024 // len(piece))
    redacted = redaction.redact(text)
    assert redaction.redact(redacted) == redacted


def test_secrets_of_the_environment_are_known_by_their_value():
    # given secrets that look like nothing
    environ = {
        "REDIS_PASSWORD": "plainword", "REDIS_URL": "redis://u:other%20word@h",
        "LEDGER_KEY": "/etc/quantum/key.pem", "HOME": "/home/someone", "DB_PASS": "short",
    }  # fmt: skip
    known = redaction.known(environ)
    # when a text has them in it / then they are taken out, and only they
    text = "plainword, other word and other%20word, short, /etc/quantum/key.pem /home/someone"
    assert redaction.redact(text, known) == (
        "[redacted], [redacted] and [redacted], short, /etc/quantum/key.pem /home/someone"
    )


def test_everything_inside_a_value_is_redacted():
    value = {"a": ["token=x", {"password=y": "z"}], "n": 1, "b": True, "none": None, "t": ("pw=x",)}
    assert redaction.redact_all(value) == {
        "a": ["token=[redacted]", {"password=[redacted]": "z"}],
        "n": 1, "b": True, "none": None, "t": ["pw=[redacted]"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "secret"),
    [("quantum:secret", True), ("api_key", True), ("quantum:portfolio:cluster_state", False),
     ("quantum:cfg:apiKey", True), ("key", False), ("quantum:state:positions:BTCUSDT", False),
     ("password", True), ("updated_ts", False), ("privateKey", True)],
)  # fmt: skip
def test_keys_that_look_secret(name, secret):
    assert secret_names.names_secret(name) == secret
