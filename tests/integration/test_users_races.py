"""Two at once: what locks and constraints hold, with several workers, on both engines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial

import pytest
import requests

from tests.integration.users_service import PASSWORD, Api, at_once, users_stack


@pytest.fixture
def api(database_url: str) -> Iterator[Api]:
    with users_stack(database_url, workers=2) as stack:
        yield Api(stack.users_url)


def statuses(answers: list[requests.Response]) -> dict[int, int]:
    return dict(Counter(answer.status_code for answer in answers))


def test_races_end_as_they_must(api: Api) -> None:
    """One platform for all races: starting it costs more than running them."""
    one_of_many_first_accounts_is_admin(api)
    parallel_registrations_end_in_one_201(api)
    parallel_refreshes_give_the_same_child(api)
    parallel_reuse_ends_the_family(api)
    two_admins_can_not_remove_each_other(api)
    an_invite_is_used_once(api)
    parallel_guesses_do_not_outrun_the_limit(api)


def one_of_many_first_accounts_is_admin(api: Api) -> None:
    answers = at_once([partial(api.register, f"first{n}") for n in range(8)])
    assert statuses(answers) == {201: 8}
    roles = Counter(answer.json()["role"] for answer in answers)
    assert roles == {"admin": 1, "viewer": 7}
    admin = next(answer.json() for answer in answers if answer.json()["role"] == "admin")
    token = api.tokens(admin["username"])["access_token"]
    body = {"username": "root", "email": "root@example.com", "current_password": PASSWORD}
    assert api.call("PATCH", "/users/me", token, json=body).status_code == 200


def parallel_registrations_end_in_one_201(api: Api) -> None:
    for n in range(5):
        same_name = [partial(api.register, f"Twin{n}", email=f"{n}{k}@b.test") for k in range(2)]
        answers = at_once([*same_name, partial(api.register, f"tWIN{n}")])
        assert statuses(answers) == {201: 1, 409: 2}
        taken = [a.json()["errors"][0]["field"] for a in answers if a.status_code == 409]
        assert taken == ["username"] * 2
        emails = [partial(api.register, f"{n}solo{k}", email=f"SOLO{n}@b.test") for k in range(3)]
        answers = at_once(emails)
        assert statuses(answers) == {201: 1, 409: 2}


def parallel_refreshes_give_the_same_child(api: Api) -> None:
    parent = api.tokens("twin1")["refresh_token"]
    answers = at_once([partial(api.refresh, parent) for _ in range(20)])
    assert statuses(answers) == {200: 20}
    (child,) = {answer.json()["refresh_token"] for answer in answers}
    assert api.refresh(child).status_code == 200


def parallel_reuse_ends_the_family(api: Api) -> None:
    name = "twin0"
    parent = api.tokens(name)["refresh_token"]
    child = api.refresh(parent).json()["refresh_token"]
    api.refresh(child)
    answers = at_once([partial(api.refresh, parent) for _ in range(10)])
    assert statuses(answers) == {400: 10}
    assert api.refresh(child).status_code == 400


def two_admins_can_not_remove_each_other(api: Api) -> None:
    root = api.tokens("root")
    for n in range(6):
        api.register(f"deputy{n}")
        deputy = api.tokens(f"deputy{n}")
        ids = root["user"]["id"], deputy["user"]["id"]
        promoted = api.call(
            "PATCH", f"/users/{ids[1]}", root["access_token"], json={"role": "admin"}
        )
        assert promoted.status_code == 200
        removals = [
            partial(remove, api, n, ids[1], root["access_token"]),
            partial(remove, api, n, ids[0], deputy["access_token"]),
        ]
        answers = at_once(removals)
        admins = api.call("GET", "/users?role=admin&is_active=true", root["access_token"])
        if admins.status_code != 200:
            admins = api.call("GET", "/users?role=admin&is_active=true", deputy["access_token"])
        (left,) = admins.json()["items"]
        assert len([answer for answer in answers if answer.ok]) == 1
        root = api.tokens(left["username"])


def remove(api: Api, how: int, user_id: int, token: str) -> requests.Response:
    if how % 3 == 0:
        return api.call("PATCH", f"/users/{user_id}", token, json={"role": "viewer"})
    if how % 3 == 1:
        return api.call("PATCH", f"/users/{user_id}", token, json={"is_active": False})
    return api.call("DELETE", f"/users/{user_id}", token)


def admin_token(api: Api) -> str:
    for name in ("root", *(f"deputy{n}" for n in range(6))):
        answer = api.sign_in(name)
        if answer.ok and answer.json()["user"]["role"] == "admin":
            return str(answer.json()["access_token"])
    raise AssertionError("no admin is left")


def an_invite_is_used_once(api: Api) -> None:
    made = api.call("POST", "/invites", admin_token(api), json={"role": "analyst"}).json()
    calls = [partial(api.register, f"guest{n}", invite=made["invite"]) for n in range(6)]
    assert statuses(at_once(calls)) == {201: 1, 422: 5}


def parallel_guesses_do_not_outrun_the_limit(api: Api) -> None:
    api.register("target")
    guesses = [partial(api.sign_in, "target", f"wrong password {n}") for n in range(12)]
    at_once(guesses)
    assert api.sign_in("target").status_code == 401
