"""Sessions: how long they live, and one refresh however many ask for it."""

from __future__ import annotations

import threading
import time

import pytest

from dashboard_app import session
from dashboard_app.store import FileStore, RedisStore
from tests.unit.dashboard.conftest import PASSWORD, MakePlatform, Person, Platform, text_of


@pytest.fixture(params=["files", "redis"])
def everywhere(request: pytest.FixtureRequest, make_platform: MakePlatform) -> Platform:
    """Returns a platform that keeps its sessions in files, then one that uses Redis."""
    if request.param == "files":
        return make_platform()
    return make_platform(redis_url=request.getfixturevalue("redis_url"))


def sid_of(person: Person) -> str:
    cookie = person.client.get_cookie("session")
    assert cookie
    return cookie.value


def spoil(platform: Platform, person: Person) -> None:
    """Makes the session's access token look as if it were about to end."""
    store: FileStore | RedisStore = platform.app.extensions["session_store"]
    key = f"tokens:{sid_of(person)}"
    record = store.get(key)
    assert record
    store.put(key, {**record, "expires_at": time.time() + 1}, 600)


def refreshes(platform: Platform) -> int:
    return platform.users.calls.count("POST /token")


def test_a_session_lasts_over_requests(everywhere: Platform) -> None:
    ada = everywhere.person("ada")
    assert "ada" in text_of(ada.get("/"))
    assert ada.get("/overview/types").status_code == 200


def test_a_token_near_its_end_is_renewed_without_a_word(everywhere: Platform) -> None:
    ada = everywhere.person("ada")
    spoil(everywhere, ada)
    assert ada.get("/overview/types").status_code == 200
    assert ada.get("/overview/types").status_code == 200
    assert refreshes(everywhere) == 1


def test_parallel_partials_renew_the_token_once(everywhere: Platform) -> None:
    ada = everywhere.person("ada")
    spoil(everywhere, ada)
    statuses: list[int] = []

    def load() -> None:
        client = everywhere.app.test_client()
        client.set_cookie("session", sid_of(ada))
        statuses.append(client.get("/overview/types").status_code)

    threads = [threading.Thread(target=load) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 6
    assert refreshes(everywhere) == 1


def test_a_role_that_was_changed_shows_after_the_next_renewal(platform: Platform) -> None:
    ada = platform.person("ada")
    change = {"json": {"role": "analyst"}}
    platform.call("users", "PATCH", f"/users/{ada.id}", platform.admin.token, **change)
    assert ada.get("/events").status_code == 403
    spoil(platform, ada)
    assert ada.get("/overview/types").status_code == 200
    assert ada.get("/events").status_code == 200


def test_a_session_that_was_ended_elsewhere_sends_back_to_sign_in(everywhere: Platform) -> None:
    ada = everywhere.person("ada")
    everywhere.call("users", "POST", "/logout", ada.token, json={"everywhere": True})
    spoil(everywhere, ada)
    answer = ada.fragment("/overview/types", **{"HX-Current-URL": "http://localhost/?range=7d"})
    assert answer.status_code == 401
    assert answer.headers["HX-Redirect"] == "/login?next=/?range%3D7d&notice=expired"
    assert ada.get("/").status_code == 302


def test_a_session_ends_when_nobody_used_it_for_its_idle_time(everywhere: Platform) -> None:
    ada = everywhere.person("ada")
    everywhere.app.extensions["session_store"].drop(f"seen:{sid_of(ada)}")
    assert ada.get("/").location == "/login?next=/&notice=expired"


def test_a_page_that_polls_by_itself_does_not_keep_a_session_alive(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = platform.person("ada")
    store, key = platform.app.extensions["session_store"], f"seen:{sid_of(ada)}"
    store.put(key, {"at": int(time.time()) - 600}, 600)
    old = store.get(key)
    assert ada.fragment("/overview/pulse", **{"X-Background": "1"}).status_code == 200
    assert store.get(key) == old
    assert ada.fragment("/overview/types").status_code == 200
    assert store.get(key) != old


def test_a_session_ends_at_its_absolute_age(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = platform.person("ada")
    later = time.time() + platform.app.permanent_session_lifetime.total_seconds() + 1
    monkeypatch.setattr(session.time, "time", lambda: later)
    assert ada.get("/").status_code == 302


def test_a_request_that_started_earlier_does_not_write_spent_tokens_back(
    platform: Platform,
) -> None:
    ada = platform.person("ada")
    store = platform.app.extensions["session_store"]
    key = f"tokens:{sid_of(ada)}"
    with ada.client:
        ada.get("/")
        store.put(key, {**store.get(key), "refresh": "the new one"}, 600)
    ada.get("/")
    assert store.get(key)["refresh"] == "the new one"


def test_a_stranger_costs_no_record(platform: Platform) -> None:
    records = platform.folder / "sessions" / "records"
    before = len(list(records.iterdir()))
    for path in ("/login", "/register", "/", "/nowhere"):
        assert "Set-Cookie" not in platform.visitor().get(path).headers
    assert len(list(records.iterdir())) == before


def test_files_are_kept_above_cachelibs_usual_limit_and_pruned_when_expired(
    platform: Platform,
) -> None:
    store = platform.app.extensions["session_store"]
    for number in range(600):
        store.put(f"seen:{number}", {"at": 1}, 600)
    assert all(store.get(f"seen:{number}") for number in range(600))
    store.put("seen:old", {"at": 1}, -10)
    store.pruned = time.monotonic() - 4000
    count = len(list(store.records.iterdir()))
    store.put("seen:0", {"at": 2}, 600)
    assert len(list(store.records.iterdir())) == count - 1


def test_session_files_are_their_owners_alone(platform: Platform) -> None:
    platform.person("ada")
    for path in (platform.folder / "sessions").rglob("*"):
        wanted = 0o700 if path.is_dir() else 0o600
        assert path.stat().st_mode & 0o077 == 0 or path.parent.name == "locks", (path, wanted)


def test_without_its_store_the_dashboard_says_so_and_the_sign_in_page_stands(
    make_platform: MakePlatform,
) -> None:
    platform = make_platform(redis_url="redis://127.0.0.1:1/0")
    browser = platform.visitor()
    browser.client.set_cookie("session", "some")
    assert browser.get("/login").status_code == 200
    assert browser.get("/").status_code == 503
    health = browser.get("/health")
    assert (health.status_code, health.get_json()["checks"]["sessions"]) == (503, "down")


def test_a_service_that_is_down_degrades_the_dashboard_and_no_more(platform: Platform) -> None:
    platform.analytics.down = True
    health = platform.visitor().get("/health")
    assert (health.status_code, health.get_json()["status"]) == (200, "degraded")


def test_behind_https_the_cookie_is_bound_to_the_host_and_secure(
    make_platform: MakePlatform,
) -> None:
    platform = make_platform(public_url="https://footfall.example")
    account = {"email": "a@example.com", "username": "ada", "password": PASSWORD}
    platform.call("users", "POST", "/users", json=account)
    done = platform.visitor().sign_in("ada")
    cookie = done.headers["Set-Cookie"]
    assert cookie.startswith("__Host-session=")
    for part in ("Secure", "HttpOnly", "Path=/", "SameSite=Lax"):
        assert part in cookie
    assert "Strict-Transport-Security" in done.headers


def test_a_page_of_a_session_that_was_ended_elsewhere_is_not_shown_half(
    platform: Platform,
) -> None:
    ada = platform.person("ada")
    platform.call("users", "POST", "/logout", ada.token, json={"everywhere": True})
    spoil(platform, ada)
    assert ada.get("/").status_code == 302
