"""A form that is sent twice does its work once: the second click gets the first one's answer.

Every form carries an id of its own. It is kept in the store under a keyed digest of session,
page, id and fields, so that another form, or somebody else's, is never taken for it.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, TypeVar

from flask import Flask, g, request

from chassis.errors import Problem, Unavailable
from dashboard_app import session

FORM_ID = re.compile(r"[\w-]{22}", re.ASCII)
KEPT_SECONDS = 600
# Longer than a service is waited for.
UNDER_WAY_SECONDS = 15
POLL_SECONDS = 0.1
Answer = TypeVar("Answer")


def install(app: Flask) -> None:
    """Gives templates the id that each form carries."""
    app.jinja_env.globals["form_id"] = form_id


def form_id() -> str:
    """Returns the id of this page's forms: a new one, or that of the form with complaints."""
    if not g.get("form_id"):
        g.form_id = secrets.token_urlsafe(16)
    return str(g.form_id)


def sent_id() -> str | None:
    """Returns the id of the form that was sent, or None: programs may leave it out."""
    sent = request.form.get("form_id", "")
    return sent if FORM_ID.fullmatch(sent) else None


def keep_id() -> None:
    """Has the form that was sent shown under the same id, if it is shown again."""
    g.form_id = sent_id()


def once(call: Callable[[], Answer]) -> Answer:
    """Returns what the call returns, as JSON holds it; the same form again calls nothing.

    What raises was not done, and may be tried again.
    """
    if sent_id() is None:
        return call()
    key = fingerprint()
    keep_id()
    first = first_answer(key)
    if first is None:
        first = {"answer": made_first(key, call)}
    g.form_id = None
    answer: Answer = first["answer"]
    return answer


def made_first(key: str, call: Callable[[], Answer]) -> Answer:
    try:
        answer = call()
    except Exception:
        with suppress(Problem):
            session.store().drop(key, "form")
        raise
    session.store().put("form", key, {"answer": answer}, KEPT_SECONDS)
    return answer


def in_turn() -> AbstractContextManager[None]:
    """Holds the form that was sent, so that its copies come one after the other.

    For what each of them has to do itself, such as hashing, of which one address may ask for
    little at a time. Nothing else of the store may be locked meanwhile.
    """
    sent = sent_id()
    return session.store().lock(f"form {sent}") if sent else nullcontext()


def fingerprint() -> str:
    fields = sorted(pair for pair in request.form.items(multi=True) if pair[0] != "csrf_token")
    return json.dumps([session.cookie().sid, request.path, fields])


def first_answer(key: str) -> dict[str, Any] | None:
    """Returns what the form was answered before, waiting for it; None for one sent first."""
    until = time.monotonic() + UNDER_WAY_SECONDS
    while True:
        with session.store().lock(key):
            found = session.store().get("form", key)
            if found is None:
                session.store().put("form", key, {}, UNDER_WAY_SECONDS)
                return None
        if "answer" in found:
            return found
        if time.monotonic() > until:
            raise Unavailable("This form is still being worked on: look again in a moment.")
        time.sleep(POLL_SECONDS)
