"""The drawing page and the server: corrections, pictures, errors, other networks."""

import io
import json
import time

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("playwright", reason="playwright is not installed: pip install -e '.[dev]' brings it")

from playwright.sync_api import expect

from src.data.sources.corrections import read_corrections
from tests.server.page import digits_read, draw, draw_42, percentages, picture_of_a_seven, send_file, stored_corrections

pytestmark = pytest.mark.slow


def test_a_correction_is_stored_and_can_be_changed(visit, page_server):
    _, store = page_server
    page = visit()
    before = len(stored_corrections(store)) if store.is_file() else 0
    draw(page, "7")
    expect(digits_read(page)).to_have_text("7")
    expect(page.locator("#spoken")).to_contain_text("Read 7")  # the drawing rests
    page.get_by_role("button", name="No, it is 1").click()
    expect(page.locator("#thanks")).to_have_text("Saved as 1. Wrong button? Choose again.")
    again = page.get_by_role("button", name="No, it is 1")
    expect(again).to_be_disabled()
    again.dispatch_event("click")
    page.wait_for_timeout(300)
    assert len(stored_corrections(store)) == before + 1, "the same choice is sent once"
    answer, correction, *shape, picture = stored_corrections(store)[-1]
    assert (answer, correction, shape) == ("7", "1", [1, 28, 28])
    assert Image.open(io.BytesIO(picture)).size == (280, 280)
    page.get_by_role("button", name="Yes, it is 7").click()
    expect(page.locator("#thanks")).to_have_text("Changed to 7. Wrong button? Choose again.")
    expect(again).to_be_enabled()
    assert stored_corrections(store)[-1][:2] == ("7", "7")
    assert read_corrections(store)[-1].correction == "7", "the last word on a drawing counts"
    page.click("#clear")
    draw_42(page)
    expect(digits_read(page)).to_have_text("42")
    digits_read(page).get_by_role("button").last.click()
    page.get_by_role("button", name="Yes, it is 2").click()
    expect(page.locator("#thanks")).to_contain_text("Saved as 2.")
    assert stored_corrections(store)[-1][:2] == ("2", "2")
    digits_read(page).get_by_role("button").first.click()
    expect(page.locator("#thanks")).to_be_hidden()
    expect(page.locator("#choices button").first).to_be_enabled()


def test_a_rejected_correction_can_be_sent_again(visit):
    page = visit(complaints=["429"])
    draw(page, "7")
    expect(digits_read(page)).to_have_text("7")
    full = json.dumps({"error": {"code": "full", "message": "the store is full"}})
    page.route("**/corrections", lambda route: route.fulfill(status=429, body=full, content_type="application/json"))
    page.get_by_role("button", name="No, it is 1").click()
    expect(page.locator("#thanks")).to_contain_text("Not saved: the store is full")
    expect(page.locator("#choices button").first).to_be_enabled()
    page.unroute("**/corrections")
    page.get_by_role("button", name="No, it is 1").click()
    expect(page.locator("#thanks")).to_contain_text("Saved as 1")


def test_pictures_can_be_opened_dropped_and_pasted(visit):
    page = visit()
    page.set_input_files("#file", {"name": "seven.png", "mimeType": "image/png", "buffer": picture_of_a_seven()})
    expect(digits_read(page)).to_have_text("7")
    page.click("#clear")
    send_file(page, "drop", picture_of_a_seven((255, 255, 255, 255)))  # light ink on nothing: shown on black
    expect(digits_read(page)).to_have_text("7")
    page.click("#clear")
    send_file(page, "paste", picture_of_a_seven((240, 240, 240, 255), (20, 30, 60, 255), (160, 160)))
    expect(digits_read(page)).to_have_text("7")
    draw(page, "1", left=0.38)  # on top of a picture, in ink that shows on it
    expect(digits_read(page)).to_have_text("71")
    page.click("#clear")
    large = picture_of_a_seven(
        (0, 0, 0, 255), (255, 255, 255, 255), (2400, 3000)
    )  # over 4 megapixels: scaled down here
    page.set_input_files("#file", {"name": "large.png", "mimeType": "image/png", "buffer": large})
    expect(digits_read(page)).to_have_text("7")
    send_file(page, "drop", b"not a picture", "notes.txt", "text/plain")
    expect(page.locator("#state")).to_contain_text("notes.txt is not a picture")
    expect(digits_read(page)).to_have_text("–")  # an answer beside the error would be taken for the file's
    expect(page.locator("#correct")).to_be_hidden()
    page.wait_for_timeout(300)
    expect(page.locator("#state")).to_be_visible()
    page.click("#undo")
    expect(digits_read(page)).to_have_text("–")
    page.click("#redo")
    expect(digits_read(page)).to_have_text("7")
    expect(page.locator("#state")).to_be_hidden()
    send_file(page, "drop", picture_of_a_seven((200, 210, 220, 255), (200, 210, 220, 255)))
    expect(page.locator("#sure")).to_have_text("No ink found in this picture")


def test_the_page_retries_until_the_server_responds(visit):
    page = visit(complaints=["Failed to load resource", "429"])
    page.route("**/predict*", lambda route: route.abort())
    draw(page, "1")
    expect(page.locator("#state")).to_contain_text("The server does not respond")
    busy = json.dumps({"error": {"code": "busy", "message": "too much work"}})
    tried = []

    def refuse(route):
        tried.append(time.monotonic())
        kind = "application/json"
        route.fulfill(status=429, headers={"Retry-After": "1"}, body=busy, content_type=kind)

    page.unroute("**/predict*")
    page.route("**/predict*", refuse)
    page.wait_for_timeout(2500)
    assert 1 <= len(tried) <= 3, "it waits as long as it is told to"
    assert min(np.diff(tried), default=1) > 0.9
    page.unroute("**/predict*")
    expect(digits_read(page)).to_have_text("1", timeout=15_000)
    expect(page.locator("#state")).to_be_hidden()


def test_errors_and_low_confidence_are_shown(visit):
    page = visit(complaints=["422"])
    problem = json.dumps({"error": {"code": "damaged", "message": "this picture is damaged"}})
    page.route("**/predict*", lambda route: route.fulfill(status=422, body=problem, content_type="application/json"))
    draw(page, "1")
    expect(page.locator("#state")).to_have_text("this picture is damaged")
    expect(digits_read(page)).to_have_text("–")
    page.unroute("**/predict*")

    def doubt(route):
        reply = route.fetch()
        route.fulfill(response=reply, json={**reply.json(), "low_confidence": True})

    page.route("**/predict*", doubt)
    page.click("#clear")
    draw(page, "1")
    expect(page.locator("#sure")).to_contain_text("Not certain")
    expect(page.locator("#state")).to_be_hidden()


def test_the_page_shows_other_classes_and_sends_the_token(visit):
    names = [f"letter {chr(97 + i)}" for i in range(26)]
    sent = []

    def answers(page):
        def predict(route):
            sent.append((route.request.url, route.request.headers.get("authorization")))
            top = [{"label": name, "probability": 0.5**place} for place, name in enumerate(names, 1)]
            digit = {"label": names[0], "probability": 0.5, "top": top, "box": [0, 0, 280, 280]}
            told = {"prediction": names[0], "probability": 0.5, "size": [280, 280], "digits": [digit], "notes": []}
            route.fulfill(json=told)

        def model(route):
            told = {"sha256": "0" * 64, "classes": names, "engine": "torch", "shape": [1, 28, 28], "looks": False}
            route.fulfill(json=told)

        page.route("**/model", model)
        page.route("**/predict*", predict)

    page = visit(before=answers, fragment="#token=secret-1")
    expect(page).to_have_title("Draw a picture")
    draw(page, "1")
    expect(digits_read(page)).to_have_text("letter a")
    expect(page.locator("#bars li")).to_have_count(10)
    assert percentages(page)["letter b"] == 25
    expect(page.locator("#look")).to_be_hidden()
    page.get_by_role("combobox").fill("letter z")
    page.route(
        "**/corrections", lambda route: (sent.append(route.request.post_data_json), route.fulfill(json={"id": 1}))
    )
    page.get_by_role("button", name="Send “letter z”").click()
    expect(page.locator("#thanks")).to_contain_text("Saved as letter z")
    assert sent[-1]["correction"] == "letter z"
    assert {token for _, token in sent[:-1]} == {"Bearer secret-1"}
    assert all("top_k=26" in url for url, _ in sent[:-1])
