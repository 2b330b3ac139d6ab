"""The programs of benchmarks.peers are what their descriptions say, and what they print is understood."""

import contextlib
import json
import shutil

import pytest
import torch

from benchmarks import peer_programs
from benchmarks.peers import NAMES, PARTS, TARGET, Clock, Run, code_lines, command_of, run, table_row, user_lines

PARAMETERS = {"examples_network": 1_199_882, "template_network": 67_978, "lenet": 61_706}


@pytest.fixture
def small_mnist(data_root, tmp_path):
    """200 training and 60 test images under MNIST's name."""
    shutil.copytree(data_root / "KMNIST", tmp_path / "MNIST")
    return tmp_path


def printed(capfd) -> list[dict]:
    return [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith('{"event": ')]


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_network_has_its_published_number_of_parameters(name):
    network = getattr(peer_programs, name)().eval()
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[name]
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_every_program_has_its_parts():
    assert PARTS.keys() == peer_programs.PROGRAMS.keys() == {*NAMES} - {"ours"}
    assert all(hasattr(peer_programs, part) for parts in PARTS.values() for part in parts)


def test_lines_that_a_user_writes():
    lines = {name: user_lines(name) for name in NAMES}
    assert lines.pop("ours") == 1
    assert all(20 < count < 150 for count in lines.values()), lines


def test_only_code_that_a_program_needs_is_counted():
    source = (
        "import a\nimport b\n\n# why\ndef f(x):\n    '''What.\n\n    How.\n    '''\n"
        "    clock.tick()\n    # why\n    return (\n        a.g(x)\n    )\n\ndef h():\n    b.i()\n"
    )
    assert code_lines(source, ("f",)) == 5  # the import, def, and three lines of return
    assert code_lines(source, ("f", "h")) == 8


def test_the_clock_stops_at_the_target(capfd):
    clock = Clock()
    clock.epoch_starts(100)
    clock.epoch_ends(TARGET - 0.001)
    with pytest.raises(SystemExit):
        clock.epoch_ends(TARGET)
    events = printed(capfd)
    assert [event["event"] for event in events] == ["start", "end", "end"]
    assert events[0]["images"] == 100 and events[2]["accuracy"] == TARGET
    assert events[0]["time"] <= events[1]["time"] <= events[2]["time"]


def test_the_table_says_what_was_not_reached():
    reached = Run([1.0, 3.0], [2.0, 4.5], [0.9, 0.99], images=300, peak_mib=512.0)
    row = table_row("reference", [reached]).split()
    assert row[:6] == ["reference", "4.5", "99.00", "2", "1.25", "240"]
    late = Run([1.0, 3.0], [2.0, 4.5], [0.9, 0.98], images=300)
    assert "not in 2 epochs" in table_row("reference", [reached, late])


def test_ours_is_the_fast_experiment():
    words = command_of("ours", "data", "folder", 12, None, 3)
    assert words[:3] == ["src.train", "experiment=fast", "seed=3"]


@pytest.mark.parametrize("name", ["examples", "reference"])
def test_a_loop_prints_its_epochs(name, small_mnist, monkeypatch, capfd):
    monkeypatch.chdir(small_mnist)  # where it saves its weights
    with contextlib.suppress(SystemExit):  # where so few images are learnt at once
        peer_programs.PROGRAMS[name](str(small_mnist), 1, Clock())
    start, end = printed(capfd)
    assert start["event"] == "start" and start["images"] == 200
    assert end["event"] == "end" and 0 <= end["accuracy"] <= 1


@pytest.mark.slow
def test_a_program_of_its_own_process_is_measured(small_mnist, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    result = run("template", str(small_mnist), epochs=1)
    assert len(result.starts) == len(result.ends) == len(result.accuracies) == 1
    assert 0 < result.starts[0] < result.ends[0]
    assert 0 <= result.accuracies[0] <= 1 and result.peak_mib > 50
    assert result.images == 205  # 11 of 14 parts of all 260
