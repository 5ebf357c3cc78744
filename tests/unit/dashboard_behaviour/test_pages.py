"""The behaviour pages: what they ask, what they show, and to whom."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from typing import Any

import plotly.graph_objects as go
import pytest

from dashboard_app.pages import live
from tests.unit.dashboard.conftest import Person, Platform, event, text_of
from tests.unit.dashboard.test_charts import colored

REPORTS = ("/funnels", "/retention", "/paths", "/properties", "/live")
PAGES = (*REPORTS, "/saved-reports", "/annotations")
FUNNEL = "/funnels?step1=signup&step2=cart&step3=purchase&where3=plan%3Dpro"


@pytest.fixture
def shop(platform: Platform) -> Platform:
    """Returns the platform with four people's way to a purchase."""
    platform.send(
        *(event("signup", 50, user_id=n, metadata={"plan": "free"}) for n in (11, 12, 13, 14)),
        *(event("cart", 49, user_id=n) for n in (11, 12, 13)),
        event("cart", 48.5, user_id=11),
        event("purchase", 48, user_id=11, metadata={"plan": "pro", "price": 10}),
        event("purchase", 47, user_id=12, metadata={"plan": "free", "price": 30}),
    )
    live.answers.values.clear()
    return platform


def figure_of(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', html, re.DOTALL)
    assert found
    figure: dict[str, Any] = json.loads(found[1])
    go.Figure(colored(figure))
    return figure


@pytest.mark.parametrize("path", PAGES)
def test_every_page_says_what_to_do_while_there_is_nothing(admin: Person, path: str) -> None:
    live.answers.values.clear()
    answer = admin.get(path)
    assert answer.status_code == 200
    assert 'class="state"' in answer.text


@pytest.mark.parametrize("path", PAGES)
def test_strangers_are_sent_to_sign_in(platform: Platform, path: str) -> None:
    answer = platform.visitor().get(path)
    assert answer.status_code == 302
    assert answer.location.startswith("/login?next=")


def test_a_funnel_shows_its_steps(shop: Platform) -> None:
    answer = shop.admin.get(FUNNEL)
    words = text_of(answer)
    assert "25.0% of 4 users got to the end" in words
    assert "1. signup 4 100.0%" in words
    assert "3. purchase plan is pro 1 25.0%" in words
    assert figure_of(answer.text)["data"][0]["y"] == [4, 3, 1]


def test_a_funnel_by_a_property_is_for_analysts(shop: Platform) -> None:
    path = "/funnels?step1=signup&step2=cart&by=plan"
    assert "By plan of the first step" in text_of(shop.admin.get(path))
    answer = shop.person("vic").get(path)
    assert answer.status_code == 200
    assert "By plan of the first step" not in text_of(answer)


def test_who_stopped_is_for_analysts(shop: Platform) -> None:
    assert "2 users stopped before step 3" in text_of(shop.admin.get(FUNNEL + "&stopped=3"))
    assert 'href="/users/13"' in shop.admin.get(FUNNEL + "&stopped=3").text
    assert "stopped before step" not in text_of(shop.person("vic").get(FUNNEL + "&stopped=3"))


def test_a_funnels_numbers_come_as_csv(shop: Platform) -> None:
    answer = shop.admin.get(FUNNEL.replace("/funnels", "/funnels.csv"))
    lines = answer.text.splitlines()
    assert lines[0].startswith("value,step,event_type,users")
    assert lines[1:][-1].startswith(",3,purchase,1,0.25,")


def test_htmx_gets_the_report_alone_and_the_address(shop: Platform) -> None:
    answer = shop.admin.fragment(FUNNEL)
    assert "<html" not in answer.text
    assert answer.headers["HX-Push-Url"].startswith("/funnels?step1=signup")


def test_retention_shows_the_triangle(shop: Platform) -> None:
    answer = shop.admin.get("/retention?range=7d&interval=day")
    words = text_of(answer)
    assert "Average of all cohorts" in words
    assert "4 100%" in words
    figure_of(answer.text)
    lines = shop.admin.get("/retention.csv?range=7d&interval=day").text.splitlines()
    assert lines[0] == "cohort,cohort_users,period,users,share,complete"
    assert len(lines) == 1 + 7 * 8 // 2


def test_paths_show_what_came_next_and_before(shop: Platform) -> None:
    words = text_of(shop.admin.get("/paths?start_at=cart"))
    assert "After cart 3 users, 3 times" in words
    assert "purchase 2 66.7%" in words
    before = text_of(shop.admin.get("/paths?start_at=cart&direction=before"))
    assert "signup 3 100.0%" in before
    assert "1,purchase,2,2," in shop.admin.get("/paths.csv?start_at=cart").text


def test_properties_show_keys_and_a_keys_values(shop: Platform) -> None:
    words = text_of(shop.admin.get("/properties?of=purchase"))
    assert "plan 2 100.0%" in words
    broken = text_of(shop.admin.get("/properties?of=purchase&key=plan&measure=price"))
    assert "pro 1 1 10 10 10 10" in broken
    assert "All 2 2 40 20 20 29" in broken


def test_viewers_see_how_many_and_not_which_values(shop: Platform) -> None:
    answer = shop.person("vic").get("/properties?of=purchase&key=plan")
    words = text_of(answer)
    assert "Value 1" in words
    assert "Most frequent" not in words
    assert "pro" not in re.findall(r"\w+", words)


CONDITION = "/properties?of=purchase&key=plan&where=plan%3Dpro"


@pytest.mark.parametrize("path", [FUNNEL, CONDITION])
def test_a_report_with_a_condition_tells_viewers_that_it_is_for_analysts(
    shop: Platform, path: str
) -> None:
    for answer in (shop.person("vic").get(path), shop.person("vic").fragment(path)):
        assert "Conditions on properties are for analysts" in text_of(answer)
        assert 'value="plan=pro"' in answer.text, "the form stays, to take it off"
    assert shop.person("vic").get(path).status_code == 403
    assert shop.admin.get(path).status_code == 200


def test_viewers_are_not_offered_conditions(shop: Platform) -> None:
    for path in ("/funnels", "/properties?of=purchase"):
        assert 'name="where' not in shop.person("vic").get(path).text
        assert 'name="where' in shop.admin.get(path).text


# One question with something for each page: what is no page's own is passed over.
QUESTIONS = (
    "",
    "step1=signup&step2=cart",
    "step1=signup&where1=plan%3Dpro&step2=cart&by=plan&stopped=2",
    "of=purchase&key=plan&measure=price&start_at=cart&interval=week&range=7d",
    "of=purchase&key=plan&where=plan%3Dpro",
    "of=%00&key=%F0%9F%98%80&start_at=%22&tz=nowhere&cursor=x&stopped=9",
)


@pytest.mark.parametrize("role", ["viewer", "analyst", "admin"])
def test_no_page_or_download_fails_for_any_role(shop: Platform, role: str) -> None:
    person = shop.admin if role == "admin" else shop.person(role, role)
    wrong = []
    for rule in shop.app.url_map.iter_rules():
        if "GET" not in (rule.methods or ()) or rule.endpoint.endswith("static"):
            continue
        path = re.sub(r"<[^>]*>", "1", rule.rule)
        for question in QUESTIONS:
            for answer in (person.get(f"{path}?{question}"), person.fragment(f"{path}?{question}")):
                if answer.status_code >= 500:
                    wrong.append((path, question, answer.status_code))
    assert wrong == []


def test_live_comes_as_csv_too_for_everybody(shop: Platform) -> None:
    shop.send(event("signup", 0, user_id=15), event("signup", 0, user_id=16))
    live.answers.values.clear()
    for person in (shop.admin, shop.person("vic")):
        page = person.get("/live?tz=Asia/Kathmandu")
        (link,) = re.findall(r'href="(/live\.csv[^"]*)" download', page.text)
        assert link == "/live.csv?tz=Asia%2FKathmandu"
        answer = person.get(link)
        assert answer.content_type == "text/csv; charset=utf-8"
        assert answer.headers["Content-Disposition"] == 'attachment; filename="footfall-live.csv"'
        rows = [line.split(",") for line in answer.text.splitlines()]
        assert rows[0] == ["minute", "count", "unique_users", "complete"]
        assert len(rows) == 31
        minutes = [datetime.fromisoformat(row[0]) for row in rows[1:]]
        assert minutes == [minutes[0] + timedelta(minutes=n) for n in range(30)]
        assert sum(int(row[1]) for row in rows[1:]) == 2
        assert rows[-1][3] == "False"


def test_live_answers_204_while_nothing_is_newer(shop: Platform) -> None:
    page = shop.admin.get("/live")
    cursor = re.search(r"cursor=(\w+)", page.text)
    assert cursor
    assert shop.admin.fragment(f"/live?cursor={cursor[1]}").status_code == 204
    shop.send(event("signup", 0.01, user_id=15))
    live.answers.values.clear()
    fresh = shop.admin.fragment(f"/live?cursor={cursor[1]}")
    assert fresh.status_code == 200
    assert "Events, last 30 minutes 1" in text_of(fresh)


def test_a_saved_report_leads_back_to_what_was_saved(shop: Platform) -> None:
    vic = shop.person("vic")
    form = {"name": "To purchase", "report": "funnels", "query": FUNNEL.partition("?")[2]}
    plain = FUNNEL.partition("&where")[0]
    assert vic.submit("/saved-reports", form, plain).status_code == 303
    listed = shop.admin.get("/saved-reports")
    assert "To purchase" in text_of(listed)
    found = re.search(r'href="(/saved-reports/\d+)"', listed.text)
    assert found
    assert shop.admin.get(found[1]).location == FUNNEL
    assert vic.submit(found[1] + "/delete", {}, "/saved-reports").status_code == 303
    assert "Nothing is saved yet" in text_of(shop.admin.get("/saved-reports"))


def test_a_report_without_a_name_is_not_saved_and_says_why(shop: Platform) -> None:
    form = {"name": " ", "report": "funnels", "query": ""}
    answer = shop.admin.submit("/saved-reports", form, "/funnels?step1=signup&step2=cart")
    assert answer.status_code == 422
    assert "1 character" in text_of(answer)


def test_a_note_is_written_drawn_and_deleted(shop: Platform) -> None:
    day = event("x", 24)["created_at"][:10]
    form = {"day": day, "text": "Release <b>2.0</b>"}
    assert shop.admin.submit("/annotations", form).status_code == 303
    trend = shop.admin.fragment("/overview/trend")
    notes = figure_of(trend.text)["layout"]["annotations"]
    assert [(note["x"], note["hovertext"]) for note in notes] == [
        (day, "Release &lt;b&gt;2.0&lt;/b&gt;")
    ]
    found = re.search(r'action="(/annotations/\d+/delete)"', shop.admin.get("/annotations").text)
    assert found
    assert shop.admin.submit(found[1], {}, "/annotations").status_code == 303
    assert "No notes yet" in text_of(shop.admin.get("/annotations"))


def test_viewers_write_no_notes(shop: Platform) -> None:
    assert "Add the note" not in text_of(shop.person("vic").get("/annotations"))


def test_an_impossible_day_is_complained_about(shop: Platform) -> None:
    answer = shop.admin.submit("/annotations", {"day": "2026-02-30", "text": "x"})
    assert answer.status_code == 422
    assert "Must be a date" in text_of(answer)


@pytest.mark.parametrize(
    "path", [FUNNEL, "/retention", "/paths?start_at=cart", "/properties?of=cart"]
)
def test_a_service_that_is_away_is_said_in_the_card(shop: Platform, path: str) -> None:
    shop.admin.get(path)
    shop.analytics.down = True
    answer = shop.admin.get(path)
    assert answer.status_code == 503
    assert "can't be shown right now" in text_of(answer)
    assert "Try again" in text_of(answer)
