"""Download of files from mirrors, verified by digest and never left half-written."""

import hashlib
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from src.errors import InputError
from src.files import digest_of, replaced_file

TIMEOUT_S = 30
ATTEMPTS = 2  # per mirror
CHUNK = 1 << 20


def fetch(mirrors: Sequence[str], path: Path, md5: str) -> None:
    """Download the file `path` from the first mirror that has it with the digest `md5`; call it under `lock(path)`.

    Each mirror is tried ATTEMPTS times. A file at `path` with that digest is kept, any other is replaced.
    Raises InputError, naming every mirror and its failure, if none delivers the file.
    """
    if path.is_file() and digest_of(path, "md5") == md5:
        return
    failures = []
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{path.name}"
        for attempt in range(ATTEMPTS):
            try:
                return _download(url, path, md5)
            except (OSError, ValueError) as error:  # URLError, timeouts, resets, a full disk, a malformed URL
                is_http = isinstance(error, urllib.error.HTTPError)
                failure = str(error if is_http else getattr(error, "reason", error))
            time.sleep(0.2 * attempt)
        failures.append(f"{url}: {failure}")
    raise InputError(
        f"could not download {path.name} ({'; '.join(failures)}). Put the file into {path.parent} yourself, "
        "give another data.mirrors=[URL], or point data.root at a folder that has it"
    )


def _download(url: str, path: Path, md5: str) -> None:
    """Raises OSError if the URL cannot be read or the file not written, ValueError for wrong content."""
    digest = hashlib.md5(usedforsecurity=False)
    request = urllib.request.Request(url, headers={"User-Agent": "mnist-lightning-hydra"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response, replaced_file(path) as file:
        expected = response.headers.get("Content-Length")
        while chunk := response.read(CHUNK):
            digest.update(chunk)
            file.write(chunk)
        if expected is not None and file.tell() != int(expected):
            raise ValueError(f"connection closed after {file.tell():,} of {int(expected):,} bytes")
        if digest.hexdigest() != md5:
            raise ValueError(f"wrong content (MD5 {digest.hexdigest()}, expected {md5})")
