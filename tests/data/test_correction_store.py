"""The store of corrections: what it returns, shares, limits and refuses."""

import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from src.data.sources.correction_networks import CorrectedNetwork, describe_network
from src.data.sources.correction_schema import CORRECTIONS, VERSION
from src.data.sources.corrections import CorrectionStore, StoreFullError, read_corrections
from src.errors import InputError
from tests.data.corrections import make_image, make_store

LEGACY_STORE = Path(__file__).parent / "legacy/feedback.sqlite"


def test_corrections_are_read_as_they_were_added(tmp_path):
    store = CorrectionStore(tmp_path / "new/feedback.sqlite")
    assert store.count() == 0
    assert not store.path.exists(), "no file before the first correction"
    image = make_image(0, (3, 20, 30))
    assert store.add(torch.from_numpy(image), b"\x89PNG", "4", "9", "abc") == 1
    assert store.add(make_image(1), b"", None, "ring") == 2
    assert store.count() == 2
    first, second = read_corrections(tmp_path / "new")
    assert (first.correction, first.prediction, first.model) == ("9", "4", "abc")
    assert first.image.equal(torch.from_numpy(image))
    assert (second.correction, second.prediction) == ("ring", None)
    store.close()
    assert CorrectionStore(store.path).count() == 2
    with sqlite3.connect(store.path) as connection:
        (picture, made_at) = connection.execute("SELECT picture, made_at FROM corrections").fetchone()
    assert picture == b"\x89PNG"
    assert made_at.endswith("+00:00")


def test_the_last_correction_of_an_image_counts(tmp_path):
    store = CorrectionStore(tmp_path / "f.sqlite")
    for seed, correction in ((0, "1"), (1, "2"), (0, "7"), (1, "2")):
        store.add(make_image(seed), b"", "0", correction)
    found = [(c.id, c.correction, c.superseded) for c in read_corrections(store.path)]
    assert found == [(3, "7", ((1, "1"),)), (4, "2", ((2, "2"),))]


RATINGS = CorrectedNetwork(tuple("9876543210"), "folder", "/srv/ratings")
DIGITS = CorrectedNetwork(tuple("0123456789"), "mnist", "data")


def test_each_row_knows_the_network_that_answered(tmp_path):
    store = CorrectionStore(tmp_path / "f.sqlite")
    for seed, model, network in (
        (0, "a", DIGITS),
        (1, "b", RATINGS),
        (0, "b", RATINGS),
        (2, "c", None),
        (3, "a", DIGITS),
    ):
        store.add(make_image(seed), b"", "0", "1", model, network)
    assert [one.networks for one in read_corrections(store.path)] == [(DIGITS, RATINGS), (RATINGS,), (None,), (DIGITS,)]
    with closing(sqlite3.connect(store.path)) as connection:
        assert connection.execute("SELECT count(*) FROM networks").fetchone() == (2,), "each is stored once"


def test_a_network_is_known_by_its_data():
    classes = DIGITS.class_names
    assert (
        describe_network(classes, {"name": "feedback", "root": "x", "mix": {"name": "mnist", "root": "data"}}) == DIGITS
    )
    assert describe_network(classes, {}) == describe_network(classes, {"name": ["mnist"]}) == CorrectedNetwork(classes)
    assert DIGITS.has_data_of(DIGITS._replace(data_root="/elsewhere")), "MNIST is MNIST wherever its files are"
    assert not DIGITS.has_data_of(DIGITS._replace(data_name="usps"))
    assert DIGITS.has_data_of(CorrectedNetwork(classes)), "nothing says otherwise"
    photos = CorrectedNetwork(("a", "b"), "folder", "photos")
    assert photos.has_data_of(photos._replace(data_root=str(Path("photos").resolve())))
    assert not photos.has_data_of(photos._replace(data_root="other/photos"))


def write_version_1(path, count: int) -> None:
    """A store as the first version wrote it."""
    store = make_store(path.with_name("new.sqlite"), count)
    store.close()
    with closing(sqlite3.connect(path)) as old, old:
        old.execute(CORRECTIONS)
        old.execute("ATTACH ? AS new", (str(store.path),))
        old.execute("INSERT INTO corrections SELECT * FROM new.corrections")
        old.execute("PRAGMA user_version=1")


def version_of(path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


def test_version_1_is_read_as_it_is_and_brought_to_version_2_by_the_server(tmp_path):
    path = tmp_path / "f.sqlite"
    write_version_1(path, 3)
    before, content = read_corrections(path), path.read_bytes()
    assert [one.networks for one in before] == [(None,)] * 3
    assert path.read_bytes() == content, "training only reads"
    stores = [CorrectionStore(path) for _ in range(4)]  # several servers at once
    threads = [threading.Thread(target=store.count) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert version_of(path) == VERSION == 2
    assert [one[:2] for one in read_corrections(path)] == [one[:2] for one in before]
    assert stores[0].add(make_image(9), b"", "0", "1", "digest", DIGITS) == 4
    assert [one.networks for one in read_corrections(path)] == [(DIGITS,)] * 4, "older rows are of the same file"
    assert stores[1].count() == 4


def test_a_file_of_version_1_that_is_no_store_stays_as_it_is(tmp_path):
    path = tmp_path / "f.sqlite"
    write_version_1(path, 3)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE more (x)")
    with pytest.raises(InputError, match="holds other things"):
        CorrectionStore(path).count()
    assert version_of(path) == 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'networks'").fetchone() == (0,)


def test_a_store_of_the_first_version_in_a_folder_without_permission_is_read(tmp_path):
    shutil.copy(LEGACY_STORE, tmp_path / "f.sqlite")
    (tmp_path / "f.sqlite").chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        assert all(one.networks == (None,) * len(one.networks) for one in read_corrections(tmp_path / "f.sqlite"))
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.parametrize("classes", ["", "{}", "[]", "[1]", "[" * 100_000, "\x00"])
def test_a_network_with_other_values_is_refused(tmp_path, classes):
    store = CorrectionStore(tmp_path / "f.sqlite")
    store.add(make_image(0), b"", "0", "1", "a", DIGITS)
    store.close()
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute("UPDATE networks SET classes = ?", (classes,))
    with pytest.raises(InputError, match="no store of corrections, or damaged"):
        read_corrections(store.path)


def test_threads_and_processes_share_a_store(tmp_path):
    stores = [CorrectionStore(tmp_path / "f.sqlite") for _ in range(2)]  # as two processes would
    numbers, errors = [], []

    def add(worker):
        try:
            for index in range(25):
                numbers.append(stores[worker % 2].add(make_image(100 * worker + index), b"x", "0", "1"))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=add, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(numbers) == list(range(1, 101))
    assert stores[0].count() == stores[1].count() == 100


def test_a_full_store_keeps_the_oldest_corrections(tmp_path):
    store = CorrectionStore(tmp_path / "f.sqlite", rows=3)
    for seed in range(3):
        store.add(make_image(seed), b"", "0", "1")
    with pytest.raises(StoreFullError, match="full"):
        store.add(make_image(3), b"", "0", "1")
    assert store.count() == 3
    small = CorrectionStore(tmp_path / "g.sqlite", megabytes=1)
    with pytest.raises(StoreFullError, match="full"):
        for seed in range(9):
            small.add(make_image(seed), bytes(300_000), "0", "1")
    assert 3 <= small.count() <= 5
    assert small.path.stat().st_size < 2_000_000


@pytest.mark.parametrize(
    ("image", "correction"),
    [
        (np.zeros((28, 28), np.uint8), "1"),
        (np.zeros((1, 28, 28)), "1"),
        (make_image(0), ""),
        (make_image(0), "x" * 300),
    ],
)
def test_invalid_corrections_are_rejected(tmp_path, image, correction):
    with pytest.raises(InputError, match="correction"):
        CorrectionStore(tmp_path / "f.sqlite").add(image, b"", "0", correction)


def test_files_that_are_no_store_stay_unchanged(tmp_path):
    (tmp_path / "text.sqlite").write_text("this is no database, and long enough to have a header " * 9)
    with sqlite3.connect(tmp_path / "other.sqlite") as connection:
        connection.execute("CREATE TABLE mine (x)")
    with sqlite3.connect(tmp_path / "newer.sqlite") as connection:
        connection.execute("PRAGMA user_version=2")
    before = {path: path.read_bytes() for path in tmp_path.glob("*.sqlite")}
    for path in before:
        with pytest.raises(InputError):
            CorrectionStore(path).add(make_image(0), b"", "0", "1")
        with pytest.raises(InputError):
            read_corrections(path)
    with sqlite3.connect(tmp_path / "other.sqlite") as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)]


def other_row(path, **values):
    with closing(sqlite3.connect(path)) as connection, connection:
        names = ", ".join(f"{name} = ?" for name in values)
        connection.execute(f"UPDATE corrections SET {names} WHERE id = 2", tuple(values.values()))


LIES = {
    "a view": "ALTER TABLE corrections RENAME TO mine; CREATE VIEW corrections AS SELECT * FROM mine",
    "an endless view": """DROP TABLE corrections; CREATE VIEW corrections AS WITH RECURSIVE n(i) AS
        (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS id, zeroblob(99) AS image FROM n""",
    "a trigger": "CREATE TRIGGER t AFTER INSERT ON corrections BEGIN DELETE FROM corrections; END",
    "another table": "CREATE TABLE more (x)",
    "a computed column": "ALTER TABLE corrections ADD COLUMN x AS (zeroblob(1000000000))",
    "too many rows": """WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
        INSERT INTO corrections (made_at, image, channels, height, width, picture, correction, model)
        SELECT '', x'00', 1, 1, 1, x'', '1', '' FROM n""",
}
VALUES = {
    "a text as image": {"image": "x" * 784},
    "a short image": {"image": b"x"},
    "no side": {"image": b"", "height": 0},
    "negative sides": {"height": -28, "width": -28},
    "a text as side": {"channels": "one"},
    "a large side": {"channels": 10**12},
    "bytes as class": {"correction": b"7"},
    "no class": {"correction": ""},
    "a long class": {"correction": "x" * 201},
    "bytes as prediction": {"answer": b"\xff"},
    "bytes as model": {"model": b"\xff"},
}


@pytest.mark.parametrize("lie", LIES)
def test_a_store_with_more_than_its_table_is_refused(tmp_path, lie):
    store = make_store(tmp_path / "f.sqlite", 3)
    store.close()
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.executescript(LIES[lie])
    with pytest.raises(InputError, match=r"holds other things|it has 20,003 rows"):
        read_corrections(store.path)
    if lie != "too many rows":
        with pytest.raises(InputError, match="holds other things"):
            store.add(make_image(0), b"", "0", "1")
    else:
        with pytest.raises(StoreFullError):
            store.add(make_image(0), b"", "0", "1")


@pytest.mark.parametrize("lie", VALUES)
def test_a_row_with_other_values_is_refused(tmp_path, lie):
    store = make_store(tmp_path / "f.sqlite", 3)
    store.close()
    other_row(store.path, **VALUES[lie])
    with pytest.raises(InputError, match="row 2 has values of other types or sizes"):
        read_corrections(store.path)
