"""API keys, for admins."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from analytics_app import keys
from analytics_app.models import db
from analytics_app.schemas.keys import KeyIn, KeyPage, KeysQuery, NewKey
from analytics_app.services import services
from chassis.api import api
from chassis.auth import caller, requires
from chassis.errors import Conflict

routes = Blueprint("api_keys", __name__, url_prefix="/analytics/api-keys")


@routes.post("")
@requires("keys:manage", confirmed=True)
@api(body=KeyIn, answers={201: NewKey}, errors=(Conflict,))
def create_api_key(body: KeyIn) -> dict[str, Any]:
    """Make an API key; its text is in this answer and nowhere else.

    There are 1,000 at most (MAX_API_KEYS): one more is a 409.
    """
    most = services().settings.max_api_keys
    return keys.issue(db, body.name, body.scopes, body.expires_in_days, caller().user_id, most)


@routes.get("")
@requires("keys:manage")
@api(query=KeysQuery, answers={200: KeyPage})
def list_api_keys(query: KeysQuery) -> dict[str, Any]:
    """List the API keys, in the order they were made."""
    return query.page(keys.listed(db, query), keys.answered)


@routes.delete("/<id:key_id>")
@requires("keys:manage", confirmed=True)
@api(answers={204: None})
def delete_api_key(key_id: int) -> None:
    """Delete an API key; within 5 s nobody takes it any more."""
    keys.revoke(db, key_id)
