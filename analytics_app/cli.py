"""`flask --app analytics_app …`: maintenance and care of the data."""

from __future__ import annotations

import click
from flask import Flask

from analytics_app import maintenance
from analytics_app.models import db
from analytics_app.services import services


def install(app: Flask) -> None:
    """Adds the commands to the app."""
    app.cli.add_command(maintain)


@click.command()
@click.option("--once", is_flag=True, help="One round, then end.")
def maintain(once: bool) -> None:
    """Keep partitions ahead, fold slots, drop what retention says; until stopped."""
    settings = services().settings
    if once:
        maintenance.run_round(db, settings, maintenance.now())
    else:
        maintenance.run_for_ever(db, settings)
