"""What tests of the drawing page do on it: strokes, files, and what they read from it."""

import base64
import io
import sqlite3

import numpy as np
from PIL import Image, ImageDraw

DESK, PHONE, NARROW = (1280, 800), (390, 844), (360, 640)
# Strokes of a hand: points (x, y) as fractions of the sheet, joined by curves.
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
DELAYED_FETCH = """(() => {
  const real = window.fetch;
  Object.assign(window, { flying: 0, most: 0, asked: [] });
  window.fetch = async (address, options) => {
    window.most = Math.max(window.most, ++window.flying);
    window.asked.push(String(address));
    await new Promise((resolve) => setTimeout(resolve, 200));
    try { return await real(address, options); } finally { window.flying -= 1; }
  };
})()"""


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


def stroke_paths(page, digit, left=0.0, top=0.0, size=1.0):
    """The strokes of a digit in pixels of the window; left, top, size: in shares of the sheet."""
    box = page.locator("#ink").bounding_box()
    corner, side = np.array([box["x"], box["y"]]), np.array([box["width"], box["height"]])
    return [[corner + side * ([left, top] + size * point) for point in curve(stroke)] for stroke in STROKES[digit]]


def draw(page, digit, **place):
    for path in stroke_paths(page, digit, **place):
        page.mouse.move(*path[0])
        page.mouse.down()
        for point in path[1:]:
            page.mouse.move(*point)
        page.mouse.up()


def draw_42(page):
    draw(page, "4", left=-0.05, top=0.2, size=0.55)
    draw(page, "2", left=0.48, top=0.2, size=0.55)


def digits_read(page):
    return page.locator("#number")


def percentages(page):
    """Class -> probability in per cent, as the bars say it."""
    rows = page.locator("#bars li").all_inner_texts()
    return {name: float(value.strip(" >%\xa0")) for name, value in (row.split("\n") for row in rows)}


def stored_corrections(store):
    with sqlite3.connect(store) as connection:
        return connection.execute(
            "SELECT answer, correction, channels, height, width, picture FROM corrections"
        ).fetchall()


def picture_of_a_seven(ink=(0, 0, 0, 255), ground=(0, 0, 0, 0), size=(90, 160)) -> bytes:
    """A seven, as a PNG."""
    image = Image.new("RGBA", size, ground)
    w, h = size
    points = [(0.2 * w, 0.2 * h), (0.8 * w, 0.2 * h), (0.42 * w, 0.85 * h)]
    ImageDraw.Draw(image).line(points, ink, width=w // 9, joint="curve")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def send_file(page, event, content, name="picture.png", kind="image/png"):
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
