"""Failed sign-ins, counted in the database so that all workers know of them.

Counted for (account, address) and for the address alone: whoever hammers one account is
locked out of it, while its owner, coming from elsewhere, is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import case, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from chassis.client_address import throttle_key
from chassis.errors import TooManyRequests
from users_app import clock
from users_app.models import SignInFailures, db
from users_app.parts import keyed_digest, parts

WINDOW = timedelta(minutes=15)
FAILURES_PER_ACCOUNT = 10
# Each sends a notice to the address before: nobody is to be flooded with them.
EMAIL_CHANGES_PER_ACCOUNT = 3


def refuse_hammering(address: str) -> None:
    """Raises TooManyRequests for an address with too many failures, whatever the account."""
    query = select(SignInFailures).where(SignInFailures.key == address_key(address))
    found = db.session.scalar(query)
    limit = parts().settings.sign_in_failures_per_address
    if found and found.failures >= limit and found.window_ends > clock.now():
        wait = found.window_ends - clock.now()
        raise TooManyRequests(
            "Too many failed sign-ins from here: try again later.",
            retry_after=int(wait.total_seconds()) + 1,
        )


@dataclass(frozen=True, slots=True)
class Failures:
    """Failures in the window, of an account from an address and of the address on all."""

    of_pair: int
    of_address: int

    @property
    def allowed(self) -> bool:
        """Whether the attempt's outcome may still be believed."""
        return self.of_pair <= FAILURES_PER_ACCOUNT

    @property
    def audited(self) -> bool:
        """Whether it belongs in the audit trail: of those that were refused, the first does."""
        return self.of_pair <= FAILURES_PER_ACCOUNT + 1

    @property
    def ends_here(self) -> bool:
        """Whether it is the last one that the address has."""
        return self.of_address == parts().settings.sign_in_failures_per_address


def count_attempt(subject: str, address: str) -> Failures:
    """Counts an attempt as failed; returns the failures, this one included.

    Call it in the transaction that judges the attempt: parallel guesses queue on the row,
    so none of them slips in over the limit.
    """
    of_address = add_failure(address_key(address))
    return Failures(add_failure(pair_key(subject, address)), of_address)


def forgive(subject: str, address: str) -> None:
    """Takes back what `count_attempt` counted: the sign-in was right."""
    pair = SignInFailures.key == pair_key(subject, address)
    db.session.execute(delete(SignInFailures).where(pair))
    of_address = update(SignInFailures).where(SignInFailures.key == address_key(address))
    db.session.execute(of_address.values(failures=SignInFailures.failures - 1))


def count_email_change(account_id: int) -> None:
    """Raises TooManyRequests for one too many in the window; call it in the change's own."""
    if add_failure(digest(f"email of account {account_id}")) > EMAIL_CHANGES_PER_ACCOUNT:
        raise TooManyRequests(
            f"The email may be changed {EMAIL_CHANGES_PER_ACCOUNT} times in 15 minutes.",
            retry_after=int(WINDOW.total_seconds()),
        )


def add_failure(key: str) -> int:
    """Returns the failures in the key's window, this one included."""
    now = clock.now()
    dialect = sqlite if db.engine.dialect.name == "sqlite" else postgresql
    fresh = dialect.insert(SignInFailures).values(key=key, failures=1, window_ends=now + WINDOW)
    over = SignInFailures.window_ends <= now
    statement = fresh.on_conflict_do_update(
        index_elements=[SignInFailures.key],
        set_={
            "failures": case((over, 1), else_=SignInFailures.failures + 1),
            "window_ends": case((over, now + WINDOW), else_=SignInFailures.window_ends),
        },
    ).returning(SignInFailures.failures)
    return int(db.session.execute(statement).scalar_one())


def pair_key(subject: str, address: str) -> str:
    return digest(f"{subject} from {throttle_key(address)}")


def address_key(address: str) -> str:
    return digest(f"from {throttle_key(address)}")


def digest(text: str) -> str:
    # Keyed: people type passwords into the name field, and addresses are personal.
    return keyed_digest("throttle", text.encode()).hex()
