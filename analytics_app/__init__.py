"""routes -> schemas -> ingest | reports | erasure -> rollups -> models, over dialects.

The analytics service: it stores events, counts them in the same transaction, and reports.
"""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask

from analytics_app import cli, engines
from analytics_app.admission import Admission, Limits
from analytics_app.behaviour.admission import AdmissionControl
from analytics_app.config import AnalyticsSettings
from analytics_app.dialects.rows import PartitionLimits
from analytics_app.engines import REPLICA
from analytics_app.fast_lane import FastLane
from analytics_app.ingest import Ingest
from analytics_app.intake import Intake
from analytics_app.keys import KeyRing, Uses
from analytics_app.metrics import ReplicaHealth, Results, TableHealth
from analytics_app.models import Bookkeeping, db
from analytics_app.outage import Outage
from analytics_app.readers import Readers
from analytics_app.routes import (
    api_keys,
    behaviour,
    behaviour_records,
    erasures,
    events,
    export,
    reports,
    trail,
)
from analytics_app.schemas.vocabulary import VOCABULARY
from analytics_app.services import NAME, Services
from analytics_app.store import Store
from analytics_app.writers import Writers
from chassis import SERVICE_HEADERS, api_docs, assemble, config, database, tracing
from chassis.bearer import BearerAuthenticator, KeySource, RemoteKeys, Standing
from chassis.standing import RemoteStanding
from chassis.version import VERSION
from chassis.worker import LANE

FAST_HEADERS = {**SERVICE_HEADERS, "Cache-Control": "no-store"}
DESCRIPTION = (
    "Stores events and answers what happened, when, and by how many. Send an access token of the "
    "users service, or an API key, as `Authorization: Bearer …`."
)


def create_app(
    settings: AnalyticsSettings | None = None,
    keys: KeySource | None = None,
    standing: Standing | None = None,
) -> Flask:
    """Returns the analytics service; raises ConfigurationError with every complaint.

    `keys` and `standing` stand in for what the users service publishes.
    """
    settings = settings or config.load(AnalyticsSettings)
    standing = standing or RemoteStanding(settings.users_url)
    app = Flask(__name__, static_folder=None)
    engines.connect(app, db, settings)
    app.extensions[NAME] = found = services_of(app, settings)
    authenticate = BearerAuthenticator(
        app,
        audience="analytics",
        issuer=settings.jwt_issuer,
        keys=keys or RemoteKeys(f"{settings.users_url}/.well-known/jwks.json"),
        standing=standing,
        token_types=("access", "service"),
        key_lookup=found.keys.holder,
        key_known=found.keys.remembered,
    )
    proof = settings.client_address_secret
    assemble(
        app,
        settings,
        authenticate=authenticate,
        confirm=standing.confirm,
        checks={"database": lambda: database.check_writes(engines.for_erasures(db), Bookkeeping)},
        degraded_checks={"revocations": standing.check, **replica_check(settings)},
        collectors=[TableHealth(app), *replica_health(app, settings)],
        client_address_secret=proof.get_secret_value() if proof else None,
    )
    database.install(app)
    found.ingest.results.begin(app)
    for each in (events, erasures, reports, behaviour, behaviour_records, export, api_keys, trail):
        app.register_blueprint(each.routes)
    api_docs.install(
        app,
        title="Footfall analytics",
        version=VERSION,
        description=DESCRIPTION,
        vocabulary=VOCABULARY,
    )
    cli.install(app)
    if not tracing.is_on():  # a trace is of Flask's requests
        app.extensions[LANE] = FastLane(app, authenticate, found.ingest, FAST_HEADERS)
    return app


def replica_check(settings: AnalyticsSettings) -> dict[str, Callable[[], None]]:
    if settings.analytics_replica_url is None:
        return {}
    return {"replica": lambda: database.check(db.engines[REPLICA])}


def replica_health(app: Flask, settings: AnalyticsSettings) -> list[ReplicaHealth]:
    return [] if settings.analytics_replica_url is None else [ReplicaHealth(app)]


def services_of(app: Flask, settings: AnalyticsSettings) -> Services:
    with app.app_context():
        engine, lookups = db.engine, engines.for_lookups(db)
    outage = Outage()
    writers = Writers(
        engine,
        outage,
        lanes=settings.ingest_pool_size,
        timeout=settings.ingest_timeout_ms / 1000,
        partitions=PartitionLimits(
            settings.max_partitions_per_request, settings.max_partitions_by_users_a_day
        ),
    )
    ingest = Ingest(
        Intake(settings.secret_key.get_secret_value()),
        Admission(lookups, limits_of(settings)),
        Store(lookups, writers),
        Results(),
    )
    control = AdmissionControl(writers.busyness.share, settings.max_reports_at_once)
    ring = KeyRing(lookups, outage, Uses(engine))
    return Services(settings, ingest, Readers(db), ring, control)


def limits_of(settings: AnalyticsSettings) -> Limits:
    return Limits(
        types=settings.max_event_types,
        types_per_user=settings.max_event_types_per_user,
        types_by_users=settings.max_event_types_by_users,
        events_per_user_a_day=settings.max_events_per_user_a_day,
    )
