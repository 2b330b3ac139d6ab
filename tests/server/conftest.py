"""A small network and applications that serve it; a server process, and its page in a browser."""

import json
import shutil
import signal
import time
from contextlib import contextmanager
from functools import partial
from urllib.request import urlopen

import pytest

from tests.commands import output_of, run, start
from tests.server.page import DESK


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    from src.server.model import ServedModel
    from tests.server.client import write_network

    return ServedModel(write_network(tmp_path_factory.mktemp("network") / "lenet.ckpt"))


@pytest.fixture
def make_app(model):
    """Makes applications with limits of their own, and stops their threads at the end."""
    from src.server.app import App
    from src.server.settings import Settings

    apps, default = [], model

    def make(store=None, model=None, **limits):
        apps.append(App(model or default, Settings(**limits), store))
        return apps[-1]

    yield make
    for app in apps:
        app.close()


@pytest.fixture(scope="module")
def app(model, tmp_path_factory):
    """An application with default limits and an empty store of corrections."""
    from src.data.sources.corrections import CorrectionStore
    from src.server.app import App

    app = App(model, store=CorrectionStore(tmp_path_factory.mktemp("store") / "feedback.sqlite"))
    yield app
    app.close()


@pytest.fixture(scope="session", autouse=True)
def _close_event_loop():
    yield
    from tests.server.client import RUNNER

    RUNNER.close()


@pytest.fixture(scope="session")
def page_server(mnist_root, tmp_path_factory):
    """The address of a server with a network trained on MNIST, and the file of its corrections."""
    folder = tmp_path_factory.mktemp("page")
    words = [f"data.root={mnist_root}", "data.download=false", "experiment=fast", "augment=stroke", "test=false"]
    done = run(
        "src.train",
        *words,
        "logger=csv",
        "figures=false",
        "trainer.max_epochs=2",
        f"hydra.run.dir={folder}/run",
    )
    assert done.returncode == 0, done.stderr
    store = folder / "feedback.sqlite"
    with serve(folder / "run", store, folder / "serve") as address:
        yield address, store


@contextmanager
def serve(ckpt, store, folder):
    """A server process of a network until the end of the block; its address."""
    process = start("src.serve", f"ckpt={ckpt}", "port=0", f"feedback={store}", f"hydra.run.dir={folder}")
    try:
        until = time.monotonic() + 60
        while not (folder / "results.json").is_file() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        address = json.loads((folder / "results.json").read_text())["address"]
        while time.monotonic() < until:
            try:
                with urlopen(f"{address}/readyz", timeout=5):
                    break
            except OSError:
                time.sleep(0.1)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = output_of(process, 30)
    assert process.returncode == 143, err


@pytest.fixture(scope="module")
def browser():
    """A Chromium; while it is there Playwright runs an event loop, in which the requests of other modules cannot."""
    sync_playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").sync_playwright
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(page_server, open_page):
    """Opens the page of a network trained on MNIST, as `open_page`."""
    return partial(open_page, page_server[0])


@pytest.fixture
def open_page(browser):
    """Opens a server's page; at the end the console is empty, and no other host was requested."""
    from playwright.sync_api import expect

    contexts, logged, requested, allowed, addresses = [], [], [], [], {"blob:", "data:"}

    def visit(address, size=DESK, scheme="light", phone=False, fragment="", before=None, complaints=()):
        width, height = size
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, has_touch=phone, is_mobile=phone
        )
        contexts.append(context)
        allowed.extend(complaints)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on(
            "console", lambda message: logged.append(message.text) if message.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: logged.append(str(error)))
        page.on("request", lambda request: requested.append(request.url))
        if before is not None:
            before(page)
        addresses.add(f"{address}/")
        page.goto(f"{address}/{fragment}")
        expect(page.locator("#about")).to_contain_text("network")
        return page

    yield visit
    for context in contexts:
        for page in context.pages:
            page.unroute_all(behavior="ignoreErrors")
        context.close()
    assert [text for text in logged if not any(part in text for part in allowed)] == []
    assert {url for url in requested if not url.startswith(tuple(addresses))} == set()
