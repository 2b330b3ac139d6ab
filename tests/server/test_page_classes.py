"""The page of networks of any classes: their names, how a class is chosen, and pictures in colour."""

import io
import time

import numpy as np
import pytest

pytest.importorskip("playwright", reason="playwright is not installed: pip install -e '.[dev]' brings it")
pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install -e '.[serve]' brings it")

from playwright.sync_api import expect

from src.data.sources.correction_networks import CorrectedNetwork
from src.data.sources.corrections import read_corrections
from src.models.cnn import CNN
from tests.photo_files import draw_photo
from tests.server.client import write_network
from tests.server.conftest import serve
from tests.server.page import CONTRAST, DESK, PHONE, send_file, stored_corrections

pytestmark = pytest.mark.slow

ODD = (
    "<b>bold</b>",
    "\"two\" & 'one'",
    "气球",
    "a very long name of a class that somebody gave without thinking of the page on which it must stand",
    "Onewordthatisaslongasawholelineandgoesonandonandonandonforever_and_more_123456",
)
COLOUR = (3, 64, 64)


def class_names(count: int) -> tuple[str, ...]:
    rest = (f"植物种类第{i}号" if i % 3 else f"species number {i} of the collection" for i in range(count))
    return (*ODD, *rest)[:count]


@pytest.fixture(scope="module", params=[3, 12, 30, 300])
def colour_server(request, tmp_path_factory):
    """The address of a server whose network reads photographs, the file of its corrections, and its classes."""
    folder, names = tmp_path_factory.mktemp("colours"), class_names(request.param)
    path = write_network(folder / "cnn.ckpt", CNN, names, COLOUR)
    with serve(path, folder / "feedback.sqlite", folder / "serve") as address:
        yield address, folder / "feedback.sqlite", names


def photo(size=(160, 120), seed=0) -> bytes:
    buffer = io.BytesIO()
    draw_photo(1, np.random.default_rng(seed), size).save(buffer, "PNG")
    return buffer.getvalue()


def shown_pixels(page) -> np.ndarray:
    """What the page shows as seen by the network: uint8 (H, W, 3)."""
    code = """() => { const c = document.getElementById("seen"), g = c.getContext("2d");
      return [c.height, c.width, [...g.getImageData(0, 0, c.width, c.height).data]]; }"""
    height, width, levels = page.evaluate(code)
    return np.array(levels, np.uint8).reshape(height, width, 4)[:, :, :3]


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_a_photograph_is_shown_as_it_is_read_and_corrected_by_keyboard(open_page, colour_server, size):
    address, store, names = colour_server
    page = open_page(address, size, complaints=["willReadFrequently"])
    expect(page).to_have_title("Give a picture")
    expect(page.locator("#lead")).to_contain_text("on pictures scaled to 64 × 64 pixels in colour")
    expect(page.locator("#hint")).to_contain_text("Drop or paste a picture")
    before = len(stored_corrections(store)) if store.is_file() else 0
    send_file(page, "drop", photo(seed=size[0]))
    expect(page.locator("#sure")).to_contain_text("sure")
    chosen = names[0]
    if len(names) <= 12:
        expect(page.locator("#choices button")).to_have_text(list(names))
        page.locator("#choices button").first.focus()
        page.keyboard.press("Enter")
    else:
        page.get_by_role("combobox", name=f"Correct class, one of {len(names)}").focus()
        page.keyboard.type("BOLD")  # a part of one name alone
        expect(page.get_by_role("button", name=f"Send “{chosen}”")).to_be_enabled()
        page.keyboard.press("Enter")
    expect(page.locator("#thanks")).to_contain_text(f"Saved as {chosen}.")
    assert len(stored_corrections(store)) == before + 1
    last = read_corrections(store)[-1]
    assert (last.correction, tuple(last.image.shape)) == (chosen, COLOUR)
    assert last.networks == (CorrectedNetwork(names, "mnist", None),)
    assert np.array_equal(shown_pixels(page), last.image.permute(1, 2, 0).numpy()), "shown as the network sees it"
    assert page.locator("b").count() == 0, "names are no HTML"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_names_of_any_length_fit(open_page, colour_server, size, scheme):
    address, _, names = colour_server
    page = open_page(address, size, scheme, phone=size == PHONE)
    send_file(page, "paste", photo())
    expect(page.locator("#sure")).to_contain_text("sure")
    assert page.evaluate("document.documentElement.scrollWidth") == size[0], "nothing to scroll sideways"
    for row in page.locator("#bars .track").all():
        assert row.bounding_box()["width"] > 80, "a bar is long enough to be compared"
    for control in page.locator("#choices button, #choices input").all():
        box = control.bounding_box()
        assert min(box["width"], box["height"]) >= 24
        assert box["height"] < 160, "a name is on few lines"
        assert control.evaluate("each => each.scrollWidth <= each.clientWidth")
    assert [pair for pair in page.evaluate(CONTRAST) if pair[0] < 4.5] == []
    expect(page.locator("#known")).to_be_visible(visible=len(names) > 3)
    if len(names) > 3:
        page.locator("#known-title").click()
        expect(page.locator("#known-names li")).to_have_text(list(names))


def test_a_class_that_does_not_exist_cannot_be_sent(open_page, colour_server):
    address, store, names = colour_server
    if len(names) <= 12:
        pytest.skip("there are buttons")
    page = open_page(address)
    send_file(page, "drop", photo())
    expect(page.locator("#sure")).to_contain_text("sure")
    before = len(stored_corrections(store)) if store.is_file() else 0
    for typed in ("zebra", "species", " "):  # none, several, nothing
        page.get_by_role("combobox").fill(typed)
        expect(page.get_by_role("button", name="Send", exact=True)).to_be_disabled()
        page.get_by_role("combobox").press("Enter")
    page.get_by_role("combobox").fill(names[0])
    send_file(page, "drop", photo(seed=1))
    expect(page.get_by_role("combobox")).to_have_value("")  # the class of the picture before
    page.wait_for_timeout(300)
    assert (len(stored_corrections(store)) if store.is_file() else 0) == before
    assert page.url == f"{address}/", "Enter does not leave the page"


def test_the_sheet_of_a_network_of_photographs_is_not_drawn_on(open_page, colour_server):
    address, *_ = colour_server
    choosers: list = []
    page = open_page(address, before=lambda page: page.on("filechooser", lambda chooser: choosers.append(chooser)))

    def wait_for_choosers(count):
        until = time.monotonic() + 10
        while len(choosers) < count:
            assert time.monotonic() < until
            page.wait_for_timeout(50)

    box = page.locator("#ink").bounding_box()
    page.mouse.click(box["x"] + 50, box["y"] + 50)
    wait_for_choosers(1)
    page.focus("#ink")
    page.keyboard.press("Enter")
    wait_for_choosers(2)
    choosers[-1].set_files({"name": "a.png", "mimeType": "image/png", "buffer": photo()})
    expect(page.locator("#sure")).to_contain_text("sure")
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 150, box["y"] + 150)
    page.mouse.up()
    page.click("#undo")
    expect(page.locator("#hint")).to_be_visible()
    expect(page.locator("#undo")).to_be_disabled()
