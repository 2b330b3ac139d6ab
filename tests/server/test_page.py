"""The drawing page in a real browser: drawing, answers, controls, layout."""

import time

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("playwright", reason="playwright is not installed: pip install -e '.[dev]' brings it")

from playwright.sync_api import expect

from tests.server.page import (
    CONTRAST,
    DELAYED_FETCH,
    DESK,
    NARROW,
    PHONE,
    STROKES,
    digits_read,
    draw,
    draw_42,
    percentages,
    stroke_paths,
)

pytestmark = pytest.mark.slow


def test_each_of_the_ten_digits_is_read(visit):
    page = visit()
    for digit in STROKES:
        draw(page, digit)
        expect(digits_read(page)).to_have_text(digit)
        expect(page.locator("#bars li.first .name")).to_have_text(digit)
        values = percentages(page)
        assert list(values) == list(STROKES)
        assert max(values, key=values.get) == digit
        assert sum(values.values()) == pytest.approx(100, abs=1)
        page.click("#clear")
        expect(digits_read(page)).to_have_text("–")


def test_the_answer_comes_during_the_stroke(visit):
    page = visit()
    (path,) = stroke_paths(page, "1")
    page.mouse.move(*path[0])
    page.mouse.down()
    for point in path[1:]:
        page.mouse.move(*point)
    expect(digits_read(page)).to_have_text("1")
    page.mouse.up()
    seen = page.evaluate(
        "() => document.getElementById('seen').getContext('2d').getImageData(0, 0, 28, 28).data.join()"
    )
    pixels = np.array(seen.split(","), int).reshape(28, 28, 4)[..., 0]
    rows = (pixels > 60).any(1).nonzero()[0]
    assert (rows[0], rows[-1]) == pytest.approx((4, 23), abs=1), "twenty pixels high, as MNIST is"


def test_one_request_is_in_flight_and_the_newest_drawing_is_next(visit):
    page = visit(before=lambda page: page.add_init_script(DELAYED_FETCH))
    begun = time.monotonic()
    draw(page, "8")
    expect(digits_read(page)).to_have_text("8")
    page.wait_for_timeout(500)
    expect(digits_read(page)).to_have_text("8")
    asked = [address for address in page.evaluate("asked") if "predict" in address]
    assert page.evaluate("most") == 1
    assert 2 <= len(asked) <= (time.monotonic() - begun) / 0.2
    assert "look=false" in asked[-2], "while the pen moves, a slow server is spared"
    assert "look=true" in asked[-1]


def test_several_digits_are_boxed_and_can_be_selected(visit):
    page = visit()
    draw_42(page)
    expect(digits_read(page)).to_have_text("42")
    four, two = digits_read(page).get_by_role("button").all()
    assert four.get_attribute("aria-pressed") == "true"
    assert max(percentages(page), key=percentages(page).get) == "4"
    two.click()
    expect(page.locator("#bars li.first .name")).to_have_text("2")
    expect(digits_read(page).get_by_role("button", pressed=True)).to_have_text("2")
    boxes = page.evaluate(
        """() => { const c = document.getElementById("marks"), w = c.width;
          const data = c.getContext("2d").getImageData(0, 0, w, w).data, columns = new Set();
          for (let i = 3; i < data.length; i += 4) if (data[i]) columns.add((((i - 3) / 4) % w) / w);
          return [Math.min(...columns), Math.max(...columns)]; }"""
    )
    assert boxes[0] < 0.12
    assert boxes[1] > 0.85


def test_boxes_of_an_older_drawing_are_faint(visit):
    """After the pen is up they are faint until the newest drawing, which is asked about last, has its answer."""
    page = visit(before=lambda page: page.add_init_script(DELAYED_FETCH), complaints=["willReadFrequently"])
    darkest = """() => { const c = document.getElementById("marks"), w = c.width;
      const data = c.getContext("2d").getImageData(0, 0, w, w).data;
      return data.reduce((most, level, i) => (i % 4 === 3 ? Math.max(most, level) : most), 0); }"""

    def plain():
        until = time.monotonic() + 10
        while page.evaluate(darkest) <= 200:
            assert time.monotonic() < until
            page.wait_for_timeout(50)

    draw_42(page)
    expect(digits_read(page)).to_have_text("42")
    plain()
    draw(page, "1", left=-0.05, top=0.6, size=0.35)  # more than 200 ms pass until there is an answer to it
    assert 0 < page.evaluate(darkest) < 100
    plain()
    asked = page.evaluate("asked.filter((address) => address.includes('predict'))")
    page.wait_for_timeout(500)
    assert page.evaluate("asked.filter((address) => address.includes('predict'))") == asked
    assert "look=true" in asked[-1]


def test_explanation_and_correction_appear_with_the_answer(visit):
    page = visit(PHONE, phone=True)
    expect(page.locator("#form")).to_be_hidden()
    expect(page.locator("#correct")).to_be_hidden()
    draw(page, "1")
    expect(page.locator("#form")).to_be_visible()
    bars, choices, seen = (page.locator(name).bounding_box()["y"] for name in ("#bars", "#choices", "#seen"))
    assert bars < choices < seen, "a correction is next to the answer"


def test_undo_redo_and_clear(visit):
    page = visit()
    expect(page.locator("#undo")).to_be_disabled()
    draw(page, "1", left=-0.3)
    draw(page, "1", left=0.2)
    expect(digits_read(page)).to_have_text("11")
    page.click("#undo")
    expect(digits_read(page)).to_have_text("1")
    page.click("#redo")
    expect(digits_read(page)).to_have_text("11")
    expect(page.locator("#redo")).to_be_disabled()
    page.click("#clear")
    expect(digits_read(page)).to_have_text("–")
    page.keyboard.press("Control+z")  # what was cleared by mistake comes back
    expect(digits_read(page)).to_have_text("11")
    page.keyboard.press("Control+y")
    expect(digits_read(page)).to_have_text("–")


def test_the_keyboard_is_enough(visit):
    page = visit()
    reached = []
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "ink"
    for _ in range(9):
        page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    for _ in range(18):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    expect(digits_read(page)).to_have_text("1")
    expect(page.locator("#spoken")).to_contain_text("Read 1")
    page.keyboard.press("ArrowLeft")  # the pen is up
    expect(digits_read(page)).to_have_text("1")
    for _ in range(20):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
    wanted = {"undo", "clear", "open", *STROKES, "Help", "API"}
    assert wanted <= set(reached), wanted - set(reached)
    page.focus("#undo")
    ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert ring == "solid"
    page.focus("#ink")
    page.keyboard.press("Escape")
    expect(digits_read(page)).to_have_text("–")


def test_a_finger_draws_on_a_phone(visit):
    page = visit(PHONE, phone=True)
    touch = page.context.new_cdp_session(page)
    for path in stroke_paths(page, "5"):
        for kind, points in [
            ("touchStart", path[:1]),
            *[("touchMove", [point]) for point in path[1:]],
            ("touchEnd", []),
        ]:
            given = [{"x": float(x), "y": float(y)} for x, y in points]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": given})
    expect(digits_read(page)).to_have_text("5")
    assert page.evaluate("scrollY") == 0, "drawing does not scroll the page"
    box = digits_read(page).bounding_box()
    assert box["y"] + box["height"] < PHONE[1], "the answer is in sight while drawing"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE, NARROW], ids=["desk", "phone", "narrow"])
def test_the_page_fits_and_is_legible(visit, tmp_path, size, scheme):
    page = visit(size, scheme, phone=size != DESK)
    draw_42(page)
    expect(digits_read(page)).to_have_text("42")
    page.get_by_text("Help").click()
    expect(page.locator("#choices button").first).to_be_enabled()
    page.wait_for_timeout(200)  # bars have arrived
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width == size[0], "nothing to scroll sideways"
    heights = [row.bounding_box()["height"] for row in page.locator("#bars li").all()]
    assert max(heights) < 1.5 * min(heights), "each bar on one line"
    found = page.evaluate(CONTRAST)
    assert len(found) > 40
    assert [pair for pair in found if pair[0] < 4.5] == []
    for button in page.locator("button:visible").all():
        box = button.bounding_box()
        assert min(box["width"], box["height"]) >= 24, "large enough for a finger (WCAG 2.5.8)"
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    corner = np.asarray(Image.open(tmp_path / "page.png").convert("L"))[:4, :4].mean()
    assert corner > 200 if scheme == "light" else corner < 40


def test_every_control_has_a_unique_name(visit):
    page = visit()
    draw_42(page)
    expect(digits_read(page)).to_have_text("42")
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    controls, wanted = (
        [],
        {"button", "link", "application", "combobox", "textbox", "DisclosureTriangle", "image", "img"},
    )
    for node in tree:
        role = node.get("role", {}).get("value")
        focusable = any(p["name"] == "focusable" and p["value"]["value"] for p in node.get("properties", []))
        if not node["ignored"] and role != "RootWebArea" and (role in wanted or focusable):
            controls.append((role, node.get("name", {}).get("value", "").strip()))
    assert len(controls) >= 20
    assert [role for role, name in controls if not name] == []
    assert len(set(controls)) == len(controls), "no two controls are called the same"
    roles = {node.get("role", {}).get("value") for node in tree}
    assert {"main", "heading", "status", "list", "toolbar", "banner"} <= roles
    assert page.locator("#spoken").get_attribute("aria-live") == "polite"
