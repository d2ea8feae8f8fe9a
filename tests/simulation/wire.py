"""The only place of the simulated network: connections that delay, cut, drop and time out.

A connection has redis-py's face, as far as the product's inbox uses it. What is sent travels as the
bytes that it is; each command arrives by itself, so that others may come in between, and what a
dead client sent still arrives.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import hiredis
import redis
from redis._parsers.base import BaseParser

from tests.simulation.lua import ReplyError
from tests.simulation.process import Process
from tests.simulation.scheduler import Scheduler
from tests.simulation.server import Blocked, Server

LATENCY_S = (0.0001, 0.003)
LATE_S = (0.5, 12.0)
ORDERLY = 0.7
"""How often a closed connection's last bytes still arrive."""
TOGETHER = 0.5
"""How often commands that are sent together arrive so, with nobody in between."""
TIMEOUT_S = 3.0
"""Seconds that a client waits for a reply; the runner blocks for less."""


class Network:
    """The one server and whoever is connected with it."""

    def __init__(self, scheduler: Scheduler, server: Server) -> None:
        self.scheduler = scheduler
        self.server = server
        self.up = True
        self.fault_rate = 0.0
        self.links: list[Link] = []
        self.restarts = 0
        self.faults = 0
        self.served = 0
        self.late_until_s = 0.0

    def serve(self, command: list[bytes], link: Link | None = None) -> Any:
        """Execute one command, then whoever waited for what it brought."""
        self.served += 1
        news = self.server.news
        reply = self.server.execute(command)
        if self.server.news != news:
            for other in [one for one in self.links if one.blocked is not None and one is not link]:
                other.look_again()
        return reply

    def crash(self, down_s: float) -> None:
        """kill -9 of the server; its data are on the disk."""
        self.up = False
        self.restarts += 1
        self.scheduler.told("server", f"down for {down_s:.2f} s")
        for link in list(self.links):
            link.break_()
        self.server.restart()
        self.scheduler.after(down_s, self._start)

    def _start(self) -> None:
        self.up = True
        self.scheduler.told("server", "up")

    def latency_s(self) -> float:
        """What one way takes."""
        return self.scheduler.random.uniform(*LATENCY_S)

    def fault(self) -> str:
        """What goes wrong with what is sent now; empty for nothing."""
        if not self.fault_rate or self.scheduler.random.random() >= self.fault_rate:
            return ""
        self.faults += 1
        return self.scheduler.random.choice(("reset", "cut", "mute", "late", "broken"))


class Link:
    """One connection. ``blocked`` is the read that waits on the server's side."""

    def __init__(self, network: Network, process: Process) -> None:
        self._network = network
        self._process = process
        self._scheduler = network.scheduler
        self._arriving: deque[list[bytes]] = deque()
        self._replies: deque[Any] = deque()
        self.blocked: tuple[list[bytes], Blocked, int] | None = None
        self._open = True
        self._alive = True
        self._arrives_s = 0.0
        self._returns_s = 0.0
        self._mute = False
        self._cut = False
        self._blocks = 0

    def send_packed_command(self, chunks: list[bytes], *, check_health: bool = True) -> None:
        """Send; raises ConnectionError if the line is known to be broken."""
        del check_health
        self._process.step("send")
        if not self._alive:
            raise redis.ConnectionError("broken pipe")
        commands = _commands(chunks)
        fault = self._network.fault()
        if fault:
            self._scheduler.told(self._process.name, f"network: {fault}")
        if fault == "reset":
            self.break_()
            raise redis.ConnectionError("connection reset")
        if fault == "cut":
            commands = commands[: self._scheduler.random.randrange(len(commands) + 1)]
        # What a stream of bytes has lost, nothing that is sent later can overtake.
        if not self._cut:
            self._travel(commands, late=fault == "late")
        self._cut = self._cut or fault == "cut"
        if fault in ("cut", "broken"):
            # What was sent arrives; the client learns that the line broke.
            self._scheduler.after(self._network.latency_s(), self._break_client)
        self._mute = self._mute or fault == "mute"

    def read_response(self) -> Any:
        """The next reply; raises what redis-py raises for a broken or silent line."""
        deadline_s = self._scheduler.now_s + TIMEOUT_S
        while not self._replies:
            if not self._alive:
                raise redis.ConnectionError("connection closed by server")
            if self._scheduler.now_s >= deadline_s:
                raise redis.TimeoutError("timed out")
            self._process.park(deadline_s)
        self._process.step("read")
        reply = self._replies.popleft()
        if isinstance(reply, ReplyError):
            raise BaseParser.parse_error(str(reply))
        return reply

    def disconnect(self) -> None:
        """Close. The server hears of it later: most often after all that was sent has arrived."""
        if not self._alive and not self._open:
            return
        self._alive = False
        heard_s = self._scheduler.now_s + self._network.latency_s()
        if self._scheduler.random.random() < ORDERLY:
            heard_s = max(heard_s, self._arrives_s + LATENCY_S[0])
        self._scheduler.at(heard_s, self.break_)

    def break_(self) -> None:
        """The line is gone at both ends: what did not arrive yet never will."""
        self._open = False
        self.blocked = None
        self._arriving.clear()
        if self in self._network.links:
            self._network.links.remove(self)
        self._break_client()

    def belongs(self, process: Process) -> bool:
        """Whether it is a connection of ``process``."""
        return self._process is process

    def look_again(self) -> None:
        """Something changed that a blocked read may wait for."""
        if self.blocked is None:
            return
        command = self.blocked[0]
        reply = self._network.server.execute(command)
        if not isinstance(reply, Blocked):
            self.blocked = None
            self._reply(reply)
            self._pump()

    def _travel(self, commands: list[list[bytes]], *, late: bool) -> None:
        """Have commands arrive in their order, all at once or one after the other."""
        random = self._scheduler.random
        together = random.random() < TOGETHER
        delay_s = random.uniform(*LATE_S) if late else self._network.latency_s()
        for command in commands:
            self._arrives_s = max(self._arrives_s, self._scheduler.now_s + delay_s)
            self._scheduler.at(self._arrives_s, self._arrive, command)
            if not together:
                delay_s += self._network.latency_s()
        self._network.late_until_s = max(self._network.late_until_s, self._arrives_s)

    def _break_client(self) -> None:
        if self._alive:
            self._alive = False
            self._process.wake(self)

    def _arrive(self, command: list[bytes]) -> None:
        if self._open:
            self._arriving.append(command)
            self._pump()

    def _pump(self) -> None:
        while self._arriving and self.blocked is None and self._open:
            command = self._arriving.popleft()
            reply = self._network.serve(command, self)
            if isinstance(reply, Blocked):
                self._blocks += 1
                self.blocked = (command, reply, self._blocks)
                wait_s = reply.block_ms / 1000
                self._scheduler.after(wait_s, self._give_up, self._blocks)
            else:
                self._reply(reply)

    def _give_up(self, number: int) -> None:
        if self.blocked is not None and self.blocked[2] == number:
            self.blocked = None
            self._reply(None)
            self._pump()

    def _reply(self, reply: Any) -> None:
        if self._mute:
            return
        delay_s = self._network.latency_s()
        self._returns_s = max(self._returns_s, self._scheduler.now_s + delay_s)
        self._scheduler.at(self._returns_s, self._returned, reply)

    def _returned(self, reply: Any) -> None:
        if self._alive:
            self._replies.append(reply)
            self._process.wake(self)


class Pool:
    """What the product takes for a client: ``connection_pool`` of one process."""

    def __init__(self, network: Network, process: Process) -> None:
        self._network = network
        self._process = process
        self.connection_pool = self

    def get_connection(self) -> Link:
        """A new connection; raises ConnectionError while the server is down."""
        self._process.step("connect")
        self._process.sleep(self._network.latency_s())
        if not self._network.up:
            raise redis.ConnectionError("connection refused")
        link = Link(self._network, self._process)
        self._network.links.append(link)
        return link

    def release(self, link: Link) -> None:
        """The connection goes back; here nobody takes it again."""

    def close(self) -> None:
        """The process is dead: its kernel closes what it had open."""
        for link in [one for one in self._network.links if one.belongs(self._process)]:
            link.disconnect()


def _commands(chunks: list[bytes]) -> list[list[bytes]]:
    reader = hiredis.Reader()
    for chunk in chunks:
        reader.feed(chunk)
    found = []
    while (command := reader.gets()) is not False:
        found.append(command)
    return found
