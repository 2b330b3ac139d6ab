"""Downloads, checksums, repair: data files are right or refused."""

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch

from src.data.source import Source
from src.data.sources.download import fetch
from src.data.sources.idx import emnist, load_family, parse_idx
from src.data.sources.idx_catalog import DIGITS, MNIST, Family
from src.data.sources.sklearn_digits import digits
from src.data.sources.usps import box, parse_libsvm
from src.data.transforms import transform_source
from src.errors import InputError
from src.files import lock, write_bytes
from tests.small_data import idx_bytes, striped_digits


def family(packed, mirrors=()) -> Family:
    return Family("Small", tuple(mirrors), {role: (name, md5) for role, (name, md5, _) in packed.items()})


def publish(folder: Path, packed) -> None:
    for name, _, content in packed.values():
        (folder / name).write_bytes(content)


def load(packed, root, address, **options) -> Source:
    return load_family(family(packed, [address]), DIGITS, root=str(root), **options)


def test_download_unpacks_and_reads(server, packed, tmp_path):
    folder, address, asked = server
    publish(folder, packed)
    images, labels = load(packed, tmp_path / "root", address).train()
    expected, truth = striped_digits(200, 0)
    assert torch.equal(images[:, 0], torch.from_numpy(expected))
    assert labels.tolist() == truth.tolist()
    assert labels.dtype == torch.int64
    assert not any("test" in path for path in asked), "training must not open the test split"


def test_a_second_read_asks_no_server(server, packed, tmp_path):
    folder, address, asked = server
    publish(folder, packed)
    source = load(packed, tmp_path / "root", address)
    source.train()
    asked.clear()
    source.train()
    load(packed, tmp_path / "root", address, download=False).train()
    assert asked == []


def test_next_mirror_is_tried_after_missing_wrong_and_broken_answers(server, packed, tmp_path):
    folder, address, _ = server
    (folder / "wrong").mkdir()
    (folder / "good").mkdir()
    publish(folder / "good", packed)
    for name, _, _content in packed.values():
        (folder / "wrong" / name).write_bytes(b"something else")
    bad = ["http://127.0.0.1:9", f"{address}/missing", f"{address}/wrong", f"{address}/broken"]
    source = load_family(family(packed), DIGITS, root=str(tmp_path / "root"), mirrors=[*bad, f"{address}/good/"])
    assert len(source.train().labels) == 200


def test_no_mirror_left_is_one_line_that_names_each(server, packed, tmp_path):
    _, address, _ = server
    source = load_family(
        family(packed), DIGITS, root=str(tmp_path / "root"), mirrors=[f"{address}/missing", f"{address}/broken"]
    )
    with pytest.raises(InputError, match=r"missing.*404.*broken.*4 of 100,000 bytes.*data\.root") as error:
        source.train()
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "root").rglob("*.part"))


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_a_damaged_file_is_repaired_from_the_packed_one_or_refused(server, packed, tmp_path, damage):
    folder, address, asked = server
    publish(folder, packed)
    source = load(packed, tmp_path / "root", address)
    images = source.train().images
    raw = next((tmp_path / "root").rglob("train-images-ubyte"))
    content = bytearray(raw.read_bytes())
    if damage == "flip":
        content[5000] ^= 1
    raw.write_bytes({"flip": bytes(content), "truncate": bytes(content[:9000]), "empty": b""}[damage])
    with pytest.raises(InputError, match=r"train-images.*data\.download=true"):
        load(packed, tmp_path / "root", address, download=False).train()
    asked.clear()
    assert torch.equal(source.train().images, images)
    assert asked == [], "the packed file was still there"


def test_a_damaged_packed_file_is_downloaded_again(server, packed, tmp_path):
    folder, address, _ = server
    publish(folder, packed)
    raw = tmp_path / "root" / "Small" / "raw"
    raw.mkdir(parents=True)
    for name, _, content in packed.values():
        (raw / name).write_bytes(content[: len(content) // 2])  # half-downloaded
    assert len(load(packed, tmp_path / "root", address).train().labels) == 200


def test_a_known_digest_is_checked(mnist_root, tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (mnist_root / "MNIST" / "raw").glob("*ubyte"):
        content = bytearray(file.read_bytes())
        if file.name.startswith("train-images"):
            content[40_000_000] ^= 255
        (raw / file.name).write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        load_family(MNIST, DIGITS, root=str(tmp_path), download=False).train()


def _read_in_a_process(packed, root, address, results):
    results.put(len(load(packed, root, address).train().labels))


def test_two_processes_downloading_at_once_both_succeed(server, packed, tmp_path):
    folder, address, _ = server
    publish(folder, packed)
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [
        context.Process(target=_read_in_a_process, args=(packed, tmp_path / "root", address, results)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    assert [results.get(timeout=120) for _ in processes] == [200, 200]
    for process in processes:
        process.join()
        assert process.exitcode == 0


def test_a_root_that_cannot_be_written_is_one_line(packed):
    with pytest.raises(InputError, match=r"cannot be written.*data\.root"):
        load(packed, "/proc/nowhere", "http://127.0.0.1:9").train()


def test_write_bytes_leaves_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "file"
    write_bytes(path, b"old")
    with pytest.raises(TypeError):
        write_bytes(path, "no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_fetch_keeps_a_file_that_is_right(tmp_path, packed):
    name, md5, content = packed["test-labels"]
    (tmp_path / name).write_bytes(content)
    with lock(tmp_path / name):
        fetch(["http://127.0.0.1:9"], tmp_path / name, md5)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 zip", bytes([0, 0, 8, 3, 0, 0]), idx_bytes(np.zeros((3, 2), np.uint8))[:-1]]
)
def test_parse_idx_refuses_what_is_none(content):
    with pytest.raises(InputError):
        parse_idx(content, "file")


def test_idx_round_trip_of_integers():
    values = np.array([[1, -2], [70_000, 4]], np.int32)
    assert parse_idx(idx_bytes(values), "file").tolist() == values.tolist()


def test_emnist_is_upright_and_letters_count_from_zero(data_root):
    source = emnist(root=str(data_root), download=False)
    expected, _ = striped_digits(400, 0, classes=47)
    assert torch.equal(source.train().images[:, 0], torch.from_numpy(expected))
    assert len(source.class_names) == 47
    with pytest.raises(InputError, match=r"data\.variant=capitals.*balanced"):
        emnist(root=str(data_root), variant="capitals")


def test_digits_are_real_boxed_and_split_once():
    assert digits().train().images.shape == (1437, 1, 8, 8)
    source = transform_source(digits())
    train, test = source.train(), source.test()
    assert (len(train.labels), len(test.labels)) == (1437, 360)
    assert train.images.shape[1:] == (1, 28, 28)
    assert train.images.dtype == torch.uint8
    border = train.images.clone()
    border[:, :, 4:24, 4:24] = 0
    assert int(border.max()) == 0, "the digit is in the middle 20x20"
    assert int(train.images.max()) == 255
    both = torch.cat([train.labels, test.labels]).bincount()
    assert both.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert float((test.labels.bincount() - both * 360 / 1797).abs().max()) < 1


def test_box_keeps_grey_levels_and_centre():
    flat = torch.full((1, 1, 8, 8), 100.0)
    boxed = box(flat)
    assert int(boxed[0, 0, 14, 14]) == 100
    assert int(boxed.sum()) == 100 * 20 * 20


def test_usps_lines():
    line = "7 " + " ".join(f"{i}:{-1 if i != 120 else 1}" for i in range(1, 257))
    images, labels = parse_libsvm(f"{line}\n10 1:-1\n", "usps")
    assert labels.tolist() == [6, 9]
    assert images.shape == (2, 1, 16, 16)
    assert (int(images[0, 0].max()), int(images[0, 0].min())) == (255, 0)
    assert int(images[0, 0, 7, 7]) == 255, "pixel 120, counted from 1"
    for wrong in ("", "a 1:0", "1 300:0.1", "1 1:5", "11 1:0", "1 1"):
        with pytest.raises(InputError):
            parse_libsvm(wrong, "usps")
