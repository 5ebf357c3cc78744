"""Events, their counts, presence, tombstones, bookkeeping and API keys."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    create_events()
    create_rollups()
    create_records()


def create_events() -> None:
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    # On SQLite only an integer primary key numbers itself.
    unique = sa.UniqueConstraint if on_sqlite else sa.PrimaryKeyConstraint
    number = [] if on_sqlite else [sa.Identity()]
    op.create_table(
        "events",
        sa.Column("id", BIG_KEY, *number, primary_key=on_sqlite, nullable=False),
        sa.Column("actor", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("user_id", sa.BigInteger()),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("event_type", sa.String(100), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=False),
        unique("actor", "created_at", "event_id"),
        postgresql_partition_by="RANGE (created_at)",
        sqlite_autoincrement=True,
    )
    op.create_index(
        "events_by_type", "events", ["event_type", "created_at"], postgresql_include=["actor"]
    )
    if on_sqlite:
        op.create_index("events_by_time", "events", ["created_at", "id"])


def create_rollups() -> None:
    for table, unit in (("counts", "quarter"), ("counts_day", "day")):
        op.create_table(
            table,
            sa.Column(unit, sa.Integer(), primary_key=True, autoincrement=False),
            sa.Column("event_type", sa.String(100), primary_key=True),
            sa.Column("slot", sa.SmallInteger(), primary_key=True, autoincrement=False),
            sa.Column("count", sa.BigInteger(), nullable=False),
        )
    op.create_table(
        "presence",
        sa.Column("day", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("actor", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("low", sa.BigInteger(), nullable=False),
        sa.Column("high", sa.BigInteger(), nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        # Their rows are updated in place, over and over, while their quarter lasts.
        for table in ("counts", "counts_day", "presence"):
            op.execute(f"ALTER TABLE {table} SET (fillfactor = 70)")


def create_records() -> None:
    op.create_table(
        "tombstones",
        sa.Column("actor", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("erased_before", TIME, nullable=False),
    )
    bookkeeping = op.create_table(
        "bookkeeping",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("reporting_zone", sa.String(64), nullable=False),
        sa.Column("days_ready", sa.Boolean(), nullable=False),
        sa.Column("dropped_before", TIME),
    )
    op.bulk_insert(bookkeeping, [{"id": 1, "reporting_zone": "UTC", "days_ready": True}])
    op.create_table(
        "api_keys",
        sa.Column("id", BIG_KEY, sa.Identity(), primary_key=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("scopes", sa.String(200), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    tables = ("api_keys", "bookkeeping", "tombstones", "presence", "counts_day", "counts", "events")
    for table in tables:
        op.drop_table(table)
