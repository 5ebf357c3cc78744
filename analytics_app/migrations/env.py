"""Migrates the analytics service's database."""

from analytics_app.models import db
from chassis import migrate

migrate.run(db.metadata, "ANALYTICS_DATABASE_URL")
