"""Who the master is, when the sentinels do not agree."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from redis.sentinel import MasterNotFoundError

from quantum_ops import client
from quantum_ops.errors import ConfigurationError
from quantum_ops.sentinel import Answer, Finder, Pool, newest
from quantum_ops.settings import RedisSettings

OLD, NEW = ("10.0.0.1", 6379), ("10.0.0.2", 6379)


class Says:
    """A sentinel that gives these replies to MASTER and GET-MASTER-ADDR-BY-NAME, or raises."""

    def __init__(self, *replies: object) -> None:
        self.replies = replies
        self.connection_pool = SimpleNamespace(connection_kwargs={"host": "s", "port": 1})

    @contextmanager
    def pipeline(self, *, transaction):
        assert not transaction
        yield self

    def execute_command(self, *_command):
        return self

    def execute(self):
        for reply in self.replies:
            if isinstance(reply, Exception):
                raise reply
        return list(self.replies)


def says(address, epoch, flags="master", promoted=None):
    fields = {"ip": address[0], "port": address[1], "flags": flags, "config-epoch": epoch}
    where = [str(part).encode() for part in promoted or address]
    return Says([str(part).encode() for pair in fields.items() for part in pair], where)


def find(*sentinels):
    finder = Finder([("s", 1)])
    finder.sentinels = list(sentinels)
    return finder.discover_master("quantum"), finder


def test_a_sentinel_that_is_cut_off_with_the_old_master_is_outvoted_by_the_later_failover():
    found, finder = find(says(OLD, 3), says(NEW, 4), Says(redis.TimeoutError()))
    assert found == NEW
    assert finder.latest == NEW


def test_a_master_that_is_taken_for_dead_is_named_as_long_as_there_is_no_other():
    assert find(says(OLD, 3, "s_down,master"))[0] == OLD
    assert find(says(OLD, 3, "master,s_down,o_down"), says(NEW, 3))[0] == NEW


def test_a_promoted_replica_is_gone_to_before_the_others_follow_it():
    # Given a sentinel that waits for the other replicas, and one that has not heard of it yet
    leads = says(OLD, 4, "master,failover_in_progress", promoted=NEW)
    assert find(says(OLD, 3), leads)[0] == NEW


def test_sentinels_that_say_nothing_are_waited_out():
    unknown = redis.ResponseError("No such master with that name")
    with pytest.raises(MasterNotFoundError, match="No such master") as caught:
        find(
            Says(redis.ConnectionError("gone")),
            Says(unknown),
            Says([b"ip", b"h"], [b"h", b"1"], [b"more"]),
            Says([], None),
        )
    assert client.is_passing(caught.value)


def test_sentinels_that_let_nobody_in_are_not_waited_out():
    refused = redis.AuthenticationError("WRONGPASS")
    with pytest.raises(redis.AuthenticationError, match="sentinels") as caught:
        find(Says(refused), Says(refused))
    assert client.is_refusal(caught.value)
    # But one that cannot be asked may let us in tomorrow
    with pytest.raises(MasterNotFoundError):
        find(Says(refused), Says(redis.TimeoutError()))


@given(st.permutations([Answer(OLD, 1), Answer(NEW, 2), Answer(OLD, 2, is_down=True)]))
def test_the_order_of_the_sentinels_does_not_matter(answers):
    assert newest(answers) == NEW


def kwargs(url, **settings):
    pool = client.connect(RedisSettings(url=url, **settings)).connection_pool
    assert isinstance(pool, Pool)
    where = [one.connection_pool.connection_kwargs for one in pool.sentinel_manager.sentinels]
    return pool, where


def test_hosts_service_database_and_both_logins_are_read():
    pool, where = kwargs(
        "sentinel://u:p%40w@h1:1,[::1]:2,h3,[fe80::2]/my%20master/3",
        sentinel_username="watch", sentinel_password="other",
    )  # fmt: skip
    assert [(one["host"], one["port"]) for one in where] == [
        ("h1", 1), ("::1", 2), ("h3", 26379), ("fe80::2", 26379),
    ]  # fmt: skip
    assert {(one["username"], one["password"]) for one in where} == {("watch", "other")}
    assert where[0]["socket_timeout"] == 0.5
    assert {one["retry"]._retries for one in where} == {0}
    own = pool.connection_kwargs
    assert (own["username"], own["password"], own["db"]) == ("u", "p@w", 3)
    assert pool.service_name == "my master"
    assert own["retry"]._retries == 0


def test_clients_of_one_process_share_what_they_know():
    one, _ = kwargs("sentinel://h1:1,h2:2/s")
    two, _ = kwargs("sentinel://h1:1,h2:2/s")
    assert one.sentinel_manager is two.sentinel_manager


@pytest.mark.parametrize(
    "url",
    ["sentinel://h1:x/s", "sentinel://h1:0/s", "sentinel://h1:70000/s", "sentinel://:1/s",
     "sentinel://h1,,h2/s", "sentinel://h1/s/first"],
)  # fmt: skip
def test_unusable_urls_are_refused(url):
    with pytest.raises(ConfigurationError, match="REDIS_URL"):
        client.connect(RedisSettings(url=url))
