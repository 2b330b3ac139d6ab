"""Files from mirrors: downloaded once, checked against a digest, never left half-written."""

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

    Each mirror is tried ATTEMPTS times. A file already at `path` with that digest is kept, another is replaced.
    Raises InputError naming every mirror and what it answered when none serves the file.
    """
    if path.is_file() and digest_of(path, "md5") == md5:
        return
    answers = []
    for url in urls:
        for attempt in range(ATTEMPTS):
            try:
                got = _download(url, path, md5)
            except (OSError, ValueError) as error:  # URLError, timeouts, resets, a full disk, a malformed address
                named = isinstance(error, urllib.error.HTTPError) or not hasattr(error, "reason")
                got = str(error if named else error.reason)
            if got is None:
                return
            time.sleep(0.2 * attempt)
        answers.append(f"{url}: {got}")
    raise InputError(
        f"could not download {path.name} ({'; '.join(answers)}). Put the file into {path.parent} yourself, "
        "give another data.mirrors=[URL], or point data.root at a folder that has it"
    )


def _download(url: str, path: Path, md5: str) -> str | None:
    """Stream `url` beside `path` and rename it into place; returns what is wrong with it, or None."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    digest = hashlib.md5(usedforsecurity=False)
    request = urllib.request.Request(url, headers={"User-Agent": "mnist-lightning-hydra"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply, part.open("wb") as file:
            expected = reply.headers.get("Content-Length")
            while chunk := reply.read(CHUNK):
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
