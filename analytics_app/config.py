"""What the analytics service reads from its environment."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from chassis.config import Secret, ServiceUrl, Settings, Zone
from chassis.database import DatabaseUrl

LARGEST_BATCH_BYTES = 5 * 1024 * 1024


class AnalyticsSettings(Settings):
    """The analytics service's settings; a field's name in capitals is the variable's."""

    service: ClassVar[str] = "analytics"

    analytics_database_url: DatabaseUrl
    analytics_replica_url: DatabaseUrl | None = Field(None, description="reads go there when set")
    users_url: ServiceUrl = Field("http://127.0.0.1:8001", description="publishes the JWKS")
    secret_key: Secret = Field(description="keys the hash that visitor_id is kept as")
    client_address_secret: Secret | None = None
    jwt_issuer: str = "footfall"
    reporting_timezone: Zone = "UTC"
    retention_days: int = Field(0, ge=0, description="0 keeps events for ever")
    max_body_bytes: int = Field(LARGEST_BATCH_BYTES, ge=1024)
    report_pool_size: int = Field(4, ge=1, le=100)
    report_timeout_ms: int = Field(10_000, ge=100)
    max_reports_at_once: int = Field(
        2, ge=1, description="behaviour reports for one account or key, in each worker process"
    )
    ingest_pool_size: int = Field(2, ge=1, le=20, description="for each worker process")
    ingest_timeout_ms: int = Field(1_500, ge=100, le=10_000)
    max_event_types: int = Field(2_000, ge=10, description="in the installation")
    max_event_types_per_user: int = Field(
        20, ge=0, description="new ones by one account without events:write"
    )
    max_event_types_by_users: int = Field(200, ge=0, description="by all of these together")
    max_events_per_user_a_day: int = Field(
        10_000, ge=1, description="of one account without events:write"
    )
    max_partitions_per_request: int = Field(12, ge=1)
    max_partitions_by_users_a_day: int = Field(
        12, ge=0, description="for all accounts without events:write together"
    )
    max_buckets: int = Field(3_000, ge=1, description="in one series")
    max_types_listed: int = Field(50, ge=1, description="the largest; the rest is one `other`")
    max_saved_reports: int = Field(2_000, ge=1)
    max_annotations: int = Field(10_000, ge=1)
    max_api_keys: int = Field(1_000, ge=1)
