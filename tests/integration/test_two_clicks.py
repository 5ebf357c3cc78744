"""Two clicks on one button, as a browser without JavaScript sends them: at once, or in turn."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import requests

from tests.integration.users_service import PASSWORD, at_once, users_stack
from tests.stack import Stack

Form = dict[str, str]


@pytest.fixture(params=["sqlite", "postgresql"])
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    parts = ("users", "analytics", "dashboard")
    if request.param == "sqlite":
        # As it comes: one hash at a time, and two places for one address.
        usual = {"HASHING_SLOTS": "1", "BCRYPT_ROUNDS": "12"}
        with users_stack("sqlite://", parts, settings=usual) as running:
            yield running
        return
    make: Callable[[], str] = request.getfixturevalue("new_postgres_database")
    with users_stack(make(), parts, analytics_database_url=make(), workers=2) as running:
        yield running


def hidden(page: str, action: str) -> Form:
    """Returns the hidden fields of the form that posts there."""
    found = re.search(rf'<form [^>]*action="{action}".*?</form>', page, re.DOTALL)
    assert found, page[:500]
    fields = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', found[0])
    return dict(fields)


def post(stack: Stack, path: str, form: Form, cookies: Form | None = None) -> requests.Response:
    url = stack.dashboard_url + path
    return requests.post(url, form, cookies=cookies, allow_redirects=False, timeout=30)


def registration(stack: Stack, name: str, **changed: str) -> Form:
    page = requests.get(f"{stack.dashboard_url}/register", timeout=30).text
    person = {"email": f"{name}@example.com", "username": name, "password": PASSWORD}
    return {**hidden(page, "/register"), **person, **changed}


def test_clicks_at_once_are_each_their_own_success(stack: Stack) -> None:
    """One platform for all forms: starting it costs more than sending them."""
    clicks_on_create_account(stack)
    cookies = signed_in(stack)
    clicks_with_an_invite(stack, cookies)
    clicks_on_create_key(stack, cookies)
    clicks_on_save_and_note(stack, cookies)


def clicks_on_create_account(stack: Stack) -> None:
    for number in range(3):
        form = registration(stack, f"person{number}")
        answers = at_once([partial(post, stack, "/register", form)] * 5)
        answers.append(post(stack, "/register", form))
        assert [each.status_code for each in answers] == [303] * 6
        assert {each.headers["Location"] for each in answers} == {"/"}
        for each in answers:
            home = requests.get(stack.dashboard_url, cookies=each.cookies.get_dict(), timeout=30)
            assert home.status_code == 200
            assert home.url.rstrip("/") == stack.dashboard_url
    taken = post(stack, "/register", registration(stack, "person1"))
    assert taken.status_code == 409, "another form of the same name"


def signed_in(stack: Stack) -> Form:
    page = requests.get(f"{stack.dashboard_url}/login", timeout=30).text
    form = {**hidden(page, "/login"), "username": "person0", "password": PASSWORD}
    return dict(post(stack, "/login", form).cookies.get_dict())


def page_of(stack: Stack, path: str, cookies: Form) -> str:
    answer = requests.get(stack.dashboard_url + path, cookies=cookies, timeout=30)
    assert answer.status_code == 200
    return answer.text


def clicks_with_an_invite(stack: Stack, cookies: Form) -> None:
    form = hidden(page_of(stack, "/invites", cookies), "/invites")
    sent = [partial(post, stack, "/invites", {**form, "role": "analyst"}, cookies)] * 2
    codes = {code for each in at_once(sent) for code in re.findall(r"invite=([\w-]+)", each.text)}
    (code,) = codes
    invited = registration(stack, "invited", invite=code)
    answers = at_once([partial(post, stack, "/register", invited)] * 2)
    assert [each.status_code for each in answers] == [303, 303]
    withdrawal = re.search(r'action="(/invites/\d+/withdraw)"', page_of(stack, "/invites", cookies))
    assert withdrawal is None, "it is used"


def clicks_on_create_key(stack: Stack, cookies: Form) -> None:
    form = hidden(page_of(stack, "/api-keys", cookies), "/api-keys")
    form |= {"name": "twice", "scopes": "events:write"}
    answers = at_once([partial(post, stack, "/api-keys", form, cookies)] * 3)
    assert [each.status_code for each in answers] == [201] * 3
    keys = {key for each in answers for key in re.findall(r"\bff[a-z]*_[\w-]{20,}", each.text)}
    assert len(keys) == 1, "each answer shows the one key"
    page = page_of(stack, "/api-keys", cookies)
    (path,) = set(re.findall(r'action="(/api-keys/\d+/delete)"', page))
    deletion = hidden(page, path)
    answers = at_once([partial(post, stack, path, deletion, cookies)] * 2)
    assert [each.status_code for each in answers] == [303, 303]


def clicks_on_save_and_note(stack: Stack, cookies: Form) -> None:
    form = hidden(page_of(stack, "/annotations", cookies), "/annotations")
    form |= {"day": "2026-01-31", "text": "said twice"}
    answers = at_once([partial(post, stack, "/annotations", form, cookies)] * 2)
    assert [each.status_code for each in answers] == [303, 303]
    assert Counter(re.findall("said twice", page_of(stack, "/annotations", cookies))) == {
        "said twice": 1
    }
