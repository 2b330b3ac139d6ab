"""Answer pictures over HTTP, with a page to draw on: python -m src.serve ckpt=<run, file or newest> [port=8000]"""

import logging
import os
import signal
from pathlib import Path

from omegaconf import DictConfig

from src.cli.command import CommandExit, command, output_folder
from src.cli.config import ROOT
from src.cli.inputs import INKS
from src.cli.process import tune_process
from src.errors import InputError, is_integer, require, require_packages
from src.files import display_path
from src.model_files.locate import find_checkpoint

log = logging.getLogger(__name__)
EXTRA = ("fastapi", "starlette", "uvicorn", "uvloop", "httptools", "prometheus_client")
TOKEN = "SERVE_TOKEN"


@command("serve")
def main(cfg: DictConfig) -> None:
    """Serve until SIGTERM (143) or Ctrl-C (130); SIGHUP takes a newer network."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to replace
    # Before NumPy is read; cores get pictures.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    check(cfg)
    token = find_token(cfg)
    path = find_checkpoint(cfg.ckpt, ROOT / "outputs", int8=True)
    base = find_checkpoint(cfg.base, ROOT / "outputs", key="base") if cfg.base else None

    from src.server.settings import HOW, SHORTEST, Settings, is_loopback

    local, length = is_loopback(cfg.host), len(token or "")
    require(
        local or token is not None,
        f"host={cfg.host} is open to others: set {TOKEN} or give token_file=<file> with a token that they must send; "
        f"{HOW}",
    )
    require(
        local or length >= SHORTEST,
        f"host={cfg.host} is open to others: a token of {length} characters can be guessed, at least {SHORTEST} "
        f"are needed; {HOW}",
    )
    names = {name.lower() for name in (*Settings.hosts, cfg.host, *cfg.hosts)}
    settings = Settings(
        batch=cfg.batch, waiting=cfg.waiting, deadline_s=cfg.deadline_s, connections=cfg.connections,
        hosts=frozenset(names if local or cfg.hosts else ()), token=token,
    )  # fmt: skip

    from src.server.sockets import address_of, open_socket

    bound = open_socket(cfg.host, cfg.port)

    from src.cli.process import use_threads
    from src.files import write_json
    from src.server.app import App
    from src.server.correction_store import open_store
    from src.server.lifecycle import serve
    from src.server.model import ServedModel

    with bound:
        store = open_store(cfg.feedback) if cfg.feedback else None
        tune_process()  # a sixth of a picture's time is memory that is given back and asked for again
        use_threads(1)

        def load() -> ServedModel:
            newest = find_checkpoint(cfg.ckpt, ROOT / "outputs", int8=True)
            return ServedModel(newest, base, cfg.ink, cfg.several)

        served = ServedModel(path, base, cfg.ink, cfg.several)
        app = App(served, settings, store)
        try:
            served.check()
        except InputError as error:
            app.life.unfit = str(error)
            log.warning("/readyz says 503: %s", error)
        address, results = address_of(bound), output_folder() / "results.json"
        about = {"address": address, "checkpoint": {"file": str(path), "sha256": served.net.digest}}
        write_json(results, about)

        def ready() -> None:
            log.info("%s answers with %s (%s); Ctrl-C ends it", address, display_path(path), served.engine)
            kept = "not taken" if store is None else f"{display_path(store.path)}, {store.count():,} so far"
            log.info("corrections: %s", kept)

        caught = serve(app, bound, load, ready)
        write_json(results, {**about, "requests": app.metrics.counts()})
        if caught == signal.SIGINT:
            raise KeyboardInterrupt
        raise CommandExit(128 + (caught or signal.SIGTERM), "stopped")


def check(cfg: DictConfig) -> None:
    """Raise InputError for a value that is not taken, or packages that are not here; torch is not read for it."""
    require_packages("serve", *EXTRA)
    require(isinstance(cfg.host, str) and bool(cfg.host), f"host={cfg.host}: an address of this machine")
    require(is_integer(cfg.port) and 0 <= cfg.port < 65_536, f"port={cfg.port}: 0 to 65535, 0 takes a free one")
    require(cfg.ink in INKS, f"ink={cfg.ink}: one of {', '.join(INKS)}")
    require(isinstance(cfg.several, bool), f"several={cfg.several}: true or false")
    for key in ("base", "token_file", "feedback"):
        require(cfg[key] is None or isinstance(cfg[key], str), f"{key}={cfg[key]}: a file, or null")
    named = not isinstance(cfg.hosts, str) and all(isinstance(name, str) for name in cfg.hosts or ())
    require(named and cfg.hosts is not None, f"hosts={cfg.hosts}: a list of names, such as hosts=[digits.example.org]")


def find_token(cfg: DictConfig) -> str | None:
    """The token of the environment or of a file; None for none. It is no key: configs are written to disk."""
    from src.server.settings import read_token

    if cfg.token_file is None:
        return read_token(os.environ.get(TOKEN), TOKEN)
    try:
        return read_token(Path(cfg.token_file).expanduser().read_text(), f"token_file={cfg.token_file}")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"token_file={cfg.token_file} cannot be read ({error})") from None


if __name__ == "__main__":
    main()
