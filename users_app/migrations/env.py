"""Migrates the users service's database: `alembic -n users upgrade head`."""

from __future__ import annotations

from chassis import migrate
from users_app.models import db

migrate.run(db.metadata, "USERS_DATABASE_URL")
