"""The console in a real Chromium before a scripted engine: what is hostile, what is large, what a person does."""

import re

import pytest
from playwright.sync_api import Browser, expect

from preference import preferences
from preference.feedback import feedback
from store import keys
from store.owner import Owner
from tests.e2e.console_page import Console, opened
from tests.server.conftest import Running, Start, WordEmbedder, until, with_key
from tests.server.console import rows as console_rows
from tests.server.console.conftest import LOCAL, SCREENS, held_values, sign_in
from tests.server.fake_engine import Script

HOSTILE = [
    "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "javascript:alert(1)",
    "{{7*7}} ${7*7} <%= 7*7 %> #{7*7}",
    '"><svg onload=alert(1)> \u202e\u2066 &lt;b&gt; \\u003cb\\u003e',
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_people_and_models_write_is_shown_as_text(running: Running, console: Console, text: str) -> None:
    owner = Owner("local", text.strip()) if text.isprintable() else LOCAL
    write = running.services.database.write_now
    id = write(console_rows.hostile, owner, text, WordEmbedder())
    running.engine.enqueue(Script(tokens=[text[:5], text[5:]]))
    page = console.page
    console.open("chat", owner.user)
    turn = console.ask(text)
    expect(turn.locator(".text")).to_have_text(text, use_inner_text=False)
    turn.locator(".chips button").first.click()
    expect(page.get_by_role("dialog")).to_contain_text(text.strip()[:20])
    page.keyboard.press("Escape")
    console.edit_draft(turn, f"{text} again")
    for screen in SCREENS:
        console.go(screen)
        assert page.locator("main script, main img, main iframe, main svg[onload]").count() == 0
        hrefs = page.locator("a[href]").evaluate_all("links => links.map((one) => one.protocol)")
        assert set(hrefs) <= {"http:"}
        console.check()
    console.go("preferences")
    expect(page.locator(".rows").first).to_contain_text(text.strip()[:20])
    page.goto(f"{console.base}/console/#/why/{id}")
    expect(page.locator(".prompt")).to_contain_text(text.strip()[:20])
    expect(page.locator("table")).to_contain_text(text.strip()[:20])
    if "{{7*7}}" in text:
        expect(page.locator(".prompt")).to_contain_text("{{7*7}}")


def test_text_that_runs_from_right_to_left_does(running: Running, console: Console) -> None:
    running.engine.enqueue(Script(tokens=["שלום ", "עולם"]))
    console.open("chat", "דנה")
    turn = console.ask("כתוב מכתב")
    for place in (turn.locator(".text"), turn.locator(".request .said")):
        assert place.evaluate("node => getComputedStyle(node).direction") == "rtl"
    console.button("Edit", turn).click()
    editor = turn.get_by_label("What you really used")
    assert editor.evaluate("node => getComputedStyle(node).direction") == "rtl"


def test_an_answer_is_stopped_and_another_one_asked_for(running: Running, console: Console) -> None:
    running.engine.enqueue(Script(hang=True), Script(tokens=["Another", " one"]))
    console.open("chat", "ann")
    console.page.get_by_label("Message", exact=True).fill("Hello")
    console.button("Send").click()
    turn = console.turn()
    expect(turn.locator(".text")).to_have_text("Hello world!")
    console.button("Stop").click()
    expect(turn).to_contain_text("It was stopped before its end.")
    assert running.engine.aborted.wait(10)
    console.button("Another answer", turn).click()
    expect(turn.locator(".text")).to_have_text("Another one")
    assert running.engine.requests[-1]["temperature"] >= 0.7


def test_an_edit_that_empties_the_text_cannot_be_sent(console: Console) -> None:
    console.open("chat", "ann")
    turn = console.ask("Hello")
    console.edit_draft(turn, "  \n ")
    expect(console.button("Send what I really used", turn)).to_be_disabled()
    expect(turn.get_by_role("alert").first).to_contain_text("An empty text teaches nothing")
    console.check_access()


def test_a_comment_is_sent_and_what_comes_of_it_is_shown(running: Running, console: Console) -> None:
    page, write = console.page, running.services.database.write_now
    console.open("chat", "ann")
    turn = console.ask("Hello")
    console.button("Comment", turn).click()
    field = turn.get_by_label("What you say about this answer")
    field.fill("Too long.")
    console.check_access()
    page.reload()
    expect(field).to_have_value("Too long.")
    console.button("Send the comment", turn).click()
    expect(turn.locator(".outcome")).to_contain_text("Learning")
    page.reload()
    expect(turn.locator(".outcome")).to_contain_text("Learning")
    (held,) = running.http().get("/v1/feedback", headers={"X-User-Id": "ann"}).json()["data"]
    assert (held["type"], held["comment"]) == ("comment", "Too long.")
    id = write(preferences.create, LOCAL, "Be brief", "learned").id
    write(feedback.resolve, LOCAL, held["id"], "learned", learned=[id])
    expect(turn.locator(".outcome")).to_contain_text("Learned from your comment:")
    expect(turn.locator(".learned li")).to_contain_text("Be brief")
    turn.get_by_role("link", name="Why?").click()
    expect(page.locator("blockquote")).to_have_text("Too long.")
    console.check_access()


def test_a_value_goes_as_far_as_one_says_and_is_left_out_for_now(running: Running, console: Console) -> None:
    http = running.http()
    brief = {"dimension": "style", "subdimension": "length", "preference": "Be brief", "description": "Two lines."}
    http.put("/v1/users/ann/values", json={"values": [{**brief, "strength": 0.3}]})
    page = console.page
    console.open("preferences", "ann")
    far = page.get_by_role("slider", name="How far: Be brief")
    assert far.get_attribute("aria-valuetext") == "a little"
    assert held_values(http) == [{**brief, "strength": 0.3}]  # a look changes nothing
    far.press("ArrowRight")
    far.press("ArrowRight")
    page.get_by_label("Leave it out for now").check()
    until(lambda: held_values(http) == [{**brief, "strength": 0.8, "masked": True}])
    far.press("Home")
    page.get_by_label("Leave it out for now").uncheck()
    until(lambda: held_values(http) == [brief])
    page.get_by_label("Wish").fill("Be warm")
    page.get_by_role("slider", name="How far", exact=True).press("End")
    console.button("Add", page.locator("form", has=page.get_by_label("Wish"))).click()
    expect(page.get_by_role("slider", name="How far: Be warm")).to_have_attribute("aria-valuetext", "to the extreme")
    assert held_values(http)[1] == {"dimension": "style", "subdimension": "", "preference": "Be warm",
                                    "description": "", "strength": 1}  # fmt: skip
    console.check_access()


def test_learning_is_paused_and_goes_on(running: Running, console: Console) -> None:
    http, page = running.http(headers={"X-User-Id": "ann"}), console.page
    console.open("data", "ann")
    learn = page.get_by_role("switch", name="Learn from answers and edits")
    expect(learn).to_be_checked()
    learn.uncheck()
    expect(page.get_by_text("Paused. No answer is kept")).to_be_visible()
    console.check_access()
    console.go("chat")
    expect(page.get_by_text("Learning is paused")).to_be_visible()
    page.get_by_label("Message", exact=True).fill("Hello")
    console.button("Send").click()
    turn = console.turn()
    expect(console.button("Compare", turn)).to_be_visible()
    assert console.button("Edit", turn).count() == 0
    assert http.get("/v1/turns").json()["data"] == []
    console.check_access()
    console.go("data")
    learn.check()
    until(lambda: not http.get("/v1/users/ann").json()["paused"])
    console.go("chat")
    expect(page.get_by_text("Learning is paused")).to_be_hidden()
    console.ask("Hello again")
    (id,) = [one["id"] for one in http.get("/v1/turns").json()["data"]]
    page.goto(f"{console.base}/console/#/why/{id}")
    expect(page.locator(".facts")).to_contain_text("the first word after")


def test_an_answer_of_100_kb_can_be_read_and_edited(running: Running, console: Console) -> None:
    long = "".join(f"Line {number} of a long answer, with some words in it.\n" for number in range(2000))
    assert len(long) > 100_000
    running.engine.enqueue(Script(tokens=[long[start : start + 500] for start in range(0, len(long), 500)]))
    console.open("chat", "ann")
    turn = console.ask("Hello")
    text = turn.locator(".text")
    assert len(text.text_content() or "") < 5000
    turn.get_by_role("button", name=re.compile("Show all")).click()
    assert text.text_content() == long
    console.button("Edit", turn).click()
    editor = turn.get_by_label("What you really used")
    editor.evaluate("node => { node.value = node.value.slice(0, 90000).replaceAll('Line', 'Row'); }")
    editor.press("End")
    editor.press("!")
    expect(turn.locator(".diff")).to_contain_text("Row 0")
    console.button("Send what I really used", turn).click()
    expect(turn.locator(".outcome")).to_contain_text("Learning")
    console.check_width()


def test_500_preferences_and_10000_turns_come_by_pages(running: Running, console: Console) -> None:
    running.services.database.write_now(console_rows.many, LOCAL, 500, 10_000)
    page = console.page
    console.open("preferences", "ann")
    rows = page.locator(".kind .rows > li")
    expect(rows).to_have_count(30)
    page.get_by_role("button", name="Show more (470 left)").click()
    expect(rows).to_have_count(60)
    page.get_by_label("Filter by text").fill("number 499")
    expect(rows).to_have_count(1)
    console.go("why")
    turns = page.locator(".rows > li")
    expect(turns).to_have_count(20)
    console.button("Show more").click()
    expect(turns).to_have_count(40)
    console.go("operation")
    expect(page.locator("section", has=page.get_by_role("heading", name="Users")).locator(".rows > li")).to_have_count(
        1
    )


def test_a_link_for_one_user_shows_that_user_alone(running: Running, chromium: Browser) -> None:
    _, key = with_key(running)
    app = running.http(headers={"Authorization": f"Bearer {key}"})
    for name in ("ann", "bob"):
        app.post(f"/v1/users/{name}/preferences", json={"text": f"Known of {name}"})
    with opened(chromium, running.url) as console:
        sign_in(console, key)
        page = console.page
        page.get_by_label("User", exact=True).fill("ann")
        page.keyboard.press("Enter")
        console.go("data")
        console.button("Make a link").click()
        link = page.get_by_role("textbox", name="The link").input_value()
    assert link.startswith(f"{running.url}/console/#/data?token=attu-")
    with opened(chromium, running.url) as console:
        page = console.page
        page.goto(link)
        expect(page.get_by_text("User ann")).to_be_visible()
        assert "token" not in page.url
        assert page.locator("nav a").all_inner_texts() == [
            "Chat", "What it knows", "Why", "Curve", "Adapters", "My data",
        ]  # fmt: skip
        console.go("preferences")
        expect(page.locator("main")).to_contain_text("Known of ann")
        assert "bob" not in page.content()
        console.go("adapters")
        assert console.button("Train one now").count() == 0
        page.goto(f"{running.url}/console/#/operation")
        expect(page.locator("main")).to_contain_text("does not allow that")
        console.go("data")
        page.get_by_label("Type ann to confirm").fill("ann")
        console.button("Erase everything").click()
        expect(page.get_by_text("Nothing is held any more")).to_be_visible()
    assert [one["id"] for one in app.get("/v1/users").json()["data"]] == ["bob"]


def test_the_operator_makes_and_revokes_keys(start: Start, chromium: Browser) -> None:
    first = start()
    id, key = first.services.database.write_now(keys.create, "operations", "console")
    running = start(operator_keys=id)
    with opened(chromium, running.url) as console:
        sign_in(console, key)
        page = console.page
        console.go("operation")
        section = page.locator("#keys")
        section.get_by_label("Tenant").fill("acme")
        section.get_by_label("Requests a minute").fill("60")
        console.button("Make a key", section).click()
        made = page.get_by_role("textbox", name="Your new key").input_value()
        console.check_access()
        page.keyboard.press("Escape")
        http = running.http(headers={"Authorization": f"Bearer {made}"})
        assert http.get("/v1/caller").json()["tenant"] == "acme"
        row = section.locator("tr", has_text="acme")
        expect(row).to_contain_text("60 a minute")
        console.button("Revoke", row).click()
        console.button("Revoke", page.get_by_role("dialog")).click()
        expect(row).to_contain_text("revoked")
        until(lambda: http.get("/v1/caller").status_code == 401)
