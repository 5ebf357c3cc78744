"""Erasures as they are answered."""

from __future__ import annotations

from typing import Literal

from chassis.schema import Id, Model, Timestamp


class Erased(Model):
    """How many events were erased."""

    erased: int


class TypeErased(Model):
    """How many events of the type are deleted so far."""

    event_type: str
    erased: int


class ErasureBegun(Model):
    """The erasure that deletes the events; no report, list or export holds them any more."""

    erasure: Id


class ErasureOut(Model):
    """An erasure of many events: how many there were, and how many are deleted so far.

    `user_id` is null for a visitor.
    """

    id: Id
    state: Literal["erasing", "done"]
    user_id: int | None
    events: int
    erased: int
    requested_at: Timestamp
    finished_at: Timestamp | None
