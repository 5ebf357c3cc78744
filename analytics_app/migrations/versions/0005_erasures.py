"""Erasures that are deleted slice by slice."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
OPEN = sa.text("finished_at IS NULL")


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column("id", BIG_KEY, sa.Identity(), primary_key=True),
        sa.Column("actor", sa.BigInteger(), nullable=False),
        sa.Column("before", TIME, nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("erased", sa.BigInteger(), nullable=False),
        sa.Column("requested_at", TIME, nullable=False),
        sa.Column("finished_at", TIME),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "erasures_open",
        "erasures",
        ["actor"],
        unique=True,
        postgresql_where=OPEN,
        sqlite_where=OPEN,
    )


def downgrade() -> None:
    finish_what_is_open()
    op.drop_table("erasures")


def finish_what_is_open() -> None:
    """Deletes the events that wait for it: without this table they would be seen again."""
    op.execute(
        "DELETE FROM events WHERE EXISTS (SELECT 1 FROM erasures e WHERE e.actor = events.actor "
        "AND events.created_at < e.before AND e.finished_at IS NULL)"
    )
