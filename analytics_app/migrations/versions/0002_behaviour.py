"""Sealed days, saved reports and annotations."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    create_sealed()
    create_records()


def create_sealed() -> None:
    op.create_table(
        "sealed_days",
        sa.Column("day", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("ready", sa.Boolean(), nullable=False),
    )
    op.create_table(
        "dirty_days", sa.Column("day", sa.Integer(), primary_key=True, autoincrement=False)
    )
    op.create_table(
        "sealed_columns",
        sa.Column("event_type", sa.String(100), primary_key=True),
        sa.Column("name", sa.String(201), primary_key=True),
        sa.Column("day", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        # Packed already: compressing it again would only cost time at every read.
        op.execute("ALTER TABLE sealed_columns ALTER COLUMN data SET STORAGE EXTERNAL")


def create_records() -> None:
    op.create_table(
        "saved_reports",
        sa.Column("id", BIG_KEY, sa.Identity(), primary_key=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("report", sa.String(20), nullable=False),
        sa.Column("query", sa.String(4000), nullable=False),
        sa.Column("created_by", sa.BigInteger()),
        sa.Column("created_at", TIME, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "annotations",
        sa.Column("id", BIG_KEY, sa.Identity(), primary_key=True),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("text", sa.String(200), nullable=False),
        sa.Column("created_by", sa.BigInteger()),
        sa.Column("created_at", TIME, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_annotations_day", "annotations", ["day"])


def downgrade() -> None:
    op.drop_index("ix_annotations_day", "annotations")
    for table in ("annotations", "saved_reports", "sealed_columns", "dirty_days", "sealed_days"):
        op.drop_table(table)
