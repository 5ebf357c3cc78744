"""Migrates the analytics service's database."""

from analytics_app.behaviour import models as behaviour_models
from analytics_app.models import db
from chassis import migrate

assert behaviour_models  # imported for its tables
migrate.run(db.metadata, "ANALYTICS_DATABASE_URL")
