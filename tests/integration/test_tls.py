"""TLS to a server of your own: by its URL, certificate and name always checked, faults told."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack

import pytest

from quantum_ops import client
from quantum_ops.errors import ConfigurationError, RefusedError
from quantum_ops.events import AuditFinding
from quantum_ops.ledger.evidence import server as evidence_server
from quantum_ops.ledger.evidence.jobs import Deadline
from quantum_ops.publisher import Publisher
from quantum_ops.settings import RedisSettings
from tests.contract.reference import ROOT
from tests.tls_rig import Authority, TlsSentinel, TlsServer
from tests.waiting import wait_until

pytestmark = pytest.mark.needs_redis7


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def ca(folder):
    return Authority(folder, "ours")


@pytest.fixture(scope="module")
def stranger(folder):
    return Authority(folder, "strangers")


@pytest.fixture(scope="module")
def server(ca):
    made = TlsServer(ca, *ca.issue("server"), asks=False)
    yield made
    made.close()


@pytest.fixture(scope="module")
def strict(ca):
    """A server that takes only who has a certificate of its CA."""
    made = TlsServer(ca, *ca.issue("strict"), asks=True)
    yield made
    made.close()


@pytest.fixture(scope="module")
def watched(ca):
    """Sentinel, master and replica, all of which speak TLS alone and ask for certificates."""
    files = ca.issue("watched")
    with ExitStack() as made:

        def running(one):
            made.callback(one.close)
            return one

        both = ("--tls-replication", "yes")
        master = running(TlsServer(ca, *files, *both, asks=True))
        follow = ("--replicaof", "127.0.0.1", str(master.tls_port))
        running(TlsServer(ca, *files, *both, *follow, asks=True))
        sentinel = running(TlsSentinel(ca, *files, master.tls_port))
        wait_until(sentinel.knows_a_replica, 15, "the sentinel knows the replica")
        yield sentinel


def refused(settings: RedisSettings) -> str:
    """What is told of a connection that waiting would not mend."""
    db = client.connect(settings)
    with pytest.raises(client.TRANSPORT_ERRORS) as caught:
        db.ping()
    assert client.is_refusal(caught.value)
    assert not client.is_passing(caught.value)
    with pytest.raises(RefusedError, match="no TLS with Redis: ") as told:
        client.refuse_or_raise(caught.value)
    return str(told.value)


def test_an_event_is_published_over_tls(server, ca):
    db = client.connect(RedisSettings(url=server.tls_url, tls_ca=str(ca.ca)))
    finding = AuditFinding(auditor="a", finding="f", severity="info", subject="s")
    entry_id = Publisher(db).publish(finding)
    # The same entry stands on the server, seen without TLS
    assert server.connect().xlen("quantum:stream:audit.finding") == 1
    assert entry_id


def test_the_files_may_stand_in_the_url_and_a_login_too(server, ca):
    server.connect().execute_command("ACL", "SETUSER", "me", "on", ">p/w", "+ping")
    url = server.tls_url.replace("rediss://", "rediss://me:p%2Fw@") + f"?ssl_ca_certs={ca.ca}"
    assert client.connect(RedisSettings(url=url)).ping()


def test_a_client_certificate_lets_in_where_one_is_asked_for(strict, ca):
    cert, key = ca.issue("us")
    settings = RedisSettings(
        url=strict.tls_url, tls_ca=str(ca.ca), tls_cert=str(cert), tls_key=str(key)
    )
    assert client.connect(settings).ping()


def test_a_server_of_another_ca_is_not_believed(server, stranger):
    told = refused(RedisSettings(url=server.tls_url, tls_ca=str(stranger.ca)))
    assert "REDIS_TLS_CA" in told
    # Nor without a file: the system's CAs do not know it
    assert "REDIS_TLS_CA" in refused(RedisSettings(url=server.tls_url))


def test_a_certificate_for_another_name_is_not_believed(server, ca):
    url = server.tls_url.replace("127.0.0.1", "localhost")
    told = refused(RedisSettings(url=url, tls_ca=str(ca.ca)))
    assert "write in REDIS_URL the name that the certificate is for" in told


def test_an_expired_certificate_is_not_believed(ca):
    made = TlsServer(ca, *ca.issue("old", days=-2), asks=False)
    try:
        told = refused(RedisSettings(url=made.tls_url, tls_ca=str(ca.ca)))
    finally:
        made.close()
    assert "expired" in told
    assert "renew the server's certificate" in told


def test_a_server_that_does_not_believe_us_says_so(strict, ca, stranger):
    # given no certificate of our own, and one of a CA that the server does not know
    bare = RedisSettings(url=strict.tls_url, tls_ca=str(ca.ca))
    cert, key = stranger.issue("them")
    wrong = RedisSettings(
        url=strict.tls_url, tls_ca=str(ca.ca), tls_cert=str(cert), tls_key=str(key)
    )
    for settings in (bare, wrong):
        assert "REDIS_TLS_CERT and REDIS_TLS_KEY" in refused(settings)


def test_unusable_files_are_told_before_anything_connects(tmp_path, ca):
    cert, _ = ca.issue("one")
    _, other = ca.issue("two")
    (tmp_path / "no.pem").write_text("no PEM")
    for files, told in (
        ({"tls_ca": "/not/there"}, r"REDIS_TLS_CA=/not/there: No such file"),
        ({"tls_ca": str(tmp_path / "no.pem")}, r"REDIS_TLS_CA=.*no\.pem: is not usable"),
        ({"tls_cert": str(cert)}, "one is set and the other is not"),
        ({"tls_cert": str(cert), "tls_key": str(other)}, "REDIS_TLS_CERT=.*is not usable"),
    ):
        with pytest.raises(ConfigurationError, match=told):
            client.connect(RedisSettings(url="rediss://h", **files))
    with pytest.raises(ConfigurationError, match="is not encrypted; write rediss://"):
        client.connect(RedisSettings(url="redis://h", tls_ca=str(ca.ca)))


def test_programs_and_verbs_end_with_one_line_that_names_the_cure(server, stranger, ca, tmp_path):
    environ = {
        "PATH": "/usr/bin:/bin", "QUANTUM_HOME": str(tmp_path), "REDIS_URL": server.tls_url,
        "QUANTUM_ENV_DIR": str(tmp_path), "REDIS_TLS_CA": str(stranger.ca),
    }  # fmt: skip

    def ends(*argv: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", *argv], cwd=ROOT, env={**environ, **more}, text=True,
            capture_output=True, check=False, timeout=60,
        )  # fmt: skip

    for argv in (("consumers", "p33"), ("ops", "lag")):
        done = ends(*argv)
        assert done.returncode == 78, done.stdout + done.stderr
        assert "let REDIS_TLS_CA name the file" in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
    assert ends("ops", "lag", REDIS_TLS_CA=str(ca.ca)).returncode == 0
    # The doctor sees what they see
    untrusted = "certificate is not believed", "certificate verify failed"
    assert any(words in ends("ops", "doctor").stdout for words in untrusted)
    found = ends("ops", "doctor", REDIS_TLS_CA=str(ca.ca)).stdout
    assert not any(words in found for words in untrusted), found
    # And the system's redis-cli is handed the same files
    asked = ends("ops", "redis-cli", "PING", REDIS_TLS_CA=str(ca.ca))
    assert asked.stdout == "PONG\n", asked.stderr


def test_the_ledgers_evidence_asks_over_the_same_tls(server, ca, stranger, tmp_path):
    environ = {"REDIS_URL": server.tls_url, "QUANTUM_ENV_DIR": str(tmp_path)}

    def ask(authority: Authority):
        known = {**environ, "REDIS_TLS_CA": str(authority.ca)}
        connection = evidence_server.find(tmp_path, known).connect(Deadline(5))
        try:
            return connection.call([b"PING"])
        finally:
            connection.close()

    assert ask(ca) == b"PONG"
    with pytest.raises(Exception, match="certificate verify failed"):
        ask(stranger)


def test_the_master_is_found_and_changed_over_tls(watched, ca, tmp_path):
    # Given a program that knows the sentinel, and has a certificate that all of them ask for
    cert, key = ca.issue("program")
    files = {"tls_ca": str(ca.ca), "tls_cert": str(cert), "tls_key": str(key)}
    url = f"sentinels://127.0.0.1:{watched.tls_port}/quantum"
    publisher = Publisher(client.connect(RedisSettings(url=url, **files)), patience_s=30)
    finding = AuditFinding(auditor="a", finding="f", severity="info", subject="s")
    publisher.publish(finding)
    # When another server is made master
    settings = {f"REDIS_{name.upper()}": path for name, path in files.items()}
    environ = {"PATH": "/usr/bin:/bin", "REDIS_URL": url, "QUANTUM_ENV_DIR": str(tmp_path)}

    def changes(known: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ROOT / "ops" / "redis" / "failover.sh", *options], env={**environ, **known}, text=True,
            capture_output=True, check=False, timeout=60,
        )  # fmt: skip

    assert changes({}).returncode == 3
    done = changes(settings)
    assert done.returncode == 0, done.stdout + done.stderr
    # Then the event stands there, and a repeat of it is none
    publisher.publish(finding)
    db = client.connect(RedisSettings(url=url, **files))
    assert db.xlen("quantum:stream:audit.finding") == 1
    # And the ledger's evidence finds the same one
    connection = evidence_server.find(tmp_path, {**environ, **settings}).connect(Deadline(5))
    try:
        assert connection.call([b"ROLE"])[0] == b"master"
    finally:
        connection.close()
    # The files may stand in the URL, quoted, for all of them
    named = "&".join(
        f"{name}={str(path).replace('/', '%2F')}"
        for name, path in (("ssl_ca_certs", ca.ca), ("ssl_certfile", cert), ("ssl_keyfile", key))
    )
    assert client.connect(RedisSettings(url=f"{url}?{named}")).ping()
    environ["REDIS_URL"] = f"{url}?{named}"
    wait_until(lambda: changes({}, "--check").returncode == 0, 20, "it could be done again")


def test_sentinels_whom_nobody_believes_end_a_program(watched, ca, stranger):
    url = f"sentinels://127.0.0.1:{watched.tls_port}/quantum"
    cert, key = ca.issue("believer")
    ours = {"tls_cert": str(cert), "tls_key": str(key)}
    told = refused(RedisSettings(url=url, tls_ca=str(stranger.ca), **ours))
    assert "REDIS_TLS_CA" in told
    # One that is away may be believed tomorrow
    more = url.replace("127.0.0.1:", "127.0.0.1:1,127.0.0.1:", 1)
    db = client.connect(RedisSettings(url=more, tls_ca=str(stranger.ca), **ours))
    with pytest.raises(client.TRANSPORT_ERRORS, match="REDIS_TLS_CA") as caught:
        db.ping()
    assert client.is_passing(caught.value)
    # And files for a URL without TLS are refused, not ignored
    with pytest.raises(ConfigurationError, match="is not encrypted; write sentinels://"):
        client.connect(RedisSettings(url="sentinel://h/s", tls_ca=str(ca.ca)))
