"""How a Redis client is built, and what it refuses."""

from __future__ import annotations

import pytest
import redis
import walrus

from quantum_ops import client
from quantum_ops.errors import ConfigurationError, RefusedError
from quantum_ops.settings import RedisSettings


def options(**settings):
    return client.connect(RedisSettings(**settings)).connection_pool.connection_kwargs


def test_it_is_a_walrus_database_with_bytes_resp2_and_no_retries():
    db = client.connect(RedisSettings(url="redis://127.0.0.1:1/0"))
    assert isinstance(db, walrus.Database)
    kwargs = db.connection_pool.connection_kwargs
    assert kwargs["protocol"] == 2
    assert kwargs["decode_responses"] is False
    assert kwargs["retry"]._retries == 0


def test_timeout_stands_above_the_longest_block():
    db = client.connect(RedisSettings(url="redis://h", timeout_s=1), block_ms=2000)
    assert db.connection_pool.connection_kwargs["socket_timeout"] == 2 + client.MARGIN_S


def test_host_port_db_and_login_make_a_url():
    settings = RedisSettings(host="h", port=7, db=3, username="u", password="p/@:w")
    assert client.url_of(settings) == "redis://u:p%2F%40%3Aw@h:7/3"
    kwargs = options(host="h", port=7, db=3, username="u", password="p/@:w")
    assert (kwargs["host"], kwargs["port"], kwargs["db"]) == ("h", 7, 3)
    assert kwargs["password"] == "p/@:w"


def test_unix_socket():
    assert options(url="unix:///run/x.sock?db=2")["path"] == "/run/x.sock"


@pytest.mark.parametrize(
    "url",
    ["http://h", "unix://", "redis://h?protocol=3", "redis://h?retry_on_timeout=yes",
     "sentinel://h1:1", "sentinel:///service"],
)  # fmt: skip
def test_unusable_urls_are_refused_with_the_setting_named(url):
    with pytest.raises(ConfigurationError, match="REDIS_URL"):
        client.connect(RedisSettings(url=url))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://u:secret@h:1/0", "redis://u:***@h:1/0"),
        ("redis://:secret@h", "redis://:***@h"),
        ("unix:///s?db=1&password=secret", "unix:///s?db=1&password=***"),
        ("redis://h:1/0", "redis://h:1/0"),
    ],
)
def test_shown_url_has_no_password(url, shown):
    assert client.shown(url) == shown


def test_errors_name_no_password():
    with pytest.raises(ConfigurationError) as caught:
        client.connect(RedisSettings(url="http://u:secret@h"))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        redis.ConnectionError("gone"),
        redis.TimeoutError(),
        redis.exceptions.BusyLoadingError("LOADING"),
        redis.exceptions.ReadOnlyError("You can't write"),
        redis.ResponseError("MISCONF Redis is configured to"),
        redis.exceptions.OutOfMemoryError("command not allowed"),
        redis.ResponseError("NOREPLICAS Not enough good replicas"),
    ],
)
def test_passing_errors_are_waited_out(error):
    assert client.is_passing(error)
    client.refuse_or_raise(error)


@pytest.mark.parametrize(
    "error",
    [
        redis.exceptions.NoPermissionError("NOPERM no"),
        redis.exceptions.AuthenticationError("WRONGPASS"),
        redis.ResponseError("NOAUTH Authentication required."),
    ],
)
def test_refusals_are_for_good(error):
    assert not client.is_passing(error)
    with pytest.raises(RefusedError, match="ACL"):
        client.refuse_or_raise(error)


def test_missing_hiredis_is_told(monkeypatch):
    class SlowParser: ...

    monkeypatch.setattr(redis.connection, "DefaultParser", SlowParser)
    with pytest.raises(ConfigurationError, match="hiredis"):
        client.connect(RedisSettings())
