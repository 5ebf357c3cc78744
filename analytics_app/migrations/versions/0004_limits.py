"""Event types by name, what accounts have used today, no counts of zero, smaller user ids."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

MAX_USER_ID = 2**62 - 1
# Registered from the start: however many types others make, these are always taken.
OF_THE_USERS_SERVICE = (
    "user_registered",
    "user_logged_in",
    "user_login_failed",
    "user_logged_out",
    "user_updated",
    "user_password_changed",
    "user_deactivated",
    "user_reactivated",
    "user_deleted",
)


def upgrade() -> None:
    refuse_larger_user_ids()
    create_limits()
    for table, unit in (("counts", "quarter"), ("counts_day", "day")):
        delete_zeros(table, unit)
    register_types()


def refuse_larger_user_ids() -> None:
    """Stops at a user id over 2^62-1: such numbers are kept for people of other systems."""
    connection = op.get_bind()
    events = sa.table("events", sa.column("actor"))
    larger = sa.select(events.c.actor).where(events.c.actor > MAX_USER_ID).limit(1)
    found = connection.execute(larger).scalar()
    if found is not None:
        raise RuntimeError(
            f"user_id {found} is over {MAX_USER_ID}, the largest there may be from now on: "
            f"erase its events (DELETE /analytics/users/{found}/events), then migrate again."
        )
    tombstones = sa.table("tombstones", sa.column("actor"))
    op.execute(sa.delete(tombstones).where(tombstones.c.actor > MAX_USER_ID))


def create_limits() -> None:
    op.create_table(
        "event_types",
        sa.Column("event_type", sa.String(100), primary_key=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.BigInteger()),
        sa.Column("erasing", sa.Boolean(), nullable=False),
    )
    op.create_table(
        "daily_use",
        sa.Column("day", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("what", sa.String(20), primary_key=True),
        sa.Column("actor", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("used", sa.Integer(), nullable=False),
    )


def delete_zeros(table: str, unit: str) -> None:
    """Deletes the rows whose slots sum up to nothing, with writers kept out."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")
    op.execute(
        f"DELETE FROM {table} WHERE ({unit}, event_type) IN "  # noqa: S608  # nosec B608
        f"(SELECT {unit}, event_type FROM {table} "
        f"GROUP BY {unit}, event_type HAVING sum(count) = 0)"
    )


def register_types() -> None:
    own = " UNION ".join(f"SELECT '{each}' AS event_type" for each in OF_THE_USERS_SERVICE)
    op.execute(
        "INSERT INTO event_types (event_type, created_at, erasing) "  # noqa: S608  # nosec B608
        "SELECT event_type, CURRENT_TIMESTAMP, false FROM "
        f"(SELECT event_type FROM counts UNION {own}) AS known"
    )


def downgrade() -> None:
    op.drop_table("daily_use")
    op.drop_table("event_types")
