"""How mails are sent: once, or the same again; kept with the reason where they are refused."""

from __future__ import annotations

import json
import re
import smtplib
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.test import TestResponse

from chassis.database import transaction
from tests.servers import wait_until
from tests.smtp import SmtpServer, running, smtp_server
from tests.unit.users.conftest import PASSWORD, Clock, MakeApp, Person, register
from tests.unit.users.mailbox import code_in, deliver, mails
from users_app import clock
from users_app.mails import put_mail
from users_app.models import Mail, PasswordReset, db
from users_app.relay import housekeeping, mailer, smtp
from users_app.relay.senders import MAX_UNDER_WAY, Senders

ADDRESS = "ada@example.com"
MINUTES = 60


@pytest.fixture
def server() -> Iterator[SmtpServer]:
    with smtp_server() as made:
        yield made


@pytest.fixture
def app(make_app: MakeApp, server: SmtpServer) -> Flask:
    """Returns the app with the mail server, and ada's account in it."""
    made = make_app(**by_smtp(server))
    register(made.test_client(), "ada")
    return made


def by_smtp(server: SmtpServer, **changed: object) -> dict[str, object]:
    where = {"smtp_host": "127.0.0.1", "smtp_port": server.port, "smtp_security": "none"}
    return {**where, "mail_from": "Footfall <post@footfall.test>", **changed}


def ask(app: Flask, email: str = ADDRESS) -> None:
    answer = app.test_client().post("/password-reset", json={"email": email})
    assert answer.status_code == 202


def confirm(app: Flask, code: str) -> TestResponse:
    body = {"token": code, "new_password": "a new long password"}
    return app.test_client().post("/password-reset/confirm", json=body)


def give_up_unanswered(app: Flask, server: SmtpServer, clock: Clock) -> None:
    """Asks for a reset, whose mail is given up after three tries without an answer."""
    server.refusals["END"] = ""
    ask(app)
    for _ in range(3):
        deliver(app)
        clock.forward(minutes=11)


def waiting(app: Flask) -> list[Mail]:
    with app.app_context():
        return list(db.session.scalars(select(Mail).order_by(Mail.id)))


def attempts(app: Flask) -> dict[str, int]:
    """Returns how attempts ended, as the metrics tell it."""
    text = app.test_client().get("/metrics").get_data(as_text=True)
    found = re.findall(r'mail_attempts_total\{outcome="(\w+)"\} ([\d.]+)', text)
    return {outcome: int(float(number)) for outcome, number in found if float(number)}


def run(app: Flask, *words: str) -> str:
    done = app.test_cli_runner().invoke(args=["mails", *words])
    assert done.exit_code == 0, done.output
    return str(done.output)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_server_that_answers_after_eleven_seconds_gets_one_mail_and_its_link_holds(
    app: Flask, server: SmtpServer, moving_clock: Clock
) -> None:
    server.seconds_after_data = 11
    ask(app)
    deliver(app)
    moving_clock.forward(minutes=6)
    deliver(app)
    (taken,) = server.taken
    assert waiting(app) == []
    assert confirm(app, code_in(taken.message)).status_code == 204


def test_each_answer_is_waited_for_as_long_as_rfc_5321_has_it(
    app: Flask, server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience: list[tuple[str, float | None]] = []
    said: list[str] = ["connect"]
    read, send = smtplib.SMTP.getreply, smtplib.SMTP.send

    def watched(self: smtplib.SMTP) -> tuple[int, bytes]:
        assert self.sock
        patience.append((said[-1], self.sock.gettimeout()))
        return read(self)

    def heard(self: smtplib.SMTP, text: str | bytes) -> None:
        said.append("the mail" if isinstance(text, bytes) else text.split()[0])
        send(self, text)

    monkeypatch.setattr(smtplib.SMTP, "getreply", watched)
    monkeypatch.setattr(smtplib.SMTP, "send", heard)
    ask(app)
    deliver(app)
    assert len(server.taken) == 1
    assert patience == [
        ("connect", 5 * MINUTES), ("ehlo", 5 * MINUTES), ("mail", 5 * MINUTES),
        ("rcpt", 5 * MINUTES), ("data", 10 * MINUTES), ("the mail", 10 * MINUTES), ("quit", 5),
    ]  # fmt: skip


def test_a_mail_without_an_answer_is_sent_again_the_same_and_then_kept(
    app: Flask, server: SmtpServer, moving_clock: Clock
) -> None:
    server.refusals["END"] = ""
    ask(app)
    for minutes in (0, 6, 11, 24 * 60):
        moving_clock.forward(minutes=minutes)
        if minutes < 12:
            assert deliver(app) == 1
        assert deliver(app) == 0, "not at once, and not a fourth time"
    assert len(server.taken) == 3
    assert len({each.octets for each in server.taken}) == 1, "Message-ID, date and link too"
    (left,) = waiting(app)
    assert left.dead_at is not None
    assert "no answer" in str(left.last_error)
    assert attempts(app) == {"unanswered": 3}


def test_the_link_of_a_mail_without_an_answer_holds(
    app: Flask, server: SmtpServer, moving_clock: Clock
) -> None:
    give_up_unanswered(app, server, moving_clock)
    assert confirm(app, code_in(server.taken[0].message)).status_code == 204


def test_a_code_that_was_used_is_not_sent_again_and_stays_dead(
    app: Flask, server: SmtpServer, moving_clock: Clock
) -> None:
    server.refusals["END"] = ""
    ask(app)
    deliver(app)
    code = code_in(server.taken[0].message)
    assert confirm(app, code).status_code == 204
    moving_clock.forward(minutes=6)
    deliver(app)
    assert len(server.taken) == 1
    assert waiting(app) == []
    assert confirm(app, code).status_code == 422


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "END"])
def test_a_mail_that_is_refused_for_good_is_kept_and_not_sent_again(
    app: Flask, server: SmtpServer, moving_clock: Clock, verb: str
) -> None:
    server.refusals[verb] = "550 5.1.1 no such mailbox"
    ask(app)
    deliver(app)
    server.refusals.clear()
    moving_clock.forward(days=10)
    deliver(app)
    assert server.taken == []
    (left,) = waiting(app)
    assert left.dead_at is not None
    assert str(left.last_error) == "SMTP 550: 550 5.1.1 no such mailbox"
    assert attempts(app) == {"refused": 1}
    with app.app_context():
        assert db.session.scalars(select(PasswordReset)).all() == [], "nobody has its code"


def test_a_mail_that_fails_kills_no_code_but_its_own(app: Flask, server: SmtpServer) -> None:
    register(app.test_client(), "bob")
    ask(app)
    deliver(app)
    server.refusals["RCPT"] = "550 no such mailbox"
    ask(app, "bob@example.com")
    deliver(app)
    with app.app_context():
        assert len(db.session.scalars(select(PasswordReset)).all()) == 1
    assert confirm(app, code_in(server.taken[0].message)).status_code == 204


@pytest.mark.parametrize(
    ("verb", "line", "outcome"),
    [
        ("MAIL", "451 later", "deferred"), ("RCPT", "450 4.2.0 greylisted", "deferred"),
        ("DATA", "421 closing", "deferred"), ("END", "452 full", "deferred"),
        ("CONNECT", "421 busy", "deferred"), ("CONNECT", "554 not here", "deferred"),
        ("EHLO", "421 busy", "deferred"), ("EHLO", "", "unreachable"),
        ("CONNECT", "", "unreachable"), ("RCPT", "", "unreachable"), ("DATA", "", "unreachable"),
        ("MAIL", "530 sign in first", "login"), ("END", "nonsense", "unanswered"),
    ],
)  # fmt: skip
def test_what_may_pass_is_tried_again(
    app: Flask, server: SmtpServer, moving_clock: Clock, verb: str, line: str, outcome: str
) -> None:
    server.refusals[verb] = line
    ask(app)
    assert deliver(app) == 1
    assert deliver(app) == 0, "not at once"
    assert attempts(app) == {outcome: 1}
    server.refusals.clear()
    moving_clock.forward(minutes=5)
    assert deliver(app) == 1
    assert confirm(app, code_in(server.taken[-1].message)).status_code == 204
    assert waiting(app) == []
    assert attempts(app) == {outcome: 1, "sent": 1}


def test_a_server_that_is_down_for_half_an_hour_gets_the_mail_after_it(
    make_app: MakeApp, moving_clock: Clock
) -> None:
    app = make_app(smtp_host="127.0.0.1", smtp_port=9, smtp_security="none")
    register(app.test_client(), "ada")
    ask(app)
    for _ in range(6):
        assert deliver(app) == 1
        moving_clock.forward(minutes=5)
    assert attempts(app) == {"unreachable": 6}
    assert [each.dead_at for each in waiting(app)] == [None]


def test_a_login_that_is_refused_costs_no_mail(
    make_app: MakeApp, server: SmtpServer, moving_clock: Clock
) -> None:
    app = make_app(**by_smtp(server, smtp_username="me", smtp_password="secret"))
    register(app.test_client(), "ada")
    server.refusals["AUTH"] = "535 5.7.8 wrong password"
    ask(app)
    deliver(app)
    assert attempts(app) == {"login": 1}
    server.refusals.clear()
    moving_clock.forward(minutes=5)
    deliver(app)
    assert len(server.taken) == len(server.logins) == 1


@pytest.mark.parametrize("line", ["421 closing", "500 what?", ""])
def test_what_is_said_to_the_leave_taking_doesnt_undo_the_mail(
    app: Flask, server: SmtpServer, moving_clock: Clock, line: str
) -> None:
    server.refusals["QUIT"] = line
    ask(app)
    deliver(app)
    moving_clock.forward(days=1)
    deliver(app)
    assert len(server.taken) == 1
    assert waiting(app) == []


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Returns what a server of 127.0.0.1 shows, trusted by this process."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    chain = tmp_path / "server.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain.write_bytes(secret + made.public_bytes(Encoding.PEM))
    monkeypatch.setenv("SSL_CERT_FILE", str(chain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context


def test_starttls_comes_before_the_login_and_the_mail(
    make_app: MakeApp, certificate: ssl.SSLContext
) -> None:
    with running(SmtpServer(context=certificate)) as server:
        security = {"smtp_security": "starttls", "smtp_username": "me", "smtp_password": "secret"}
        app = make_app(**by_smtp(server, **security))
        register(app.test_client(), "ada")
        ask(app)
        deliver(app)
    assert len(server.taken) == len(server.logins) == 1


def test_tls_from_the_beginning(make_app: MakeApp, certificate: ssl.SSLContext) -> None:
    server = SmtpServer()
    server.socket = certificate.wrap_socket(server.socket, server_side=True)
    with running(server):
        app = make_app(**by_smtp(server, smtp_security="tls"))
        register(app.test_client(), "ada")
        ask(app)
        deliver(app)
    assert len(server.taken) == 1


@pytest.mark.parametrize("trouble", ["none offered", "refused", "a stranger's certificate"])
def test_without_the_encryption_that_is_set_nothing_is_sent_and_nothing_lost(
    make_app: MakeApp, certificate: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    offered = None if trouble == "none offered" else certificate
    with running(SmtpServer(context=offered)) as server:
        if trouble == "refused":
            server.refusals["STARTTLS"] = "454 not now"
        if trouble == "a stranger's certificate":
            monkeypatch.delenv("SSL_CERT_FILE")
        app = make_app(**by_smtp(server, smtp_security="starttls"))
        register(app.test_client(), "ada")
        ask(app)
        deliver(app)
    assert server.taken == []
    assert attempts(app) == {"login": 1}
    assert [each.dead_at for each in waiting(app)] == [None]


@pytest.fixture
def holding(server: SmtpServer) -> Iterator[SmtpServer]:
    """Returns the server that takes mails and doesn't answer until the test is over."""
    server.hold.clear()
    yield server
    server.hold.set()


def test_a_mail_that_waits_for_its_answer_holds_up_no_other(
    app: Flask, holding: SmtpServer
) -> None:
    with app.app_context():
        for number in range(MAX_UNDER_WAY + 2):
            with transaction(db.session):
                put_mail("email_changed", f"{number}@example.com")
        senders = Senders(app)
        assert senders.work() == MAX_UNDER_WAY
        wait_until("mails under way", lambda: len(holding.taken) == MAX_UNDER_WAY)
        assert senders.work() == 0, "the others wait for a place"
        assert len(senders.under_way) == MAX_UNDER_WAY
        holding.hold.set()
        wait_until("the senders' end", lambda: senders.work() == 0 and not senders.under_way)
    assert len(holding.taken) == MAX_UNDER_WAY + 2
    assert waiting(app) == []


def test_no_second_relay_takes_a_mail_that_is_under_way(
    app: Flask, holding: SmtpServer, moving_clock: Clock
) -> None:
    ask(app)
    with app.app_context():
        first, second = Senders(app), Senders(app)
        first.begin()
        for _ in range(20):
            moving_clock.forward(seconds=30)
            first.renewed = float("-inf")
            first.renew()
            assert second.begin() == 0
        moving_clock.forward(seconds=61)
        assert second.begin() == 1, "a relay that was killed renews nothing"
        holding.hold.set()
        second.finish(60)
        first.finish(60)
    assert len({each.message["Message-ID"] for each in holding.taken}) == 1
    assert waiting(app) == []


def test_who_comes_late_doesnt_change_what_another_relay_has_claimed(
    app: Flask, server: SmtpServer, moving_clock: Clock
) -> None:
    ask(app)
    with app.app_context():
        (late,) = mailer.claim(1)
        moving_clock.forward(seconds=61)
        (present,) = mailer.claim(1)
        mailer.settle(late, smtp.Failure(smtp.DEFERRED, "SMTP 451"))
        mailer.renew([late])
        moving_clock.forward(seconds=59)
        assert mailer.claim(1) == [], "the second one's minute isn't over"
        mailer.settle(present, smtp.Failure(smtp.REFUSED, "SMTP 550"))
        mailer.settle(late, smtp.Failure(smtp.DEFERRED, "SMTP 451"))
    moving_clock.forward(days=1)
    assert deliver(app) == 0


def test_at_the_end_what_is_unanswered_is_left_to_be_sent_again(
    app: Flask, holding: SmtpServer, moving_clock: Clock
) -> None:
    ask(app)
    with app.app_context():
        senders = Senders(app)
        senders.begin()
        wait_until("a mail under way", lambda: len(holding.taken) == 1)
        senders.finish(0.1)
    holding.hold.set()
    moving_clock.forward(seconds=61)
    assert deliver(app) == 1
    first, second = holding.taken
    assert first.octets == second.octets
    assert confirm(app, code_in(first.message)).status_code == 204


def test_a_conversation_without_end_is_broken_off(app: Flask, holding: SmtpServer) -> None:
    ask(app)
    with app.app_context():
        senders = Senders(app)
        senders.begin()
        wait_until("a mail under way", lambda: len(holding.taken) == 1)
        senders.under_way[0].begun = float("-inf")
        wait_until("its settling", lambda: senders.settle() == 1)
    assert attempts(app) == {"unanswered": 1}


def test_a_mail_that_went_is_settled_though_the_database_was_away(
    app: Flask, server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(app)
    with app.app_context():
        senders = Senders(app)
        senders.begin()
        wait_until("the senders' answers", lambda: all(each.is_over for each in senders.under_way))
        with monkeypatch.context() as away:
            away.setattr(mailer, "remove", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                senders.settle()
        assert senders.settle() == 1
    assert waiting(app) == []


def test_a_mail_that_can_not_be_written_holds_up_no_other(app: Flask, server: SmtpServer) -> None:
    with app.app_context(), transaction(db.session):
        put_mail("email_changed", "ada@example.com\r\nBcc: eve@example.com")
        put_mail("email_changed", "bob@example.com")
    deliver(app)
    assert [each.recipients for each in server.taken] == [["bob@example.com"]]
    (left,) = waiting(app)
    assert left.dead_at is not None
    assert attempts(app) == {"refused": 1, "sent": 1}


def test_a_bug_while_sending_loses_no_mail(
    app: Flask, server: SmtpServer, moving_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(smtp, "hand_over", lambda *_: 1 / 0)
        ask(app)
        deliver(app)
    moving_clock.forward(minutes=6)
    deliver(app)
    assert len(server.taken) == 1


def test_a_reset_is_not_sent_once_its_code_has_ended(
    app: Flask, server: SmtpServer, moving_clock: Clock
) -> None:
    server.refusals["RCPT"] = "450 later"
    ask(app)
    deliver(app)
    server.refusals.clear()
    moving_clock.forward(minutes=61)
    deliver(app)
    assert server.taken == []
    assert waiting(app) == []
    assert attempts(app) == {"deferred": 1, "expired": 1}


def test_a_reset_that_waited_for_the_relay_gets_its_whole_hour(
    app: Flask, server: SmtpServer, moving_clock: Clock
) -> None:
    ask(app)
    moving_clock.forward(hours=3)
    deliver(app)
    moving_clock.forward(minutes=59)
    assert confirm(app, code_in(server.taken[0].message)).status_code == 204


def test_an_invite_that_has_expired_is_not_mailed(
    app: Flask, server: SmtpServer, moving_clock: Clock
) -> None:
    admin = Person.__new__(Person)
    admin.client, admin.name = app.test_client(), "ada"
    admin.tokens = admin.sign_in().get_json()
    assert admin.call("POST", "/invites", json={"email": "bob@example.com"}).status_code == 201
    moving_clock.forward(days=7)
    deliver(app)
    assert server.taken == []
    assert waiting(app) == []


def test_other_mails_are_tried_for_five_days_and_then_kept(
    app: Flask, server: SmtpServer, moving_clock: Clock
) -> None:
    server.refusals["RCPT"] = "450 later"
    with app.app_context(), transaction(db.session):
        put_mail("email_changed", ADDRESS)
    for days in (0, 1, 3.9, 0.2):
        moving_clock.forward(days=days)
        assert deliver(app) == 1
    (left,) = waiting(app)
    assert left.dead_at is not None
    assert attempts(app) == {"deferred": 3, "expired": 1}


def test_the_heads_say_who_sent_it_and_that_no_person_did(app: Flask, server: SmtpServer) -> None:
    ask(app)
    deliver(app)
    message = server.taken[0].message
    assert re.fullmatch(r"<[\w-]{24}@footfall\.test>", message["Message-ID"])
    assert message["Auto-Submitted"] == "auto-generated"
    assert abs(message["Date"].datetime - clock.now()) < timedelta(minutes=1)


def test_a_message_id_has_the_senders_domain_as_dns_knows_it(
    make_app: MakeApp, server: SmtpServer
) -> None:
    app = make_app(**by_smtp(server, mail_from="post@bücher.example"))
    register(app.test_client(), "ada")
    ask(app)
    deliver(app)
    assert server.taken[0].message["Message-ID"].endswith("@xn--bcher-kva.example>")


def test_two_mails_never_share_a_message_id(app: Flask, server: SmtpServer) -> None:
    with app.app_context(), transaction(db.session):
        for _ in range(3):
            put_mail("email_changed", ADDRESS)
    deliver(app)
    assert len({each.message["Message-ID"] for each in server.taken}) == 3


def test_mails_of_one_moment_are_a_file_each(
    make_app: MakeApp, moving_clock: Clock, tmp_path: Path
) -> None:
    app = make_app(mail_dir=str(tmp_path))
    with app.app_context(), transaction(db.session):
        for number in range(12):
            put_mail("email_changed", f"{number}@example.com")
    deliver(app)
    assert [mail["To"] for mail in mails(tmp_path)] == [f"{n}@example.com" for n in range(12)]


def test_a_second_copy_of_a_file_takes_the_place_of_the_first(
    make_app: MakeApp, moving_clock: Clock, tmp_path: Path
) -> None:
    app = make_app(mail_dir=str(tmp_path))
    register(app.test_client(), "ada")
    ask(app)
    with app.app_context():
        senders = Senders(app)
        senders.begin()
        wait_until("the senders' answers", lambda: all(each.is_over for each in senders.under_way))
    moving_clock.forward(minutes=2)
    deliver(app)
    assert len(mails(tmp_path)) == 1


def test_mails_that_were_given_up_are_listed_and_sent_again_or_discarded(
    app: Flask, server: SmtpServer
) -> None:
    server.refusals["RCPT"] = "550 no such mailbox"
    with app.app_context(), transaction(db.session):
        for name in ("bob", "eve"):
            put_mail("email_changed", f"{name}@example.com")
    deliver(app)
    server.refusals.clear()
    found = [json.loads(line) for line in run(app, "list", "--dead").splitlines()]
    assert [each["recipient"] for each in found] == ["bob@example.com", "eve@example.com"]
    assert found[0]["last_error"] == "SMTP 550: 550 no such mailbox"
    assert run(app, "discard", str(found[1]["id"])) == "Discarded 1.\n"
    assert run(app, "requeue", "--all") == "Requeued 1.\n"
    deliver(app)
    assert [each.recipients for each in server.taken] == [["bob@example.com"]]
    assert run(app, "list") == ""


def test_mails_that_still_wait_are_neither_requeued_nor_discarded(app: Flask) -> None:
    ask(app)
    assert run(app, "requeue", "--all") == "Requeued 0.\n"
    assert run(app, "discard", "--all") == "Discarded 0.\n"
    assert len(waiting(app)) == 1


def test_a_reset_sent_again_by_hand_has_a_new_code_under_a_new_message_id(
    app: Flask, server: SmtpServer, moving_clock: Clock
) -> None:
    give_up_unanswered(app, server, moving_clock)
    server.refusals.clear()
    moving_clock.forward(days=3)
    run(app, "requeue", "--all")
    deliver(app)
    first, *_, last = (each.message for each in server.taken)
    assert first["Message-ID"] != last["Message-ID"]
    assert code_in(first) != code_in(last)
    assert confirm(app, code_in(last)).status_code == 204


def test_a_mail_given_up_goes_after_a_month_or_with_its_account(
    app: Flask, server: SmtpServer, moving_clock: Clock
) -> None:
    server.refusals["RCPT"] = "550 no such mailbox"
    person = Person(app.test_client(), "bob")
    ask(app)
    ask(app, "BOB@example.com")
    deliver(app)
    assert len(waiting(app)) == 2
    answer = person.call("DELETE", "/users/me", json={"current_password": PASSWORD})
    assert answer.status_code == 204
    assert [each.recipient for each in waiting(app)] == [ADDRESS]
    moving_clock.forward(days=30)
    with app.app_context():
        housekeeping.remove_expired()
    assert waiting(app) == []


def test_mails_are_measured(app: Flask, server: SmtpServer, moving_clock: Clock) -> None:
    assert gauges(app) == {"mails_pending": 0, "mails_oldest_age_seconds": 0, "mails_dead": 0}
    server.refusals["RCPT"] = "550 no such mailbox"
    ask(app)
    deliver(app)
    ask(app)
    moving_clock.forward(seconds=90)
    assert gauges(app) == {"mails_pending": 1, "mails_oldest_age_seconds": 90, "mails_dead": 1}
    text = app.test_client().get("/metrics").get_data(as_text=True)
    for outcome in mailer.OUTCOMES:
        assert f'mail_attempts_total{{outcome="{outcome}"}}' in text, "0, before the first"


def gauges(app: Flask) -> dict[str, float]:
    client: FlaskClient = app.test_client()
    lines = client.get("/metrics").get_data(as_text=True).splitlines()
    return {line.split()[0]: float(line.split()[1]) for line in lines if line.startswith("mails_")}


def test_no_log_line_holds_what_the_server_said_of_the_address(
    app: Flask, server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    for level in ("info", "warning", "error"):
        monkeypatch.setattr(mailer.log, level, lambda text, **given: said.append(f"{text} {given}"))
    for line in ("550 no ada@example.com here", "450 ada@example.com later"):
        server.refusals["RCPT"] = line
        ask(app)
        deliver(app)
    assert len(said) == 2
    assert "ada@" not in str(said)
