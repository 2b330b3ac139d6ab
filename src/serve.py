"""Serve a network over HTTP, with a page to draw on: python -m src.serve ckpt=<run, file or newest> [port=8000]"""

import logging
import os
import signal
import socket
from pathlib import Path

from omegaconf import DictConfig

from src.cli.command import command
from src.cli.error_line import CommandExit
from src.cli.imports import import_torchmetrics
from src.cli.inputs import INKS
from src.cli.job_record import output_folder
from src.cli.process import set_threads, tune_process
from src.errors import InputError, boolean, choice, integer, require, require_packages, text
from src.files import OUTPUTS, display_path, read_regular, write_json
from src.model_files.locate import find_checkpoint
from src.server.settings import MIN_TOKEN, TOKEN_HINT, Settings, is_loopback, open_socket, read_token, url_of

log = logging.getLogger(__name__)
TOKEN = "SERVE_TOKEN"
MOST_TOKEN_BYTES = 1 << 16


@command("serve")
def main(cfg: DictConfig) -> None:
    """Serve until SIGTERM (143) or Ctrl-C (130); SIGHUP loads a newer network."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is a network to replace
    # Cores decode pictures, so that computation gets one thread. These are read when NumPy is imported.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    check_server_options(cfg)
    settings = make_settings(cfg)
    find_checkpoint(cfg.ckpt, OUTPUTS, int8=True, tell=lambda line: None)  # an error here does not wait for torch
    base = find_checkpoint(cfg.base, OUTPUTS, key="base") if cfg.base else None
    with open_socket(cfg.host, cfg.port) as listener:
        received = serve(cfg, settings, base, listener)
    if received == signal.SIGINT:
        raise KeyboardInterrupt
    raise CommandExit(128 + (received or signal.SIGTERM), "stopped")


def check_server_options(cfg: DictConfig) -> None:
    """Reject missing packages and values that cannot be used; does not import torch."""
    require_packages("serve", "pydantic", "starlette", "uvicorn", "uvloop", "httptools", "prometheus_client")
    text("host", cfg.host, "an address of this machine")
    integer("port", cfg.port, 0, 65_535)
    choice("ink", cfg.ink, INKS)
    boolean("several", cfg.several)
    for key in ("base", "token_file", "feedback"):
        text(key, cfg[key], "a file", optional=True)
    names = not isinstance(cfg.hosts, str) and all(isinstance(name, str) for name in cfg.hosts or ())
    require(names and cfg.hosts is not None, f"hosts={cfg.hosts}: a list of names, such as hosts=[digits.example.org]")


def make_settings(cfg: DictConfig) -> Settings:
    """The server's limits, names and token. Rejects a host that others reach without a token hard to guess."""
    token, local = find_token(cfg), is_loopback(cfg.host)
    length = len(token or "")
    require(
        local or token is not None,
        f"host={cfg.host} is open to others: set {TOKEN} or give token_file=<file>, with a token that requests must "
        f"send; {TOKEN_HINT}",
    )
    require(
        local or length >= MIN_TOKEN,
        f"host={cfg.host} is open to others: a token of {length} characters can be guessed, at least {MIN_TOKEN} "
        f"are needed; {TOKEN_HINT}",
    )
    names = {name.lower() for name in (*Settings.hosts, cfg.host, *cfg.hosts)}
    return Settings(
        batch=cfg.batch, waiting=cfg.waiting, deadline_s=cfg.deadline_s, connections=cfg.connections,
        hosts=frozenset(names if local or cfg.hosts else ()), token=token,
    )  # fmt: skip


def find_token(cfg: DictConfig) -> str | None:
    """The token in the environment or in a file, or None. It is no config key, for configs are written to disk."""
    if cfg.token_file is None:
        return read_token(os.environ.get(TOKEN), TOKEN)
    try:
        content = read_regular(Path(cfg.token_file).expanduser(), MOST_TOKEN_BYTES)
        return read_token(content.decode(), f"token_file={cfg.token_file}")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"token_file={cfg.token_file} cannot be read ({error})") from None


def serve(cfg: DictConfig, settings: Settings, base: Path | None, listener: socket.socket) -> int | None:
    """Load the network and serve it until a signal; returns its number. Writes results.json."""
    import_torchmetrics(cfg)
    from src.server.app import App, open_store
    from src.server.lifecycle import run_server
    from src.server.model import ServedModel

    store = open_store(cfg.feedback) if cfg.feedback else None
    tune_process()  # memory that is returned to the system and faulted in again is a sixth of a picture's time
    set_threads(1)

    def load() -> ServedModel:
        return ServedModel(find_checkpoint(cfg.ckpt, OUTPUTS, int8=True), base, cfg.ink, cfg.several)

    model = load()
    app = App(model, settings, store)
    try:
        model.self_test()
    except InputError as error:
        app.self_test_error = str(error)
        log.warning("/readyz answers 503: %s", error)
    results = {"address": url_of(listener), "checkpoint": {"file": str(model.path), "sha256": model.net.digest}}
    write_json(output_folder() / "results.json", results)

    def log_start() -> None:
        log.info("serving %s (%s) at %s; Ctrl-C stops", display_path(model.path), model.engine, results["address"])
        stored = "rejected" if store is None else f"stored in {display_path(store.path)}, {store.count():,} so far"
        log.info("corrections: %s", stored)

    received = run_server(app, listener, load, log_start)
    write_json(output_folder() / "results.json", {**results, "requests": app.metrics.request_counts()})
    return received


if __name__ == "__main__":
    main()
