"""Downloads: verified, repaired, from the next mirror, by several processes at once."""

import multiprocessing
from pathlib import Path

import pytest
import torch

from src.data.source import Source
from src.data.sources.download import fetch
from src.data.sources.idx import load_idx
from src.data.sources.idx_catalog import DIGIT_NAMES, MNIST, IdxDataset
from src.errors import InputError
from src.files import lock
from tests.small_data import striped_digits


def family(packed_files, mirrors=()) -> IdxDataset:
    return IdxDataset(
        "Small", DIGIT_NAMES, tuple(mirrors), {role: (name, md5) for role, (name, md5, _) in packed_files.items()}
    )


def publish(folder: Path, packed_files) -> None:
    for name, _, content in packed_files.values():
        (folder / name).write_bytes(content)


def load(packed_files, root, address, **options) -> Source:
    return load_idx(family(packed_files, [address]), root=str(root), **options)


def test_a_download_is_unpacked_and_read(file_server, packed_files, tmp_path):
    folder, address, requests = file_server
    publish(folder, packed_files)
    images, labels = load(packed_files, tmp_path / "root", address).train()
    expected, truth = striped_digits(200, 0)
    assert torch.equal(images[:, 0], torch.from_numpy(expected))
    assert labels.tolist() == truth.tolist()
    assert labels.dtype == torch.int64
    assert not any("test" in path for path in requests), "training must not open the test split"


def test_a_second_read_downloads_nothing(file_server, packed_files, tmp_path):
    folder, address, requests = file_server
    publish(folder, packed_files)
    source = load(packed_files, tmp_path / "root", address)
    source.train()
    requests.clear()
    source.train()
    load(packed_files, tmp_path / "root", address, download=False).train()
    assert requests == []


def test_the_next_mirror_is_tried_after_missing_wrong_and_truncated_files(file_server, packed_files, tmp_path):
    folder, address, _ = file_server
    (folder / "wrong").mkdir()
    (folder / "good").mkdir()
    publish(folder / "good", packed_files)
    for name, _, _content in packed_files.values():
        (folder / "wrong" / name).write_bytes(b"something else")
    bad = ["http://127.0.0.1:9", f"{address}/missing", f"{address}/wrong", f"{address}/broken"]
    source = load_idx(family(packed_files), root=str(tmp_path / "root"), mirrors=[*bad, f"{address}/good/"])
    assert len(source.train().labels) == 200


def test_the_error_names_every_mirror_that_failed(file_server, packed_files, tmp_path):
    _, address, _ = file_server
    source = load_idx(
        family(packed_files),
        root=str(tmp_path / "root"),
        mirrors=[f"{address}/missing", f"{address}/broken"],
    )
    with pytest.raises(InputError, match=r"missing.*404.*broken.*4 of 100,000 bytes.*data\.root") as error:
        source.train()
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "root").rglob("*.part"))


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_a_damaged_file_is_repaired_from_the_packed_one_or_rejected(file_server, packed_files, tmp_path, damage):
    folder, address, requests = file_server
    publish(folder, packed_files)
    source = load(packed_files, tmp_path / "root", address)
    images = source.train().images
    raw = next((tmp_path / "root").rglob("train-images-ubyte"))
    content = bytearray(raw.read_bytes())
    if damage == "flip":
        content[5000] ^= 1
    raw.write_bytes({"flip": bytes(content), "truncate": bytes(content[:9000]), "empty": b""}[damage])
    with pytest.raises(InputError, match=r"train-images.*data\.download=true"):
        load(packed_files, tmp_path / "root", address, download=False).train()
    requests.clear()
    assert torch.equal(source.train().images, images)
    assert requests == [], "the packed_files file was still there"


def test_a_damaged_packed_file_is_downloaded_again(file_server, packed_files, tmp_path):
    folder, address, _ = file_server
    publish(folder, packed_files)
    raw = tmp_path / "root" / "Small" / "raw"
    raw.mkdir(parents=True)
    for name, _, content in packed_files.values():
        (raw / name).write_bytes(content[: len(content) // 2])  # half-downloaded
    assert len(load(packed_files, tmp_path / "root", address).train().labels) == 200


def test_a_published_digest_is_verified(mnist_root, tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (mnist_root / "MNIST" / "raw").glob("*ubyte"):
        content = bytearray(file.read_bytes())
        if file.name.startswith("train-images"):
            content[40_000_000] ^= 255
        (raw / file.name).write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        load_idx(MNIST, root=str(tmp_path), download=False).train()


def _read_in_a_process(packed_files, root, address, results):
    results.put(len(load(packed_files, root, address).train().labels))


def test_two_processes_downloading_at_once_both_succeed(file_server, packed_files, tmp_path):
    folder, address, _ = file_server
    publish(folder, packed_files)
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [
        context.Process(target=_read_in_a_process, args=(packed_files, tmp_path / "root", address, results))
        for _ in range(2)
    ]
    for process in processes:
        process.start()
    assert [results.get(timeout=120) for _ in processes] == [200, 200]
    for process in processes:
        process.join()
        assert process.exitcode == 0


def test_an_unwritable_root_is_an_error_of_one_line(packed_files):
    with pytest.raises(InputError, match=r"cannot be written.*data\.root"):
        load(packed_files, "/proc/nowhere", "http://127.0.0.1:9").train()


def test_fetch_keeps_a_file_with_the_right_digest(tmp_path, packed_files):
    name, md5, content = packed_files["test-labels"]
    (tmp_path / name).write_bytes(content)
    with lock(tmp_path / name):
        fetch(["http://127.0.0.1:9"], tmp_path / name, md5)
