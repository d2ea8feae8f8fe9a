"""The only place where tests make certificates, and a system server that speaks TLS."""

from __future__ import annotations

import ipaddress
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.servers import Server
from tests.supervised import free_port
from tests.waiting import wait_until


class Authority:
    """A CA in a folder; ``ca`` is its certificate's file."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _named(name)
        made = self._certificate(self._subject, self._key, days=30, ca=True)
        self.ca = folder / f"{name}.ca.pem"
        self.ca.write_bytes(made.public_bytes(Encoding.PEM))

    def issue(self, name: str, *, host: str = "127.0.0.1", days: int = 30) -> tuple[Path, Path]:
        """A certificate for ``host`` and its key; with negative ``days`` it expired then."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._certificate(_named(name), key, days=days, host=host)
        cert, path = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        cert.write_bytes(made.public_bytes(Encoding.PEM))
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return cert, path

    def _certificate(self, subject, key, *, days: int, ca: bool = False, host: str = ""):
        now = datetime.now(UTC)
        until = now + timedelta(days=days)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(min(now, until) - timedelta(days=1))
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if host:
            try:
                named = x509.IPAddress(ipaddress.ip_address(host))
            except ValueError:
                named = x509.DNSName(host)
            made = made.add_extension(x509.SubjectAlternativeName([named]), critical=False)
        return made.sign(self._key, hashes.SHA256())


class TlsServer(Server):
    """Debian's redis-server with a TLS port; the pinned Valkey has no TLS built in."""

    def __init__(self, ca: Authority, cert: Path, key: Path, *more: str, asks: bool) -> None:
        self.tls_port = free_port()
        super().__init__(
            "redis7", "--tls-port", str(self.tls_port), "--tls-cert-file", str(cert),
            "--tls-key-file", str(key), "--tls-ca-cert-file", str(ca.ca),
            "--tls-auth-clients", "yes" if asks else "no",
            # With TLS 1.3 a client learns of its refusal only behind the handshake, if the server's
            # last word is not lost with the connection: a story must not wait for that.
            *(["--tls-protocols", "TLSv1.2"] if asks else []), *more,
        )  # fmt: skip
        self.tls_url = f"rediss://127.0.0.1:{self.tls_port}/0"


class TlsSentinel(Server):
    """A sentinel that speaks nothing but TLS, to the server that it watches, too."""

    def __init__(self, ca: Authority, cert: Path, key: Path, master: int) -> None:
        self._files = {"tls-cert-file": cert, "tls-key-file": key, "tls-ca-cert-file": ca.ca}
        self._master = master
        self.tls_port = free_port()
        super().__init__("redis7")

    def start(self) -> None:
        """Start it, and wait for its socket: it has no other port without TLS."""
        lines = [
            "port 0", f"tls-port {self.tls_port}", f"unixsocket {self.socket}",
            f"dir {self.folder}", "tls-replication yes",
            *(f"{name} {path}" for name, path in self._files.items()),
            f"sentinel monitor quantum 127.0.0.1 {self._master} 1",
            "sentinel down-after-milliseconds quantum 2000",
            "sentinel failover-timeout quantum 3000",
        ]  # fmt: skip
        conf = self.folder / "sentinel.conf"
        conf.write_text("\n".join(lines) + "\n")
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self._path, str(conf), "--sentinel"], stdout=log, stderr=subprocess.STDOUT
            )
        wait_until(self.socket.exists, what=f"sentinel in {self.folder} answers")

    def knows_a_replica(self) -> bool:
        """Whether it has found one that it may promote."""
        with redis.Redis(unix_socket_path=str(self.socket), protocol=2, driver_info=None) as db:
            found = db.sentinel_slaves("quantum")
        return any(one["flags"] == "slave" and one["master-link-status"] == "ok" for one in found)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
