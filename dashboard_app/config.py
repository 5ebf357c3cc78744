"""The dashboard's settings."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from chassis.config import Secret, ServiceUrl, Settings, Zone


class DashboardSettings(Settings):
    """What the dashboard reads from its environment."""

    service: ClassVar[str] = "dashboard"

    users_url: ServiceUrl
    analytics_url: ServiceUrl
    public_url: ServiceUrl = "http://127.0.0.1:8000"
    analytics_public_url: str = Field("", description="shown in curl lines; ANALYTICS_URL if empty")
    secret_key: Secret
    client_address_secret: Secret
    session_dir: Path = Path("var/sessions")
    session_idle_minutes: int = Field(720, ge=1)
    session_absolute_hours: int = Field(168, ge=1)
    reporting_timezone: Zone = "UTC"
    browser_dir: Path = Path("var/browser")
    assets_dir: Path = Path("var/assets")

    @property
    def behind_https(self) -> bool:
        """Whether browsers reach the dashboard by HTTPS, so that cookies are Secure."""
        return self.public_url.startswith("https://")

    @property
    def api_address(self) -> str:
        """The analytics service's address as programs outside would use it."""
        return (self.analytics_public_url or self.analytics_url).rstrip("/")
