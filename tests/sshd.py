"""The only place where tests start an SSH server of their own, on 127.0.0.1 and for one story."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
from pathlib import Path
from typing import Self

from tests.script_box import needed
from tests.waiting import wait_until


class Sshd:
    """Lets in ``key``; ``known_hosts`` holds its host key. Commands there see ``path`` as PATH.

    ``forced`` runs in place of whatever it is asked to run, and sees that in SSH_ORIGINAL_COMMAND.
    """

    def __init__(self, folder: Path, path: str, forced: str = "") -> None:
        folder.mkdir(mode=0o700)
        program, keygen = needed("sshd", "openssh-server"), needed("ssh-keygen", "openssh-client")
        self.key, host_key = folder / "key", folder / "host"
        for made in (self.key, host_key, folder / "stranger"):
            subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", made], check=True)
        self.stranger = folder / "stranger"
        self.port = _free_port()
        self.address = f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}"
        self.known_hosts = folder / "known_hosts"
        public = Path(f"{host_key}.pub").read_text().split()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {public[0]} {public[1]}\n")
        self.log = folder / "log"
        configuration = folder / "sshd_config"
        configuration.write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {host_key}\nPidFile none\n"
            f"AuthorizedKeysFile {self.key}.pub\nStrictModes no\nUsePAM no\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n"
            # A home of its own: what the developer's shell reads at its start is none of ours.
            f"SetEnv PATH={path} HOME={folder}\n" + (f"ForceCommand {forced}\n" if forced else "")
        )
        if os.getuid() == 0:
            # Where the package's own service would make it at each boot.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self._process = subprocess.Popen(
            [program, "-D", "-f", configuration, "-E", self.log], stdin=subprocess.DEVNULL
        )
        wait_until(self._answers, 10, "sshd answers")

    def _answers(self) -> bool:
        assert self._process.poll() is None, self.log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
