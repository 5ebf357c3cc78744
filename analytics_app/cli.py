"""`flask --app analytics_app …`: maintenance and care of the data."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from threading import Event

import click
from flask import Flask

from analytics_app import engines, maintenance, sweeping, verification
from analytics_app import retention as retaining
from analytics_app.behaviour import sealing
from analytics_app.models import db
from analytics_app.services import services
from analytics_app.zones import EPOCH

DAY = click.DateTime(["%Y-%m-%d"])


def install(app: Flask) -> None:
    """Adds the commands to the app."""
    for command in (maintain, verify, rebuild, seal, retention):
        app.cli.add_command(command)


@click.command()
@click.option("--once", is_flag=True, help="One round, then end.")
def maintain(once: bool) -> None:
    """Keep partitions ahead, fold slots, drop what RETENTION_DAYS says; until stopped."""
    settings = services().settings
    if once:
        maintenance.run_round(db, settings, datetime.now(UTC))
        db.session.rollback()
        sweeping.sweep(engines.for_erasures(db), Event())
    else:
        maintenance.run_for_ever(db, settings)


@click.command()
@click.option("--from", "first", type=DAY, help="The first UTC day; the oldest without it.")
@click.option("--to", "last", type=DAY, help="The last UTC day; the newest without it.")
def verify(first: datetime | None, last: datetime | None) -> None:
    """Compare every rollup with the raw events, in one snapshot; ends with 1 if any differs."""
    days = chosen_days(first, last)
    wrong = []
    with click.progressbar(
        verification.verify(db, days), length=len(days), label="Verifying", item_show_func=day_shown
    ) as found:
        for each in found:
            if each:
                wrong.append(each)
    for each in wrong:
        click.echo(
            f"{date_of(each.day)}: {len(each.counts)} counts, {len(each.days)} daily counts "
            f"and {len(each.presence)} presence rows differ"
        )
    click.echo(f"{len(days)} days verified, {len(wrong)} of them differ.")
    if sealed_wrong(days) or wrong:
        raise click.exceptions.Exit(1)


def sealed_wrong(days: range) -> bool:
    """Compares the sealed days among the days with the raw events; says which differ."""
    found = dict(sealing.wrong_days(db, days))
    for day, columns in found.items():
        if columns:
            click.echo(f"{date_of(day)}: {columns} sealed columns differ")
    wrong = sum(map(bool, found.values()))
    click.echo(f"{len(found)} sealed days verified, {wrong} of them differ.")
    return wrong > 0


@click.command()
def seal() -> None:
    """Keep every closed day in columns too, which makes behaviour reports fast."""
    due = sealing.due(db, datetime.now(UTC))
    with click.progressbar(
        sealing.seal_due(db, datetime.now(UTC)), length=len(due), label="Sealing"
    ) as days:
        done = sum(1 for _ in days)
    click.echo(f"{done} days sealed.")


@click.command()
@click.option("--from", "first", type=DAY, required=True, help="The first UTC day.")
@click.option("--to", "last", type=DAY, required=True, help="The last UTC day.")
def rebuild(first: datetime, last: datetime) -> None:
    """Make the rollups of some days what the raw events say, while writers go on."""
    days = chosen_days(first, last)
    corrected = 0
    with click.progressbar(days, label="Rebuilding", item_show_func=date_shown) as bar:
        for day in bar:
            corrected += verification.correct(db, day)
    click.echo(f"{len(days)} days rebuilt, {corrected} rows corrected.")


@click.command()
@click.option("--days", type=click.IntRange(1), help="Instead of RETENTION_DAYS.")
@click.option("--apply", "really", is_flag=True, help="Drop; without it, only say what would go.")
def retention(days: int | None, really: bool) -> None:
    """Say what retention would drop, and drop it with --apply; counts are kept."""
    kept = days or services().settings.retention_days
    if not kept:
        click.echo("RETENTION_DAYS is 0: events are kept for ever.")
        return
    cutoff = datetime.now(UTC) - timedelta(days=kept)
    found = retaining.drop(db, cutoff) if really else retaining.preview(db, cutoff)
    if found.before is None:
        click.echo(f"Nothing to drop: no month ended over {kept} days ago.")
        return
    did = "Dropped" if really else "Would drop"
    click.echo(f"{did} {found.events:,} events from before {found.before:%Y-%m-%d}.")


def chosen_days(first: datetime | None, last: datetime | None) -> range:
    """Returns the UTC days asked for, of those whose raw events are kept."""
    there = verification.days_to_check(db)
    start = number(first) if first else there.start
    stop = number(last) + 1 if last else there.stop
    return range(max(start, there.start), min(stop, there.stop))


def number(day: datetime) -> int:
    return day.toordinal() - EPOCH


def date_of(day: int) -> date:
    return date.fromordinal(day + EPOCH)


def date_shown(day: int | None) -> str:
    return "" if day is None else str(date_of(day))


def day_shown(found: verification.Differences | None) -> str:
    return "" if found is None else str(date_of(found.day))
