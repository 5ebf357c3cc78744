"""Commands: relay, create-admin, rotate-keys; outbox list | requeue | drain; mails."""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path

import click
from flask import Flask, current_app
from flask.cli import AppGroup, with_appcontext

from chassis.errors import Conflict
from chassis.schema import LARGEST_ID, rfc3339
from users_app import clock, key_file, names, passwords, relay
from users_app.accounts.register import create_admin
from users_app.models import Mail, OutboxMessage
from users_app.origin import COMMAND
from users_app.parts import parts
from users_app.relay import mailer, queue
from users_app.relay.receiver import Receiver

outbox = AppGroup("outbox", help="What waits for analytics.")
mails = AppGroup("mails", help="Mails that wait, and those that were given up.")


def install(app: Flask) -> None:
    """Adds the commands to `flask --app users_app`."""
    for command in (run_relay, add_admin, rotate_keys, outbox, mails):
        app.cli.add_command(command)


@click.command("relay")
@with_appcontext
def run_relay() -> None:
    """Deliver events to analytics, and mails, until SIGTERM."""
    relay.run(current_app._get_current_object())  # type: ignore[attr-defined]


@click.command("create-admin")
@click.option("--email", required=True, help="The admin's email address.")
@click.option("--username", required=True, help="The admin's username.")
@click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input, as a line."
)
@with_appcontext
def add_admin(email: str, username: str, password_stdin: bool) -> None:
    """Make an account with the role admin; asks for its password."""
    address = checked(names.email, email, "--email")
    name = checked(names.username, username, "--username")
    password = given_password(from_stdin=password_stdin)
    if found := passwords.complaints(password, name):
        raise click.ClickException("The password " + " and ".join(found) + ".")
    try:
        account = create_admin(email=address, username=name, password=password, origin=COMMAND)
    except Conflict as error:
        raise click.ClickException(error.detail) from None
    click.echo(f"Admin {account.username} has the id {account.id}.")


def checked(check: object, text: str, option: str) -> str:
    try:
        return str(check(text))  # type: ignore[operator]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from None


def given_password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))


@click.command("rotate-keys")
@click.option(
    "--step", type=click.Choice(key_file.STEPS), help="Take this step, not the one that is due."
)
@click.option("--now", "at_once", is_flag=True, help="Don't wait for verifiers and old tokens.")
@with_appcontext
def rotate_keys(step: str | None, at_once: bool) -> None:
    """Take the next step of a key rotation: publish, then sign, then retire.

    Rewrites the file that JWT_PRIVATE_KEY_FILE names. After each step reload the users
    service (SIGHUP to gunicorn); no request is lost. The relay needs no reload.
    """
    life = timedelta(minutes=parts().settings.access_token_minutes)
    try:
        taken, kids = key_file.rotate(key_path(), step, clock.now(), life, at_once=at_once)
    except (key_file.RotationRefused, OSError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{taken}: {kids[0]} signs; published: {', '.join(kids)}.")
    click.echo("Reload the users service now.")


def key_path() -> Path:
    path = os.environ.get("JWT_PRIVATE_KEY_FILE")
    if not path:
        raise click.ClickException("JWT_PRIVATE_KEY_FILE is not set: there is no file to rewrite.")
    return Path(path)


@outbox.command("list")
@click.option("--dead", "dead_only", is_flag=True, help="Only what analytics refused.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@with_appcontext
def list_outbox(dead_only: bool, limit: int) -> None:
    """List what waits, oldest first: one JSON object a line."""
    for row in queue.listed(dead_only=dead_only, limit=limit):
        click.echo(json.dumps(listed_row(row)))


def listed_row(row: OutboxMessage) -> dict[str, object]:
    return {
        "id": row.id,
        "kind": row.kind,
        "event_type": row.event_type,
        "user_id": row.user_id,
        "created_at": rfc3339(row.created_at),
        "attempts": row.attempts,
        "dead": row.dead_at is not None,
        "last_error": row.last_error,
    }


@outbox.command("requeue")
@click.argument("ids", nargs=-1, type=click.IntRange(min=1, max=LARGEST_ID))
@click.option("--all", "every", is_flag=True, help="All dead messages.")
@with_appcontext
def requeue(ids: tuple[int, ...], every: bool) -> None:
    """Send dead messages again: those with these IDs, or --all."""
    click.echo(f"Requeued {queue.requeue(named(ids, every=every))}.")


def named(ids: tuple[int, ...], *, every: bool) -> list[int]:
    """Returns the ids, none of them meaning all, which has to be said."""
    if bool(ids) == every:
        raise click.UsageError("Name the ids, or say --all.")
    return list(ids)


@outbox.command("drain")
@click.option("--timeout", default=60, show_default=True, type=click.IntRange(min=1))
@with_appcontext
def drain(timeout: int) -> None:
    """Deliver all that waits, and end; fails if something is left after --timeout seconds."""
    receiver, deadline = Receiver(parts().settings.analytics_url), time.monotonic() + timeout
    while (left := queue.backlog().pending) and time.monotonic() < deadline:
        outcome = queue.deliver_some(receiver) or queue.erase_some(receiver)
        if outcome is None or outcome.trouble:
            time.sleep(0.5)
    if left:
        raise click.ClickException(f"{left} messages still wait: is analytics up?")
    click.echo("The outbox is empty.")


@mails.command("list")
@click.option("--dead", "dead_only", is_flag=True, help="Only what was given up.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@with_appcontext
def list_mails(dead_only: bool, limit: int) -> None:
    """List the mails, oldest first: one JSON object a line. It holds addresses."""
    for mail in mailer.listed(dead_only=dead_only, limit=limit):
        click.echo(json.dumps(listed_mail(mail)))


def listed_mail(mail: Mail) -> dict[str, object]:
    return {
        "id": mail.id,
        "kind": mail.kind,
        "recipient": mail.recipient,
        "created_at": rfc3339(mail.created_at),
        "attempts": mail.attempts,
        "dead": mail.dead_at is not None,
        "last_error": mail.last_error,
    }


@mails.command("requeue")
@click.argument("ids", nargs=-1, type=click.IntRange(min=1, max=LARGEST_ID))
@click.option("--all", "every", is_flag=True, help="All mails that were given up.")
@with_appcontext
def requeue_mails(ids: tuple[int, ...], every: bool) -> None:
    """Send mails that were given up again: those with these IDs, or --all."""
    click.echo(f"Requeued {mailer.requeue(named(ids, every=every))}.")


@mails.command("discard")
@click.argument("ids", nargs=-1, type=click.IntRange(min=1, max=LARGEST_ID))
@click.option("--all", "every", is_flag=True, help="All mails that were given up.")
@with_appcontext
def discard_mails(ids: tuple[int, ...], every: bool) -> None:
    """Remove mails that were given up: those with these IDs, or --all."""
    click.echo(f"Discarded {mailer.discard(named(ids, every=every))}.")
