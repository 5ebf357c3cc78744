"""Finds types that are being erased without a look at the others: ingest asks for them."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ERASING = sa.text("erasing")


def upgrade() -> None:
    op.create_index(
        "event_types_erasing",
        "event_types",
        ["event_type"],
        postgresql_where=ERASING,
        sqlite_where=ERASING,
    )


def downgrade() -> None:
    op.drop_index("event_types_erasing", "event_types")
