"""Sessions: how long they live, and one refresh however many ask for it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from chassis.auth import Caller
from chassis.client import Refused
from chassis.errors import Unauthenticated, Unavailable
from dashboard_app import session
from dashboard_app.store import FileBackend, RedisBackend, Store
from tests.stand_ins import replace_in
from tests.unit.dashboard.conftest import (
    PASSWORD,
    MakePlatform,
    Person,
    Platform,
    csrf_of,
    text_of,
)


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
    change(platform, person, expires_at=time.time() + 1)


def change(platform: Platform, person: Person, **changes: Any) -> None:
    record = store_of(platform).get("session", sid_of(person))
    assert record
    store_of(platform).put("session", sid_of(person), {**record, **changes}, 600)


def store_of(platform: Platform) -> Store:
    store: Store = platform.app.extensions["session_store"]
    return store


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
    assert load_at_once(everywhere, ada, "/overview/types", 6) == [200] * 6
    assert refreshes(everywhere) == 1


def load_at_once(platform: Platform, person: Person, path: str, times: int) -> list[int]:
    """Asks for the page that often in parallel; returns the statuses."""
    statuses: list[int] = []

    def load() -> None:
        client = platform.app.test_client()
        client.set_cookie("session", sid_of(person))
        statuses.append(client.get(path).status_code)

    threads = [threading.Thread(target=load) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def test_a_role_that_was_changed_shows_at_once(everywhere: Platform) -> None:
    ada = everywhere.person("ada")
    for role, status in (("analyst", 200), ("viewer", 403), ("admin", 200), ("viewer", 403)):
        change = {"json": {"role": role}}
        everywhere.call("users", "PATCH", f"/users/{ada.id}", everywhere.admin.token, **change)
        assert ada.get("/events").status_code == status
        renewed = refreshes(everywhere)
        assert ada.get("/events").status_code == status
        assert refreshes(everywhere) == renewed


def test_parallel_partials_after_a_change_of_role_renew_once(everywhere: Platform) -> None:
    ada = everywhere.person("ada")
    change = {"json": {"role": "analyst"}}
    everywhere.call("users", "PATCH", f"/users/{ada.id}", everywhere.admin.token, **change)
    before = refreshes(everywhere)
    assert load_at_once(everywhere, ada, "/events", 6) == [200] * 6
    assert refreshes(everywhere) == before + 1


End = Callable[[Platform, Person], Any]


def signed_out_everywhere(platform: Platform, ada: Person) -> Any:
    platform.call("users", "POST", "/logout", ada.token, json={"everywhere": True})


def new_password(platform: Platform, ada: Person) -> Any:
    body = {"current_password": PASSWORD, "new_password": f"{PASSWORD} again"}
    platform.call("users", "PUT", "/users/me/password", ada.token, json=body)


def signed_out_by_id(platform: Platform, ada: Person) -> Any:
    items = platform.call("users", "GET", "/users/me/sessions", ada.token)["items"]
    for each in items:
        if not each["current"]:
            path = f"/users/me/sessions/{each['id']}"
            platform.call("users", "DELETE", path, ada.token)


def disabled(platform: Platform, ada: Person) -> Any:
    change = {"json": {"is_active": False}}
    platform.call("users", "PATCH", f"/users/{ada.id}", platform.admin.token, **change)


def deleted(platform: Platform, ada: Person) -> Any:
    platform.call("users", "DELETE", f"/users/{ada.id}", platform.admin.token)


@pytest.mark.parametrize(
    "end", [signed_out_everywhere, new_password, signed_out_by_id, disabled, deleted]
)
@pytest.mark.parametrize(
    ("path", "background"),
    [("/", False), ("/settings", False), ("/overview/types", True), ("/overview/types.csv", False),
     ("/events", False), ("/events/export.csv", False), ("/settings/export", False)],
)  # fmt: skip
def test_what_has_ended_has_ended_on_the_next_request(
    platform: Platform, end: End, path: str, background: bool
) -> None:
    ada = platform.person("ada", "analyst")
    sid = sid_of(ada)
    assert ada.get(path).status_code == 200
    end(platform, ada)
    called = list(platform.analytics.calls)
    if background:
        answer = ada.fragment(path, **{"X-Background": "1"})
        assert (answer.status_code, answer.text) == (401, "")
        assert answer.headers["HX-Redirect"].endswith("notice=expired")
    else:
        answer = ada.get(path)
        assert answer.status_code == 302
        assert answer.location.endswith("notice=expired")
    assert platform.analytics.calls == called
    assert store_of(platform).get("session", sid) is None
    assert "session has ended" in text_of(ada.get("/login?notice=expired"))


def test_a_change_of_a_session_that_has_ended_is_not_made(platform: Platform) -> None:
    ada = platform.person("ada")
    form = {"csrf_token": csrf_of(ada.get("/settings").text), "full_name": "Mallory"}
    signed_out_everywhere(platform, ada)
    called = list(platform.users.calls)
    assert ada.client.post("/settings/profile", data=form).status_code == 302
    made = set(platform.users.calls[len(called) :])
    assert made <= {"GET /.well-known/revoked", "POST /token"}


def test_the_session_that_sets_a_new_password_goes_on(everywhere: Platform) -> None:
    ada = everywhere.person("ada")
    form = {"current_password": PASSWORD, "new_password": f"{PASSWORD} again"}
    assert ada.submit("/settings/password", form, page="/settings").status_code == 303
    assert ada.get("/settings").status_code == 200


def test_while_what_has_ended_can_not_be_asked_the_last_answer_holds(platform: Platform) -> None:
    ada, eve = platform.person("ada"), platform.person("eve")
    signed_out_everywhere(platform, eve)
    assert ada.get("/overview/types").status_code == 200
    platform.users.down = True
    assert ada.get("/overview/types").status_code == 200
    assert eve.get("/overview/types").status_code in (302, 503)


def test_without_ever_having_heard_what_has_ended_pages_are_a_503(platform: Platform) -> None:
    ada = platform.person("ada")
    platform.app.extensions["revocations"].begin()
    platform.app.extensions["revocations"].tried.set()
    platform.users.down = True
    assert ada.get("/").status_code == 503
    assert ada.fragment("/overview/types").status_code == 503
    assert platform.visitor().get("/login").status_code == 200
    assert ada.get("/login").status_code == 200


def test_a_session_ends_when_nobody_used_it_for_its_idle_time(everywhere: Platform) -> None:
    ada = everywhere.person("ada")
    store_of(everywhere).drop(sid_of(ada), "seen")
    assert ada.get("/").location == "/login?next=/&notice=expired"


def set_clock(monkeypatch: pytest.MonkeyPatch, now: float) -> None:
    modules = "dashboard_app.session", "dashboard_app.store"
    replace_in(monkeypatch, time, *modules, time=lambda: now)


def test_an_idle_session_lives_for_its_idle_minutes_and_use_begins_them_anew(
    make_platform: MakePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = make_platform(session_idle_minutes=10).person("ada")
    began = time.time()
    for minutes, lives in ((9.9, True), (19.5, True), (29.6, False)):
        now = began + 60 * minutes
        set_clock(monkeypatch, now)
        polled = ada.fragment("/overview/types", **{"X-Background": "1"})
        assert polled.status_code == (200 if lives else 401)
        assert ada.get("/overview/types").status_code == (200 if lives else 302)


def test_the_cookie_is_set_once_and_lasts_as_long_as_the_session(
    make_platform: MakePlatform,
) -> None:
    platform = make_platform(session_absolute_hours=3)
    platform.person("ada")
    browser = platform.visitor()
    done = browser.sign_in("ada")
    assert f"Max-Age={3 * 3600}" in done.headers["Set-Cookie"]
    assert "Cookie" in done.vary
    for path in ("/", "/overview/types", "/login"):
        assert "Set-Cookie" not in browser.get(path).headers


@pytest.mark.parametrize(
    ("status", "ends"), [(400, True), (401, True), (403, False), (404, False), (429, False)]
)
def test_only_a_refresh_token_that_is_refused_ends_the_session(
    everywhere: Platform, monkeypatch: pytest.MonkeyPatch, status: int, ends: bool
) -> None:
    ada = everywhere.person("ada")
    spoil(everywhere, ada)

    def refused(_token: str) -> Any:
        raise Refused(status, {"title": "No"})

    sid = sid_of(ada)
    monkeypatch.setattr(everywhere.app.extensions["users"], "refresh", refused)
    assert (ada.get("/overview/types").status_code == 302) == ends
    assert (store_of(everywhere).get("session", sid) is None) == ends


def test_a_page_that_polls_by_itself_does_not_keep_a_session_alive(platform: Platform) -> None:
    ada = platform.person("ada")
    store, sid = store_of(platform), sid_of(ada)
    store.put("seen", sid, {"at": int(time.time()) - 600}, 600)
    old = store.get("seen", sid)
    assert ada.fragment("/overview/pulse", **{"X-Background": "1"}).status_code == 200
    assert store.get("seen", sid) == old
    assert ada.fragment("/overview/types").status_code == 200
    assert store.get("seen", sid) != old


def test_a_session_ends_at_its_absolute_age(
    everywhere: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = everywhere.person("ada")
    limit, now = session_limit(everywhere), time.time()
    change(everywhere, ada, started=now - limit + 60)
    spoil(everywhere, ada)
    assert ada.get("/overview/types").status_code == 200
    set_clock(monkeypatch, now + 59)
    assert ada.get("/overview/types").status_code == 200
    set_clock(monkeypatch, now + 61)
    assert ada.get("/overview/types").status_code == 302


def test_a_session_that_is_renewed_at_its_end_lasts_no_longer(everywhere: Platform) -> None:
    ada = everywhere.person("ada")
    change(everywhere, ada, started=time.time() - session_limit(everywhere) - 5)
    spoil(everywhere, ada)
    assert ada.get("/overview/types").status_code == 200
    assert ada.get("/overview/types").status_code == 302


def test_a_page_that_is_none_is_a_404_while_a_session_can_not_be_renewed(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = platform.person("ada")
    change(platform, ada, issued_at=0)
    platform.call(
        "users", "PATCH", f"/users/{ada.id}", platform.admin.token, json={"role": "analyst"}
    )

    def refused(_token: str) -> Any:
        raise Refused(429, {"title": "Too many requests"})

    monkeypatch.setattr(platform.app.extensions["users"], "refresh", refused)
    assert ada.get("/nowhere").status_code == 404
    assert ada.get("/").status_code == 503


def session_limit(platform: Platform) -> float:
    return platform.app.permanent_session_lifetime.total_seconds()


def test_a_request_that_started_earlier_does_not_write_spent_tokens_back(
    platform: Platform,
) -> None:
    ada = platform.person("ada")
    with ada.client:
        ada.get("/")
        change(platform, ada, refresh="the new one")
    ada.get("/")
    record = store_of(platform).get("session", sid_of(ada))
    assert record
    assert record["refresh"] == "the new one"


def test_a_stranger_costs_no_record(platform: Platform) -> None:
    records = platform.folder / "sessions" / "records"
    before = len(list(records.iterdir()))
    for path in ("/login", "/register", "/", "/nowhere"):
        assert "Set-Cookie" not in platform.visitor().get(path).headers
    assert len(list(records.iterdir())) == before


def test_expired_files_are_pruned_and_no_others(platform: Platform) -> None:
    store = store_of(platform)
    assert isinstance(store.backend, FileBackend)
    records = store.backend.records
    for number in range(600):
        store.put("seen", str(number), {"at": 1}, 600)
    assert all(store.get("seen", str(number)) for number in range(600))
    store.put("seen", "old", {"at": 1}, -120)
    (records / "left-by-another-version").write_bytes(b"tokens in clear")
    os.utime(records / "left-by-another-version", (1, 1))
    count = len(list(records.iterdir()))
    store.backend.pruned = time.monotonic() - 4000
    store.put("seen", "0", {"at": 2}, 600)
    assert len(list(records.iterdir())) == count - 2
    assert store.get("seen", "old") is None


def test_session_files_are_their_owners_alone(platform: Platform) -> None:
    platform.person("ada")
    held = list((platform.folder / "sessions").rglob("*"))
    assert any(path.is_file() and path.parent.name == "records" for path in held)
    for path in held:
        assert path.stat().st_mode & 0o077 == 0 or path.parent.name == "locks", path


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


Contents = dict[str, bytes]


def contents(store: Store) -> Contents:
    """Returns everything that the backend holds, by its key."""
    if isinstance(store.backend, FileBackend):
        return {path.name: path.read_bytes() for path in store.backend.records.iterdir()}
    assert isinstance(store.backend, RedisBackend)
    client = store.backend.client
    names = [name.decode() for name in client.keys("footfall-dashboard:se*")]
    return {name: client.get(name) for name in names}


def write(store: Store, key: str, content: bytes) -> None:
    """Puts bytes under the backend's own key, as an intruder would."""
    store.backend.put(key.removeprefix("footfall-dashboard:"), content, 600)


def test_who_reads_the_store_learns_no_cookie_token_or_account(everywhere: Platform) -> None:
    ada = everywhere.person("ada")
    record = store_of(everywhere).get("session", sid_of(ada))
    assert record
    held = contents(store_of(everywhere))
    everything = b"".join(name.encode() + content for name, content in held.items())
    assert len(held) >= 4
    for secret in (
        sid_of(ada),
        *record["access"].split("."),
        record["refresh"],
        record["csrf"],
        "ada@example.com",
    ):
        assert secret.encode() not in everything
    assert b"account" not in everything


def test_a_record_under_another_ones_key_is_no_session(everywhere: Platform) -> None:
    root, ada = everywhere.admin, everywhere.person("ada")
    store = store_of(everywhere)
    held = contents(store)
    for kind in ("session", "seen"):
        (mine,) = [name for name in held if name.endswith(store.key(kind, sid_of(ada)))]
        (other,) = [name for name in held if name.endswith(store.key(kind, sid_of(root)))]
        write(store, mine, held[other])
        assert store.get(kind, sid_of(ada)) is None
    assert ada.get("/").status_code == 302
    write(store, store.key("session", sid_of(root)), held[other])
    assert root.get("/").status_code == 302


@pytest.mark.parametrize(
    "spoiled",
    [
        lambda content: b"",
        lambda content: content[:11],
        lambda content: content[:-1],
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: bytes([content[0] ^ 1]) + content[1:],
        lambda content: b'{"csrf": "x"}',
    ],
)
def test_a_record_that_was_changed_is_no_session(
    everywhere: Platform, spoiled: Callable[[bytes], bytes]
) -> None:
    ada, store = everywhere.person("ada"), store_of(everywhere)
    key = store.key("session", sid_of(ada))
    (name,) = [each for each in contents(store) if each.endswith(key)]
    write(store, name, spoiled(contents(store)[name]))
    assert ada.get("/").status_code == 302


def test_a_record_can_not_be_made_to_last(everywhere: Platform) -> None:
    store = store_of(everywhere)
    store.put("seen", "some", {"at": 1}, 1)
    key = store.key("seen", "some")
    (sealed,) = [each for name, each in contents(store).items() if name.endswith(key)]
    time.sleep(1.1)
    write(store, key, sealed)
    assert store.get("seen", "some") is None


def test_a_key_of_the_store_is_no_cookie(everywhere: Platform) -> None:
    ada = everywhere.person("ada")
    for name in contents(store_of(everywhere)):
        browser = everywhere.visitor()
        for cookie in (name, name.rpartition(":")[2]):
            browser.client.set_cookie("session", cookie)
            assert browser.get("/").status_code == 302
    assert ada.get("/").status_code == 200


def test_another_secret_key_ends_every_session(make_platform: MakePlatform) -> None:
    first = make_platform()
    ada = first.person("ada")
    second = make_platform(session_dir=first.folder / "sessions")
    browser = second.visitor()
    browser.client.set_cookie("session", sid_of(ada))
    assert browser.get("/").status_code == 302


def test_signing_out_leaves_nothing_here(everywhere: Platform) -> None:
    sid, store = sid_of(everywhere.person("ada")), store_of(everywhere)
    with everywhere.app.test_request_context(headers={"Cookie": f"session={sid}"}):
        assert session.current()
        session.sign_out()
        assert session.current() is None
    assert [store.get(kind, sid) for kind in ("session", "seen")] == [None, None]


def test_use_is_noted_now_and_then(everywhere: Platform) -> None:
    ada = everywhere.person("ada")
    sid, store, now = sid_of(ada), store_of(everywhere), int(time.time())
    for seconds, noted in ((20, False), (40, True)):
        store.put("seen", sid, {"at": now - seconds}, 600)
        ada.get("/overview/types")
        seen = store.get("seen", sid)
        assert seen
        assert (seen["at"] >= now) is noted


def test_a_request_knows_what_it_has_changed(everywhere: Platform) -> None:
    sid = sid_of(everywhere.person("ada"))
    with everywhere.app.test_request_context(headers={"Cookie": f"session={sid}"}):
        assert session.current()
        session.change_account({"id": 2, "role": "viewer", "username": "lovelace"})
        assert (session.account() or {})["username"] == "lovelace"


def test_the_caller_is_the_account_that_is_signed_in(everywhere: Platform) -> None:
    ada = everywhere.person("ada", "analyst")
    with everywhere.app.test_request_context(headers={"Cookie": f"session={sid_of(ada)}"}):
        scopes = frozenset({"reports:read", "events:read"})
        assert session.authenticate() == Caller("user", str(ada.id), scopes, ada.id, "analyst")


def test_a_change_beside_the_sessions_end_brings_nothing_back(everywhere: Platform) -> None:
    sid, store = sid_of(everywhere.person("ada")), store_of(everywhere)
    with everywhere.app.test_request_context(headers={"Cookie": f"session={sid}"}):
        assert session.current()
        store.drop(sid, "session")
        session.change_account({"id": 2, "role": "viewer"})
    assert store.get("session", sid) is None


def test_a_renewal_brings_the_account_as_it_is_now(everywhere: Platform) -> None:
    ada = everywhere.person("ada")
    new = {"json": {"email": "new@example.com"}}
    everywhere.call("users", "PATCH", f"/users/{ada.id}", everywhere.admin.token, **new)
    spoil(everywhere, ada)
    with everywhere.app.test_request_context(headers={"Cookie": f"session={sid_of(ada)}"}):
        session.access_token()
        assert (session.account() or {})["email"] == "new@example.com"


def test_what_another_request_has_renewed_holds_for_this_one(everywhere: Platform) -> None:
    ada = everywhere.person("ada")
    spoil(everywhere, ada)
    with everywhere.app.test_request_context(headers={"Cookie": f"session={sid_of(ada)}"}):
        assert session.current()
        account = {"id": ada.id, "role": "viewer", "username": "lovelace"}
        change(everywhere, ada, access="a.newer.token", account=account)
        assert session.access_token() == "a.newer.token"
        assert session.account() == account


def test_there_is_no_token_without_a_session(everywhere: Platform) -> None:
    ada, store = everywhere.person("ada"), store_of(everywhere)
    spoil(everywhere, ada)
    with everywhere.app.test_request_context(), pytest.raises(Unauthenticated):
        session.access_token()
    cookie = {"Cookie": f"session={sid_of(ada)}"}
    with everywhere.app.test_request_context(headers=cookie):
        assert session.current()
        store.drop(sid_of(ada), "session")
        with pytest.raises(Unauthenticated):
            session.access_token()


def test_for_a_stranger_the_store_is_not_asked(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = platform.person("ada")
    monkeypatch.setattr(store_of(platform), "get", unavailable)
    assert ada.get("/").status_code == 503
    assert platform.visitor().get("/").location == "/login?next=/"


def unavailable(*_: object) -> None:
    raise Unavailable("gone")


def test_a_request_asks_once_what_can_not_be_known(platform: Platform) -> None:
    sid, followed = sid_of(platform.person("ada")), platform.app.extensions["revocations"]
    followed.begin()
    followed.tried.set()
    platform.users.down = True
    with platform.app.test_request_context(headers={"Cookie": f"session={sid}"}):
        with pytest.raises(Unavailable):
            session.current()
        assert session.current() is None


def test_a_renewal_on_its_way_does_not_bring_back_a_session_that_signed_out(
    everywhere: Platform,
) -> None:
    ada = everywhere.person("ada")
    spoil(everywhere, ada)
    users, sid = everywhere.app.extensions["users"], sid_of(ada)
    refresh = users.refresh

    def leave() -> None:
        with everywhere.app.test_request_context(headers={"Cookie": f"session={sid}"}):
            session.sign_out()

    def slow(token: str) -> Any:
        leaving.start()
        time.sleep(0.3)
        return refresh(token)

    leaving = threading.Thread(target=leave)
    users.refresh = slow
    ada.get("/overview/types")
    leaving.join()
    assert store_of(everywhere).get("session", sid) is None
    assert ada.get("/").status_code == 302
