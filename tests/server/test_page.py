"""The drawing page in a real browser, with the real server and a network trained on MNIST behind it."""

import base64
import io
import json
import shutil
import signal
import sqlite3
import time
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image

from src.data.sources.corrections import read_corrections
from tests.commands import output_of, run, start

pytestmark = pytest.mark.slow
pytest.importorskip("playwright", reason="playwright is not installed: pip install -e '.[dev]' brings it")
from playwright.sync_api import expect, sync_playwright  # noqa: E402

DESK, PHONE, NARROW = (1280, 800), (390, 844), (360, 640)
# Strokes as a hand makes them: points (right, down) in shares of the sheet, joined by curves.
STROKES = {
    "0": [[(0.52, 0.12), (0.33, 0.22), (0.25, 0.5), (0.33, 0.78), (0.52, 0.88), (0.69, 0.76), (0.75, 0.48),
           (0.68, 0.22), (0.52, 0.12)]],
    "1": [[(0.53, 0.12), (0.52, 0.37), (0.51, 0.62), (0.5, 0.88)]],
    "2": [[(0.27, 0.3), (0.36, 0.15), (0.54, 0.12), (0.69, 0.22), (0.68, 0.4), (0.52, 0.62), (0.35, 0.8), (0.27, 0.87)],
          [(0.27, 0.87), (0.5, 0.86), (0.76, 0.86)]],
    "3": [[(0.3, 0.17), (0.5, 0.11), (0.68, 0.21), (0.66, 0.38), (0.47, 0.47)],
          [(0.47, 0.47), (0.68, 0.55), (0.73, 0.7), (0.62, 0.86), (0.42, 0.89), (0.26, 0.8)]],
    "4": [[(0.4, 0.12), (0.34, 0.32), (0.27, 0.55), (0.5, 0.56), (0.76, 0.53)],
          [(0.64, 0.22), (0.62, 0.5), (0.6, 0.9)]],
    "5": [[(0.7, 0.14), (0.5, 0.14), (0.36, 0.15), (0.34, 0.3), (0.32, 0.45)],
          [(0.32, 0.45), (0.5, 0.41), (0.68, 0.51), (0.71, 0.69), (0.57, 0.86), (0.38, 0.88), (0.26, 0.8)]],
    "6": [[(0.62, 0.11), (0.44, 0.26), (0.32, 0.5), (0.31, 0.72), (0.43, 0.88), (0.6, 0.86), (0.69, 0.72), (0.62, 0.58),
           (0.46, 0.57), (0.33, 0.7)]],
    "7": [[(0.26, 0.16), (0.5, 0.15), (0.74, 0.14)], [(0.74, 0.14), (0.62, 0.4), (0.52, 0.64), (0.45, 0.9)]],
    "8": [[(0.66, 0.22), (0.5, 0.12), (0.35, 0.22), (0.4, 0.38), (0.54, 0.48), (0.67, 0.62), (0.66, 0.8), (0.5, 0.89),
           (0.35, 0.8), (0.35, 0.63), (0.48, 0.49), (0.62, 0.37), (0.66, 0.22)]],
    "9": [[(0.68, 0.28), (0.54, 0.14), (0.37, 0.2), (0.33, 0.38), (0.45, 0.49), (0.6, 0.44), (0.68, 0.28), (0.68, 0.5),
           (0.64, 0.7), (0.56, 0.9)]],
}  # fmt: skip
CONTRAST = """() => {
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.closest(".unseen, noscript")) continue;
    if (element.closest(":disabled")) continue;  // WCAG 1.4.3 asks nothing of them
    let ground = element;
    while (parts(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
    const levels = [element, ground].map((each, i) =>
      light(parts(getComputedStyle(each)[i ? "backgroundColor" : "color"])));
    const [dark, bright] = levels.sort((a, b) => a - b);
    found.push([(bright + 0.05) / (dark + 0.05), walker.currentNode.data.trim()]);
  }
  return found;
}"""


def curve(points, steps=4):
    """Points of a smooth curve through `points` (Catmull & Rom 1974)."""
    around = np.array([points[0], *points, points[-1]])
    found = []
    for a, b, c, d in zip(around, around[1:], around[2:], around[3:], strict=False):
        for t in np.arange(steps) / steps:
            found.append(
                (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3) / 2
            )
    return [*found, np.array(points[-1])]


def paths(page, digit, left=0.0, top=0.0, size=1.0):
    """The strokes of a digit in pixels of the window; left, top, size: in shares of the sheet."""
    box = page.locator("#ink").bounding_box()
    corner, side = np.array([box["x"], box["y"]]), np.array([box["width"], box["height"]])
    return [[corner + side * ([left, top] + size * point) for point in curve(stroke)] for stroke in STROKES[digit]]


def draw(page, digit, **place):
    for path in paths(page, digit, **place):
        page.mouse.move(*path[0])
        page.mouse.down()
        for point in path[1:]:
            page.mouse.move(*point)
        page.mouse.up()


def draw_42(page):
    draw(page, "4", left=-0.05, top=0.2, size=0.55)
    draw(page, "2", left=0.48, top=0.2, size=0.55)


@pytest.fixture(scope="module")
def served(mnist_root, tmp_path_factory):
    """The address of a running server, and the file of its corrections."""
    folder = tmp_path_factory.mktemp("served")
    words = [f"data.root={mnist_root}", "data.download=false", "experiment=fast", "augment=stroke", "test=false"]
    done = run(
        "src.train",
        *words,
        "logger=csv",
        "figures=false",
        "data.fraction=0.5",
        "trainer.max_epochs=1",
        f"hydra.run.dir={folder}/run",
    )
    assert done.returncode == 0, done.stderr
    store = folder / "feedback.sqlite"
    options = ["port=0", f"feedback={store}", f"hydra.run.dir={folder}/serve"]
    process = start("src.serve", f"ckpt={folder}/run", *options)
    try:
        until = time.monotonic() + 60
        while not (folder / "serve/results.json").is_file() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        address = json.loads((folder / "serve/results.json").read_text())["address"]
        while time.monotonic() < until:
            try:
                with urlopen(f"{address}/readyz", timeout=5):
                    break
            except OSError:
                time.sleep(0.1)
        yield address, store
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = output_of(process, 30)
    assert process.returncode == 143, err


@pytest.fixture(scope="module")
def browser():
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(served, browser):
    """Opens the page; at the end nothing was complained of and no other host was asked."""
    contexts, said, asked, allowed = [], [], [], []

    def visit(size=DESK, scheme="light", phone=False, fragment="", before=None, complaints=()):
        width, height = size
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, has_touch=phone, is_mobile=phone
        )
        contexts.append(context)
        allowed.extend(complaints)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        if before is not None:
            before(page)
        page.goto(served[0] + "/" + fragment)
        expect(page.locator("#about")).to_contain_text("network")
        return page

    yield visit
    for context in contexts:
        for page in context.pages:
            page.unroute_all(behavior="ignoreErrors")
        context.close()
    assert [text for text in said if not any(part in text for part in allowed)] == []
    assert {url for url in asked if not url.startswith((served[0] + "/", "blob:", "data:"))} == set()


def number(page):
    return page.locator("#number")


def shares(page):
    """Class -> probability in per cent, as the bars say it."""
    rows = page.locator("#bars li").all_inner_texts()
    return {name: float(value.strip(" >%\xa0")) for name, value in (row.split("\n") for row in rows)}


def corrections(store):
    with sqlite3.connect(store) as connection:
        return connection.execute(
            "SELECT answer, correction, channels, height, width, picture FROM corrections"
        ).fetchall()


def a_picture(ink=(0, 0, 0, 255), ground=(0, 0, 0, 0), size=(90, 160)) -> bytes:
    """A seven, as a PNG."""
    image = Image.new("RGBA", size, ground)
    from PIL import ImageDraw

    w, h = size
    points = [(0.2 * w, 0.2 * h), (0.8 * w, 0.2 * h), (0.42 * w, 0.85 * h)]
    ImageDraw.Draw(image).line(points, ink, width=w // 9, joint="curve")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def give(page, event, content, name="picture.png", kind="image/png"):
    """Paste or drop a file, as the browser hands it over."""
    page.evaluate(
        """([event, text, name, type]) => {
          const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
          const data = new DataTransfer();
          data.items.add(new File([bytes], name, { type }));
          const options = { bubbles: true, cancelable: true };
          const events = event === "paste"
            ? [new ClipboardEvent("paste", { ...options, clipboardData: data })]
            : ["dragover", "drop"].map((each) => new DragEvent(each, { ...options, dataTransfer: data }));
          for (const each of events) document.body.dispatchEvent(each);
        }""",
        [event, base64.b64encode(content).decode(), name, kind],
    )


def test_ten_digits_are_read(visit):
    page = visit()
    for digit in STROKES:
        draw(page, digit)
        expect(number(page)).to_have_text(digit)
        expect(page.locator("#bars li.first .name")).to_have_text(digit)
        values = shares(page)
        assert list(values) == list(STROKES)
        assert max(values, key=values.get) == digit
        assert sum(values.values()) == pytest.approx(100, abs=1)
        page.click("#clear")
        expect(number(page)).to_have_text("–")


def test_the_answer_comes_while_the_pen_moves(visit):
    page = visit()
    (path,) = paths(page, "1")
    page.mouse.move(*path[0])
    page.mouse.down()
    for point in path[1:]:
        page.mouse.move(*point)
    expect(number(page)).to_have_text("1")
    page.mouse.up()
    seen = page.evaluate(
        "() => document.getElementById('seen').getContext('2d').getImageData(0, 0, 28, 28).data.join()"
    )
    pixels = np.array(seen.split(","), int).reshape(28, 28, 4)[..., 0]
    rows = (pixels > 60).any(1).nonzero()[0]
    assert (rows[0], rows[-1]) == pytest.approx((4, 23), abs=1), "twenty pixels high, as MNIST is"


SLOWLY = """(() => {
  const real = window.fetch;
  Object.assign(window, { flying: 0, most: 0, asked: [] });
  window.fetch = async (address, options) => {
    window.most = Math.max(window.most, ++window.flying);
    window.asked.push(String(address));
    await new Promise((resolve) => setTimeout(resolve, 200));
    try { return await real(address, options); } finally { window.flying -= 1; }
  };
})()"""


def test_one_request_at_a_time_and_the_newest_drawing_wins(visit):
    page = visit(before=lambda page: page.add_init_script(SLOWLY))
    begun = time.monotonic()
    draw(page, "8")
    expect(number(page)).to_have_text("8")
    page.wait_for_timeout(500)
    expect(number(page)).to_have_text("8")
    asked = [address for address in page.evaluate("asked") if "predict" in address]
    assert page.evaluate("most") == 1
    assert 2 <= len(asked) <= (time.monotonic() - begun) / 0.2
    assert "look=false" in asked[-2], "while the pen moves, a slow server is spared"
    assert "look=true" in asked[-1]


def test_several_digits_are_boxed_and_chosen(visit):
    page = visit()
    draw_42(page)
    expect(number(page)).to_have_text("42")
    four, two = number(page).get_by_role("button").all()
    assert four.get_attribute("aria-pressed") == "true"
    assert max(shares(page), key=shares(page).get) == "4"
    two.click()
    expect(page.locator("#bars li.first .name")).to_have_text("2")
    expect(number(page).get_by_role("button", pressed=True)).to_have_text("2")
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
    page = visit(before=lambda page: page.add_init_script(SLOWLY), complaints=["willReadFrequently"])
    darkest = """() => { const c = document.getElementById("marks"), w = c.width;
      const data = c.getContext("2d").getImageData(0, 0, w, w).data;
      return data.reduce((most, level, i) => (i % 4 === 3 ? Math.max(most, level) : most), 0); }"""

    def plain():
        until = time.monotonic() + 10
        while page.evaluate(darkest) <= 200:
            assert time.monotonic() < until
            page.wait_for_timeout(50)

    draw_42(page)
    expect(number(page)).to_have_text("42")
    plain()
    draw(page, "1", left=-0.05, top=0.6, size=0.35)  # more than 200 ms pass until there is an answer to it
    assert 0 < page.evaluate(darkest) < 100
    plain()
    asked = page.evaluate("asked.filter((address) => address.includes('predict'))")
    page.wait_for_timeout(500)
    assert page.evaluate("asked.filter((address) => address.includes('predict'))") == asked
    assert "look=true" in asked[-1]


def test_nothing_is_explained_before_there_is_an_answer(visit):
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
    expect(number(page)).to_have_text("11")
    page.click("#undo")
    expect(number(page)).to_have_text("1")
    page.click("#redo")
    expect(number(page)).to_have_text("11")
    expect(page.locator("#redo")).to_be_disabled()
    page.click("#clear")
    expect(number(page)).to_have_text("–")
    page.keyboard.press("Control+z")  # what was cleared by mistake comes back
    expect(number(page)).to_have_text("11")
    page.keyboard.press("Control+y")
    expect(number(page)).to_have_text("–")


def test_a_correction_is_kept_and_may_be_changed(visit, served):
    _, store = served
    page = visit()
    before = len(corrections(store)) if store.is_file() else 0
    draw(page, "7")
    expect(number(page)).to_have_text("7")
    expect(page.locator("#spoken")).to_contain_text("Read 7")  # the drawing rests
    page.get_by_role("button", name="No, it is 1").click()
    expect(page.locator("#thanks")).to_have_text("Kept: it is 1. Wrong key? Choose again.")
    again = page.get_by_role("button", name="No, it is 1")
    expect(again).to_be_disabled()
    again.dispatch_event("click")
    page.wait_for_timeout(300)
    assert len(corrections(store)) == before + 1, "the same choice is sent once"
    answer, correction, *shape, picture = corrections(store)[-1]
    assert (answer, correction, shape) == ("7", "1", [1, 28, 28])
    assert Image.open(io.BytesIO(picture)).size == (280, 280)
    page.get_by_role("button", name="Yes, it is 7").click()
    expect(page.locator("#thanks")).to_have_text("Changed: it is 7. Wrong key? Choose again.")
    expect(again).to_be_enabled()
    assert corrections(store)[-1][:2] == ("7", "7")
    assert read_corrections(store)[-1].correction == "7", "the last word on a drawing counts"
    page.click("#clear")
    draw_42(page)
    expect(number(page)).to_have_text("42")
    number(page).get_by_role("button").last.click()
    page.get_by_role("button", name="Yes, it is 2").click()
    expect(page.locator("#thanks")).to_contain_text("Kept: it is 2.")
    assert corrections(store)[-1][:2] == ("2", "2")
    number(page).get_by_role("button").first.click()
    expect(page.locator("#thanks")).to_be_hidden()
    expect(page.locator("#choices button").first).to_be_enabled()


def test_a_correction_that_is_refused_can_be_sent_again(visit):
    page = visit(complaints=["429"])
    draw(page, "7")
    expect(number(page)).to_have_text("7")
    full = json.dumps({"error": {"code": "full", "message": "the store is full"}})
    page.route("**/corrections", lambda route: route.fulfill(status=429, body=full, content_type="application/json"))
    page.get_by_role("button", name="No, it is 1").click()
    expect(page.locator("#thanks")).to_contain_text("Not kept: the store is full")
    expect(page.locator("#choices button").first).to_be_enabled()
    page.unroute("**/corrections")
    page.get_by_role("button", name="No, it is 1").click()
    expect(page.locator("#thanks")).to_contain_text("Kept: it is 1")


def test_pictures_are_opened_dropped_and_pasted(visit):
    page = visit()
    page.set_input_files("#file", {"name": "seven.png", "mimeType": "image/png", "buffer": a_picture()})
    expect(number(page)).to_have_text("7")
    page.click("#clear")
    give(page, "drop", a_picture((255, 255, 255, 255)))  # light ink on nothing: shown on black
    expect(number(page)).to_have_text("7")
    page.click("#clear")
    give(page, "paste", a_picture((240, 240, 240, 255), (20, 30, 60, 255), (160, 160)))
    expect(number(page)).to_have_text("7")
    draw(page, "1", left=0.38)  # on top of a picture, in ink that shows on it
    expect(number(page)).to_have_text("71")
    page.click("#clear")
    large = a_picture((0, 0, 0, 255), (255, 255, 255, 255), (2400, 3000))  # over 4 megapixels: scaled down here
    page.set_input_files("#file", {"name": "large.png", "mimeType": "image/png", "buffer": large})
    expect(number(page)).to_have_text("7")
    give(page, "drop", b"not a picture", "notes.txt", "text/plain")
    expect(page.locator("#state")).to_contain_text("notes.txt is no picture")
    expect(number(page)).to_have_text("–")  # an answer beside the error would be taken for the file's
    expect(page.locator("#correct")).to_be_hidden()
    page.wait_for_timeout(300)
    expect(page.locator("#state")).to_be_visible()
    page.click("#undo")
    expect(number(page)).to_have_text("–")
    page.click("#redo")
    expect(number(page)).to_have_text("7")
    expect(page.locator("#state")).to_be_hidden()
    give(page, "drop", a_picture((200, 210, 220, 255), (200, 210, 220, 255)))
    expect(page.locator("#sure")).to_have_text("No ink found in this picture")


def test_by_keyboard_alone(visit):
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
    expect(number(page)).to_have_text("1")
    expect(page.locator("#spoken")).to_contain_text("Read 1")
    page.keyboard.press("ArrowLeft")  # the pen is up
    expect(number(page)).to_have_text("1")
    for _ in range(20):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
    wanted = {"undo", "clear", "open", *STROKES, "Help", "For programs"}
    assert wanted <= set(reached), wanted - set(reached)
    page.focus("#undo")
    ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert ring == "solid"
    page.focus("#ink")
    page.keyboard.press("Escape")
    expect(number(page)).to_have_text("–")


def test_with_a_finger_on_a_phone(visit):
    page = visit(PHONE, phone=True)
    touch = page.context.new_cdp_session(page)
    for path in paths(page, "5"):
        for kind, points in [
            ("touchStart", path[:1]),
            *[("touchMove", [point]) for point in path[1:]],
            ("touchEnd", []),
        ]:
            given = [{"x": float(x), "y": float(y)} for x, y in points]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": given})
    expect(number(page)).to_have_text("5")
    assert page.evaluate("scrollY") == 0, "drawing does not scroll the page"
    box = number(page).bounding_box()
    assert box["y"] + box["height"] < PHONE[1], "the answer is in sight while drawing"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE, NARROW], ids=["desk", "phone", "narrow"])
def test_it_fits_and_is_legible(visit, tmp_path, size, scheme):
    page = visit(size, scheme, phone=size != DESK)
    draw_42(page)
    expect(number(page)).to_have_text("42")
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


def test_every_control_has_a_name(visit):
    page = visit()
    draw_42(page)
    expect(number(page)).to_have_text("42")
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


def test_the_server_goes_and_comes_back(visit):
    page = visit(complaints=["Failed to load resource", "429"])
    page.route("**/predict*", lambda route: route.abort())
    draw(page, "1")
    expect(page.locator("#state")).to_contain_text("The server does not answer")
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
    expect(number(page)).to_have_text("1", timeout=15_000)
    expect(page.locator("#state")).to_be_hidden()


def test_errors_and_doubt_are_said(visit):
    page = visit(complaints=["422"])
    problem = json.dumps({"error": {"code": "damaged", "message": "this picture is damaged"}})
    page.route("**/predict*", lambda route: route.fulfill(status=422, body=problem, content_type="application/json"))
    draw(page, "1")
    expect(page.locator("#state")).to_have_text("this picture is damaged")
    expect(number(page)).to_have_text("–")
    page.unroute("**/predict*")

    def doubt(route):
        reply = route.fetch()
        route.fulfill(response=reply, json={**reply.json(), "low_confidence": True})

    page.route("**/predict*", doubt)
    page.click("#clear")
    draw(page, "1")
    expect(page.locator("#sure")).to_contain_text("Not certain")
    expect(page.locator("#state")).to_be_hidden()


def test_other_classes_and_the_token(visit):
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
    expect(number(page)).to_have_text("letter a")
    expect(page.locator("#bars li")).to_have_count(10)
    assert shares(page)["letter b"] == 25
    expect(page.locator("#look")).to_be_hidden()
    page.get_by_role("combobox").select_option("letter z")
    page.route(
        "**/corrections", lambda route: (sent.append(route.request.post_data_json), route.fulfill(json={"id": 1}))
    )
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#thanks")).to_contain_text("Kept: it is letter z")
    assert sent[-1]["correction"] == "letter z"
    assert {token for _, token in sent[:-1]} == {"Bearer secret-1"}
    assert all("top_k=26" in url for url, _ in sent[:-1])
