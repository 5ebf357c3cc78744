"""Access tokens that no longer hold, listed for services that verify tokens by themselves.

A row names a session: all of its tokens, or those issued before a second. Whoever calls holds
the session's lock, and a token is dated under the same lock, so that none made before a change
escapes it. All times are the database's, one clock for all servers.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Row, Select, Table, case, delete, extract, func, select
from sqlalchemy.dialects import postgresql, sqlite

from chassis.errors import TooManyRequests
from chassis.revocation import digest
from users_app import clock
from users_app.models import Revocation, db
from users_app.parts import parts

# Beyond a token's life: what clocks may differ by, at its issue and at its check.
SLACK = timedelta(minutes=1)
MAX_LISTED = 10_000
Listed = tuple[str, int | None, datetime]
# Services take tokens that are dated 30 s ahead; clocks differ, too.
MAX_AHEAD_SECONDS = 20


def revoke(session_ids: Iterable[int]) -> None:
    """Revokes every token of the sessions, for good, within the transaction."""
    put(session_ids, clock.database_now(db.session), None)


def revoke_issued(session_ids: Iterable[int]) -> None:
    """Revokes the tokens issued so far of sessions that go on, within the transaction.

    Raises TooManyRequests where so many were revoked just now that the next tokens would be
    dated further ahead than services take.
    """
    now, ids = clock.database_now(db.session), list(session_ids)
    refuse_haste(ids, int(now.timestamp()))
    put(ids, now, int(now.timestamp()) + 1)


def refuse_haste(session_ids: Sequence[int], now: int) -> None:
    listed = Revocation.digest.in_([digest(str(each)) for each in session_ids])
    latest = db.session.scalar(select(func.max(Revocation.issued_before)).where(listed)) or now
    if latest - now >= MAX_AHEAD_SECONDS:
        raise TooManyRequests(
            "The role was changed too often just now: try again in a moment.", retry_after=1
        )


def put(session_ids: Iterable[int], now: datetime, issued_before: int | None) -> None:
    said = {"issued_before": issued_before, "kept_until": now + kept()}
    rows = [{"digest": digest(str(each)), **said} for each in session_ids]
    if rows:
        db.session.execute(upsert(), rows)


def upsert() -> postgresql.Insert | sqlite.Insert:
    """Returns the insert that puts a later revocation in an earlier one's place.

    A token made in between is dated at the earlier one's second: the later one is after it.
    """
    table: Table = Revocation.__table__  # type: ignore[assignment]
    dialect = sqlite if db.engine.dialect.name == "sqlite" else postgresql
    row = dialect.insert(table)
    old, new = table.c.issued_before, row.excluded.issued_before
    return row.on_conflict_do_update(
        index_elements=["digest"],
        set_={
            "issued_before": case((old >= new, old + 1), else_=new),
            "kept_until": row.excluded.kept_until,
        },
    )


def kept() -> timedelta:
    return timedelta(minutes=parts().settings.access_token_minutes) + SLACK


def issue_second(session_id: int) -> int:
    """Returns the second that the session's next token is dated: one that is not revoked."""
    wanted = select(Revocation.issued_before).where(Revocation.digest == digest(str(session_id)))
    return max(int(clock.database_now(db.session).timestamp()), db.session.scalar(wanted) or 0)


def in_force() -> tuple[Sequence[Row[Listed]], int | None]:
    """Returns what unexpired tokens must be checked against, the newest first.

    Beyond MAX_LISTED, a second stands for all others: every token issued before it is refused,
    and its client refreshes once.
    """
    found = db.session.execute(newest()).all()
    if len(found) <= MAX_LISTED:
        return found, None
    return found[:MAX_LISTED], int((found[MAX_LISTED].kept_until - kept()).timestamp()) + 1


def version() -> Hashable:
    """Returns what differs between any two states of what `in_force` reads, and costs far less.

    A row's time is later than all that are over, and a change moves it on: with as many rows,
    the sum of the times only grows, in whatever order transactions commit. SQLite's sum is in
    whole seconds, but there they commit in order, and the latest time tells. Two changes of a
    row within a microsecond differ in `issued_before`, which grows and then is null for good.
    """
    rows = newest().subquery().c
    query = select(
        func.count(),
        func.max(rows.kept_until),
        func.sum(extract("epoch", rows.kept_until)),
        func.count(rows.issued_before),
        func.sum(rows.issued_before),
    )
    return tuple(db.session.execute(query).one())


def newest() -> Select[Listed]:
    """Returns the query of the rows in force, the newest first, one more than are listed."""
    query = select(Revocation.digest, Revocation.issued_before, Revocation.kept_until)
    in_force = query.where(Revocation.kept_until > clock.database_now(db.session))
    newest_first = in_force.order_by(Revocation.kept_until.desc(), Revocation.digest)
    return newest_first.limit(MAX_LISTED + 1)


def remove_expired() -> int:
    """Removes what no unexpired token can be named by, within the transaction; how many rows."""
    over = Revocation.kept_until <= clock.database_now(db.session)
    return int(db.session.execute(delete(Revocation).where(over)).rowcount)  # type: ignore[attr-defined]
