"""What the routes of one app share: its use cases, wired to its database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from flask import Flask, current_app, request

from analytics_app.behaviour.admission import AdmissionControl
from analytics_app.config import AnalyticsSettings
from analytics_app.deadlines import Deadline
from analytics_app.ingest import Ingest
from analytics_app.keys import KeyRing
from analytics_app.readers import Readers
from chassis.hang_up import hung_up

NAME = "analytics"


@dataclass(frozen=True, slots=True)
class Services:
    """The use cases that hold state, and the settings."""

    settings: AnalyticsSettings
    ingest: Ingest
    readers: Readers
    keys: KeyRing
    admission: AdmissionControl

    def deadline(self) -> Deadline:
        """Returns by when the current request is to be answered."""
        return Deadline(self.settings.report_timeout_ms / 1000, hung_up(request.environ))


def services() -> Services:
    """Returns the services of the current app."""
    return services_in(current_app)


def services_in(app: Flask) -> Services:
    """Returns the services of an app."""
    return cast(Services, app.extensions[NAME])
