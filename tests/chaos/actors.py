"""People and programs at work: each acts in a loop, and notes what it asked and was answered."""

from __future__ import annotations

import itertools
import re
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from tests.chaos.history import LOST_CONNECTION, History, Outcome

PASSWORD = "a quiet walk at dawn"
# The crowd comes from so many addresses: more from one of them would be over the product's limits.
ADDRESSES = 60
PATIENCE_SECONDS = 12.0
CODE = re.compile(r"token=([\w-]+)")
NAME = re.compile(r"p-[0-9a-f]{12}")
HIDDEN = re.compile(r'name="csrf_token"[^>]*value="([^"]+)"|value="([^"]+)"[^>]*name="csrf_token"')


@dataclass
class Place:
    """Where the platform is, and how to reach it as the admin."""

    users_url: str
    analytics_url: str
    dashboard_url: str
    key: str
    label: str
    history: History
    mails_to: Callable[[str], list[tuple[str, str]]] = lambda _: []
    ids: dict[str, int] = field(default_factory=dict)
    leaving: threading.Event = field(default_factory=threading.Event)
    hurry: threading.Event = field(default_factory=threading.Event)
    addresses: Iterator[int] = field(default_factory=lambda: itertools.cycle(range(ADDRESSES)))

    def address(self) -> str:
        """Returns the address of loopback that the next client comes from."""
        return f"127.0.7.{next(self.addresses) + 1}"

    def type(self, name: str) -> str:
        """Returns an event type of this fault's own."""
        return f"chaos.{self.label}.{name}"


class FromAddress(HTTPAdapter):
    """Connects from one of this machine's addresses."""

    def __init__(self, address: str) -> None:
        self.address = address
        super().__init__()

    def init_poolmanager(self, *words: Any, **given: Any) -> None:
        super().init_poolmanager(*words, **given, source_address=(self.address, 0))


class Client:
    """One program's connection from an address of its own; every answer goes into the history."""

    def __init__(self, place: Place, credential: str = "") -> None:
        self.place = place
        self.session = requests.Session()
        self.session.mount("http://", FromAddress(place.address()))
        self.sign(credential)

    def sign(self, credential: str) -> None:
        self.session.headers["Authorization"] = f"Bearer {credential}"
        if not credential:
            del self.session.headers["Authorization"]

    def call(self, service: str, method: str, path: str, **given: Any) -> requests.Response | None:
        """Returns the answer, or None for a connection that broke or took too long.

        Who is told to come again later does so then.
        """
        answer = self.call_once(service, method, path, **given)
        while answer is not None and answer.status_code == 429 and not self.place.leaving.is_set():
            self.place.leaving.wait(float(answer.headers["Retry-After"]))
            answer = self.call_once(service, method, path, **given)
        return answer

    def call_once(
        self, service: str, method: str, path: str, **given: Any
    ) -> requests.Response | None:
        url = getattr(self.place, f"{service}_url") + path
        began = time.monotonic()
        try:
            answer = self.session.request(method, url, timeout=PATIENCE_SECONDS, **given)
        except requests.RequestException:
            self.place.history.answered(service, LOST_CONNECTION, began)
            return None
        self.place.history.answered(service, answer.status_code, began)
        return answer


def outcome(answer: requests.Response | None) -> Outcome:
    """Returns what the client knows by this answer."""
    if answer is None or answer.status_code >= 500:
        return "unknown"
    return "acknowledged" if answer.ok else "refused"


def new_name() -> str:
    return f"p-{secrets.token_hex(6)}"


class Sender:
    """A program that sends events with a key, and the same ones again until it is told."""

    def __init__(self, place: Place, name: str, *, batch: int = 1, pause: float = 0.02) -> None:
        self.place, self.batch, self.pause = place, batch, pause
        self.event_type = place.type(name)
        self.client = Client(place, place.key)

    def act(self) -> None:
        events = [self.event(number) for number in range(self.batch)]
        self.place.history.attempt(self.event_type, self.batch)
        result: Outcome = "unknown"
        while result == "unknown" and not self.place.hurry.is_set():
            result = self.sent(events)
            if result == "unknown":
                time.sleep(0.3)
        names = [event["event_id"] for event in events]
        self.place.history.done("event", self.event_type, names, result)
        time.sleep(self.pause)

    def event(self, number: int) -> dict[str, Any]:
        return {
            "event_type": self.event_type,
            "event_id": str(uuid.uuid4()),
            "created_at": datetime.now(UTC).isoformat(),
            "user_id": 10**12 + number,
        }

    def sent(self, events: list[dict[str, Any]]) -> Outcome:
        if self.batch == 1:
            return outcome(
                self.client.call("analytics", "POST", "/analytics/events", json=events[0])
            )
        answer = self.client.call(
            "analytics", "POST", "/analytics/events/batch", json={"events": events}
        )
        if answer is not None and answer.ok and answer.json()["rejected"]:
            return "refused"
        return outcome(answer)


class Person:
    """Somebody with an account: signs in, changes a name, does things, reads them again."""

    def __init__(self, place: Place, name: str | None = None) -> None:
        self.place = place
        self.name = name or new_name()
        self.email = f"{self.name}@example.com"
        self.password = PASSWORD
        self.client = Client(place)
        self.signed_in = False

    def register(self) -> bool:
        body = {"email": self.email, "username": self.name, "password": self.password}
        answer = self.client.call("users", "POST", "/users", json=body)
        if answer is not None and answer.ok:
            self.place.ids[self.name] = answer.json()["id"]
        self.place.history.done("register", self.name, [self.name], outcome(answer))
        return bool(answer is not None and answer.ok)

    def sign_in(self) -> None:
        form = {"grant_type": "password", "username": self.name, "password": self.password}
        answer = self.client.call("users", "POST", "/token", data=form)
        self.place.history.done("sign in", self.name, [self.name], outcome(answer))
        if answer is not None and answer.ok:
            self.client.sign(answer.json()["access_token"])
            self.signed_in = True

    def act(self) -> None:
        if not self.signed_in:
            self.sign_in()
            time.sleep(0.3)
            return
        self.rename()
        self.look_at_myself()
        self.do_something()
        self.look_at_what_i_did()
        if secrets.randbelow(5) == 0:
            self.signed_in = False
        time.sleep(0.1)

    def rename(self) -> None:
        wanted = f"Name {secrets.token_hex(4)}"
        answer = self.client.call("users", "PATCH", "/users/me", json={"full_name": wanted})
        self.place.history.done("rename", self.name, [wanted], self.known(answer))

    def known(self, answer: requests.Response | None) -> Outcome:
        """Returns the outcome; a token that is refused wants a new sign-in."""
        if answer is not None and answer.status_code == 401:
            self.signed_in = False
        return outcome(answer)

    def look_at_myself(self) -> None:
        answer = self.client.call("users", "GET", "/users/me")
        if self.known(answer) == "acknowledged" and answer is not None:
            self.expect(answer.json()["username"] == self.name, "/users/me", answer)

    def do_something(self, kind: str = "event", name: str = "own") -> None:
        event_type = self.place.type(name)
        event = {
            "event_type": event_type,
            "event_id": str(uuid.uuid4()),
            "created_at": datetime.now(UTC).isoformat(),
            "metadata": {"owner": self.name},
        }
        self.place.history.attempt(event_type)
        answer = self.client.call("analytics", "POST", "/analytics/events", json=event)
        self.place.history.done(kind, event_type, [event["event_id"]], self.known(answer))

    def look_at_what_i_did(self) -> None:
        path = f"/analytics/users/{self.place.ids[self.name]}/events"
        answer = self.client.call("analytics", "GET", path)
        if self.known(answer) == "acknowledged" and answer is not None:
            for event in answer.json()["items"]:
                owner = event["metadata"].get("owner", self.name)
                mine = event["user_id"] == self.place.ids[self.name] and owner == self.name
                self.expect(mine, path, answer)

    def expect(self, mine: bool, path: str, answer: requests.Response) -> None:
        if not mine:
            self.place.history.shown_to_the_wrong_person(
                f"{path} answered {self.name}: {answer.text[:200]}"
            )


class Newcomers:
    """People who register, do a few things, and of whom every second one leaves for ever."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.turn = 0

    def act(self) -> None:
        person = Person(self.place)
        self.turn += 1
        if person.register():
            person.sign_in()
        if person.signed_in and self.turn % 2:
            for _ in range(3):
                person.do_something("passing event", "passing")
            body = {"current_password": PASSWORD}
            answer = person.client.call("users", "DELETE", "/users/me", json=body)
            self.place.history.done("delete", person.name, [person.name], outcome(answer))
        time.sleep(0.5)


class Visitor:
    """Somebody at the dashboard without JavaScript: signs in and reads pages."""

    def __init__(self, place: Place, person: Person) -> None:
        self.place, self.person = place, person
        self.client = Client(place)

    def act(self) -> None:
        page = self.client.call("dashboard", "GET", "/settings")
        if page is not None and page.ok:
            if "/login" in page.url:
                self.sign_in(page.text)
            else:
                self.read(page)
        time.sleep(0.4)

    def sign_in(self, page: str) -> None:
        found = HIDDEN.search(page)
        fields = {"csrf_token": (found[1] or found[2]) if found else ""}
        fields |= {"username": self.person.name, "password": PASSWORD}
        headers = {"Origin": self.place.dashboard_url}
        answer = self.client.call("dashboard", "POST", "/login", data=fields, headers=headers)
        arrived = answer is not None and answer.ok and "/login" not in answer.url
        # What the dashboard could not say, the users service may have counted all the same.
        result: Outcome = "acknowledged" if arrived else "unknown"
        self.place.history.done("sign in", self.person.name, [self.person.name], result)

    def read(self, page: requests.Response) -> None:
        others = set(NAME.findall(page.text)) - {self.person.name}
        if others or self.person.name not in page.text:
            self.place.history.shown_to_the_wrong_person(
                f"{page.url} showed {self.person.name} the names {sorted(others)}"
            )


class Forgetful:
    """Somebody who forgets a password, asks for a mail, and sets another one by its link."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.person = Person(place)
        self.person.register()

    def act(self) -> None:
        before = len(self.mails())
        body = {"email": self.person.email}
        answer = self.person.client.call("users", "POST", "/password-reset", json=body)
        self.place.history.done("ask", self.person.name, [body["email"]], outcome(answer))
        while len(self.mails()) == before and not self.place.hurry.wait(0.2):
            pass
        if len(self.mails()) > before:
            self.follow(self.mails()[-1][1])
        self.place.leaving.wait(1)

    def mails(self) -> list[tuple[str, str]]:
        return self.place.mails_to(self.person.email)

    def follow(self, mail: str) -> None:
        """Sets a new password by the link and signs in with it."""
        found = CODE.search(mail)
        self.person.password = f"a quiet walk {secrets.token_hex(8)}"
        body = {"token": found[1] if found else "", "new_password": self.person.password}
        answer = self.person.client.call("users", "POST", "/password-reset/confirm", json=body)
        self.place.history.done("reset", self.person.name, [body["token"]], outcome(answer))
        self.person.sign_in()


class Watcher:
    """A program that reads the counts all the time."""

    def __init__(self, place: Place, *event_types: str) -> None:
        self.place, self.event_types = place, event_types
        self.client = Client(place, place.key)

    def act(self) -> None:
        began = time.monotonic()
        query = {"event_type": self.event_types}
        answer = self.client.call("analytics", "GET", "/analytics/events/by-type", params=query)
        if answer is not None and answer.ok:
            counts = {each["event_type"]: each["count"] for each in answer.json()["items"]}
            for event_type in self.event_types:
                self.place.history.read(event_type, counts.get(event_type, 0), began)
        time.sleep(0.25)


class Crowd:
    """All of them, each in a thread of its own, until the crowd is sent home."""

    def __init__(self, place: Place, joined_by: Sequence[Callable[[], None]] = ()) -> None:
        self.place = place
        people = [Person(place) for _ in range(3)]
        for person in people:
            if not person.register():
                raise RuntimeError("the platform was not well before the fault")
        at_the_dashboard = people.pop()
        acts: list[Callable[[], None]] = [
            Sender(place, "single").act,
            Sender(place, "batched", batch=20, pause=0.1).act,
            *(person.act for person in people),
            Newcomers(place).act,
            Visitor(place, at_the_dashboard).act,
            Watcher(place, place.type("single"), place.type("batched")).act,
            *joined_by,
        ]
        self.threads = [threading.Thread(target=self.keep, args=(act,)) for act in acts]
        self.troubles: list[Exception] = []

    def keep(self, act: Callable[[], None]) -> None:
        while not self.place.leaving.is_set():
            try:
                act()
            except Exception as trouble:  # a client's bug must not pass for a quiet platform
                self.troubles.append(trouble)
                return

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    def go_home(self, seconds: float = 30) -> None:
        """Lets everybody finish what they began; raises what went wrong in a client."""
        self.place.leaving.set()
        deadline = time.monotonic() + seconds
        for thread in self.threads:
            thread.join(max(0.1, deadline - time.monotonic()))
        self.place.hurry.set()
        for thread in self.threads:
            thread.join(PATIENCE_SECONDS + 5)
        if self.troubles:
            raise self.troubles[0]
