"""One Redis, as it is shipped: each app works with its own user, and reaches its own keys alone."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import pytest
from flask_limiter import Limiter
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from chassis import limits
from chassis.limits import SharedCounts
from dashboard_app.store import RedisBackend, Store
from tests.servers import BUSY_SECONDS, valkey_with_users
from tests.unit.dashboard.conftest import MakePlatform

APPS = ("users", "analytics", "dashboard")
DENIED = (
    "KEYS *", "SCAN 0", "RANDOMKEY", "DBSIZE", "FLUSHALL", "FLUSHDB", "CONFIG GET *", "ACL LIST",
    "ACL WHOAMI", "CLIENT LIST", "CLIENT SETINFO LIB-NAME x", "MONITOR", "SAVE", "SHUTDOWN",
    "REPLICAOF 127.0.0.1 1", "MODULE LIST", "SELECT 1", "SUBSCRIBE all", "PUBLISH all x", "INFO",
    "EVAL return 0", "FUNCTION LIST", "SCRIPT FLUSH",
)  # fmt: skip


@pytest.fixture(scope="module")
def addresses() -> Iterator[dict[str, str]]:
    with valkey_with_users() as started:
        yield started


def test_each_app_works_with_its_own_user(
    make_platform: MakePlatform, addresses: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REDIS_SECONDS", limits.REDIS_SECONDS + BUSY_SECONDS)
    counted = {app: {"redis_url": addresses[app], "api_calls_per_minute": 100} for app in APPS}
    platform = make_platform(services=counted, **counted["dashboard"])
    ada = platform.person("ada")
    assert ada.get("/").status_code == 200
    assert ada.get("/overview/types").status_code == 200
    assert ada.submit("/logout", {}, page="/").status_code == 303
    assert ada.get("/").status_code == 302
    for app in (platform.users.app, platform.analytics.app, platform.app):
        limiter: Limiter = app.extensions["limits"]
        assert isinstance(limiter.storage, SharedCounts)
        assert limiter.storage.check()
        limiter.storage.probe()
    store: Store = platform.app.extensions["session_store"]
    assert isinstance(store.backend, RedisBackend)
    store.backend.probe()


@pytest.mark.parametrize(("app", "other"), list(permutations(APPS, 2)))
def test_no_app_reaches_anothers_keys(addresses: dict[str, str], app: str, other: str) -> None:
    client = Redis.from_url(addresses[app])
    key = f"footfall-{other}:limits:some"
    assert Redis.from_url(addresses[other]).incrby(key, 7) >= 7
    for command in (f"GET {key}", f"INCRBY {key} 1", f"EXPIRE {key} 1", f"TTL {key}",
                    f"SET {key} 1", f"DEL {key}", "GET anything"):  # fmt: skip
        with pytest.raises(NoPermissionError):
            client.execute_command(*command.split())
    script = client.script_load(f"return redis.call('get', '{key}')")
    with pytest.raises(ResponseError, match=r"permission|can't be accessed|ACL"):
        client.evalsha(script, 0)


@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize("command", DENIED)
def test_no_app_may_run_what_it_does_not_need(
    addresses: dict[str, str], app: str, command: str
) -> None:
    with pytest.raises(NoPermissionError):
        Redis.from_url(addresses[app]).execute_command(*command.split())


@pytest.mark.parametrize("who", ["", ":@", "default:@", "footfall-users:@", "footfall-users:x@"])
def test_nobody_comes_in_without_an_apps_password(addresses: dict[str, str], who: str) -> None:
    place = addresses["users"].rpartition("@")[2]
    client = Redis.from_url(f"redis://{who}{place}")
    with pytest.raises((AuthenticationError, ResponseError), match=r"auth|WRONGPASS|username"):
        client.ping()
