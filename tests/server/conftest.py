"""A small network, and applications that serve it."""

import pytest


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
