"""The only place where tests run a Redis Cluster, all of it on loopback."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

import redis
from redis.crc import key_slot

from quantum_ops import client, cluster
from quantum_ops.settings import RedisSettings
from tests.sentinel_rig import Node
from tests.servers import binary
from tests.supervised import free_port
from tests.waiting import wait_until

MASTERS = 3
SLOTS = 16384
TIMEOUT_MS = 1500


class Cluster:
    """Three masters, each with ``replicas`` replicas."""

    def __init__(self, flavour: str, *, replicas: int = 0) -> None:
        path = binary(flavour)
        assert path is not None, f"no {flavour} here"
        self.folder = Path(tempfile.mkdtemp(prefix="qc-"))
        self.nodes: dict[int, Node] = {}
        for number in range(MASTERS * (1 + replicas)):
            port, bus = free_port(), free_port()
            command = [
                path, "--port", str(port), "--cluster-port", str(bus), "--bind", "127.0.0.1",
                "--dir", str(self.folder), "--dbfilename", f"{port}.rdb", "--save", "",
                "--appendonly", "no", "--repl-diskless-sync-delay", "0",
                "--cluster-enabled", "yes", "--cluster-config-file", f"{port}.conf",
                "--cluster-node-timeout", str(TIMEOUT_MS), "--cluster-announce-ip", "127.0.0.1",
            ]  # fmt: skip
            self.nodes[port] = Node(self.folder, f"node-{number}", command)
            self.nodes[port].start()
        self.seeds = [("127.0.0.1", port) for port in self.nodes]
        ports = list(self.nodes)
        for port in ports:
            wait_until(lambda port=port: self.said(port, "PING") == b"PONG", 15, f"{port} answers")
        step = -(-SLOTS // MASTERS)
        for number, port in enumerate(ports[:MASTERS]):
            last = min(SLOTS, (number + 1) * step) - 1
            self.said(port, "CLUSTER", "ADDSLOTSRANGE", number * step, last)
            self.said(port, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for port in ports[1:]:
            bus = self._bus(port)
            self.said(ports[0], "CLUSTER", "MEET", "127.0.0.1", port, bus)
        wait_until(lambda: all(self._knows(port, len(ports)) for port in ports), 20, "all have met")
        for number, port in enumerate(ports[MASTERS:]):
            master = self.said(ports[number % MASTERS], "CLUSTER", "MYID")
            self.said(port, "CLUSTER", "REPLICATE", master)
        wait_until(self.is_whole, 30, "the cluster is whole")

    def _bus(self, port: int) -> int:
        command = self.nodes[port].command
        return int(command[command.index("--cluster-port") + 1])

    def _knows(self, port: int, count: int) -> bool:
        said = self.said(port, "CLUSTER", "NODES") or b""
        return said.count(b"connected") >= count and b"handshake" not in said

    def said(self, port: int, *command: Any) -> Any:
        """The raw answer of one node; None if it gives none."""
        with contextlib.suppress(redis.RedisError):
            db = redis.Redis(port=port, protocol=2, socket_timeout=1, driver_info=None)
            try:
                return client.raw(db, *command)
            finally:
                db.close()
        return None

    def owner(self, group: str) -> int:
        """Port of the master on which the keys of ``group`` lie."""
        slot = key_slot(f"{{{group}}}".encode())
        asked = cluster.Nodes(self.seeds, self._nodes_of)
        return asked.owner(slot)[1]

    def _nodes_of(self, address: cluster.Address) -> str:
        said = self.said(address[1], "CLUSTER", "NODES")
        if said is None:
            raise redis.ConnectionError("silent")
        return said.decode()

    def connect(self, group: str, **options: Any) -> Any:
        """A client of the shard of ``group``, as the product builds it."""
        return cluster.connect(self.seeds, group, RedisSettings(timeout_s=2.0), **options)

    def is_whole(self) -> bool:
        """Whether every node takes the cluster for whole, and every replica follows."""
        for port in self.nodes:
            info = self.said(port, "CLUSTER", "INFO") or b""
            if b"cluster_state:ok" not in info:
                return False
            role = self.said(port, "ROLE")
            if role[0] == b"slave" and role[3] != b"connected":
                return False
            if b"fail" in (self.said(port, "CLUSTER", "NODES") or b"fail"):
                return False
        return True

    def heal(self) -> None:
        """Everything runs again and is in step."""
        for node in self.nodes.values():
            assert node.process is not None
            if node.process.poll() is not None:
                node.start()
        wait_until(self.is_whole, 40, f"the cluster is whole again (logs: {self.folder})")

    def close(self) -> None:
        """End all of them and remove their folder."""
        for node in self.nodes.values():
            node.end()
        shutil.rmtree(self.folder, ignore_errors=True)
