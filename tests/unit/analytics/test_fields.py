"""Reports can be asked for some of their figures, and then cost no more than these."""

from __future__ import annotations

import pytest

from tests.unit.analytics.conftest import Api


def test_a_time_series_answers_the_fields_that_were_asked_for(admin: Api) -> None:
    admin.send({"event_type": "seen", "user_id": 5})
    whole = admin.get("/analytics/timeseries", interval="day")["items"]
    some = admin.get("/analytics/timeseries", interval="day", fields="start,count")["items"]
    assert some == [{"start": each["start"], "count": each["count"]} for each in whole]
    assert whole[-1]["unique_users"] == 1


def test_a_summary_answers_the_figures_that_were_asked_for(admin: Api) -> None:
    admin.send({"event_type": "seen", "user_id": 5})
    found = admin.get("/analytics/summary", fields="events_by_type", compare="previous")
    assert found["events_by_type"] == {"seen": 1}
    assert "unique_users" not in found
    assert found["previous"]["events_by_type"] == {}


@pytest.mark.parametrize("path", ["summary", "timeseries"])
@pytest.mark.parametrize("fields", ["nonsense", "count,", ",", "unique_users,money"])
def test_a_field_that_is_none_is_refused(admin: Api, path: str, fields: str) -> None:
    answer = admin.call("GET", f"/analytics/{path}", query_string={"fields": fields})
    expected = 200 if (path, fields) == ("timeseries", "count,") else 422
    assert answer.status_code == expected
