"""The outbox's trace context: a null for the release before, which neither reads nor writes it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("outbox", sa.Column("traceparent", sa.String(55)))


def downgrade() -> None:
    op.drop_column("outbox", "traceparent")
