"""Download of files from mirrors, verified by digest and never left half-written."""

import hashlib
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from src.errors import InputError
from src.files import digest_of

TIMEOUT_S = 30
ATTEMPTS = 2  # per mirror
CHUNK = 1 << 20


def fetch(urls: Sequence[str], path: Path, md5: str) -> None:
    """Download the first of `urls` whose bytes have the digest `md5` to `path`; call it under `lock(path)`.

    Each mirror is tried ATTEMPTS times. A file at `path` with that digest is kept, any other is replaced.
    Raises InputError, naming every mirror and its failure, if none delivers the file.
    """
    if path.is_file() and digest_of(path, "md5") == md5:
        return
    failures = []
    for url in urls:
        for attempt in range(ATTEMPTS):
            try:
                failure = _download(url, path, md5)
            except (OSError, ValueError) as error:  # URLError, timeouts, resets, a full disk, a malformed URL
                is_http = isinstance(error, urllib.error.HTTPError)
                failure = str(error if is_http else getattr(error, "reason", error))
            if failure is None:
                return
            time.sleep(0.2 * attempt)
        failures.append(f"{url}: {failure}")
    raise InputError(
        f"could not download {path.name} ({'; '.join(failures)}). Put the file into {path.parent} yourself, "
        "give another data.mirrors=[URL], or point data.root at a folder that has it"
    )


def _download(url: str, path: Path, md5: str) -> str | None:
    """Stream `url` beside `path` and rename it into place; returns why it failed, or None."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    digest = hashlib.md5(usedforsecurity=False)
    request = urllib.request.Request(url, headers={"User-Agent": "mnist-lightning-hydra"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response, part.open("wb") as file:
            expected = response.headers.get("Content-Length")
            while chunk := response.read(CHUNK):
                digest.update(chunk)
                file.write(chunk)
            size = file.tell()
            file.flush()
            os.fsync(file.fileno())
        if expected is not None and size != int(expected):
            return f"connection closed after {size:,} of {int(expected):,} bytes"
        if digest.hexdigest() != md5:
            return f"wrong content (MD5 {digest.hexdigest()}, expected {md5})"
        os.replace(part, path)
        return None
    finally:
        part.unlink(missing_ok=True)
