"""python -m src.export, as a user types it."""

import json

import pytest

pytest.importorskip("onnxscript", reason="the export extra is not installed")


@pytest.mark.slow
def test_export_writes_verified_files_that_evaluate_reads(tmp_path):
    from tests.commands import files as written
    from tests.commands import run, train_digits

    assert train_digits(tmp_path / "run", "figures=false").returncode == 0
    measured = run("src.evaluate", f"ckpt={tmp_path}/run", "figures=false", f"hydra.run.dir={tmp_path}/plain")
    assert measured.returncode == 0, measured.stderr
    wanted = json.loads((tmp_path / "plain/results.json").read_text())
    for name, suffix in (("onnx", ".onnx"), ("torch_export", ".pt2")):
        folder = tmp_path / name
        done = run("src.export", f"ckpt={tmp_path}/run", f"format={name}", f"hydra.run.dir={folder}")
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr
        assert "360 images of the test split of digits: no decisions changed" in done.stdout
        assert f"python -m src.evaluate ckpt={folder}/lenet_digits{suffix}" in done.stdout
        kept = {"results.json", "status.json", "export.log", f"lenet_digits{suffix}"}
        assert {file for file in written(folder) if not file.startswith(".hydra")} == kept
        results = json.loads((folder / "results.json").read_text())
        assert results["bytes"] == (folder / f"lenet_digits{suffix}").stat().st_size
        assert results["compared"]["same"]
    again = run("src.evaluate", f"ckpt={tmp_path}/onnx", "figures=false", f"hydra.run.dir={tmp_path}/again")
    assert again.returncode == 0, again.stderr
    results = json.loads((tmp_path / "again/results.json").read_text())
    exported = json.loads((tmp_path / "onnx/results.json").read_text())
    assert results["sha256"] == exported["file_sha256"] != exported["sha256"] == wanted["sha256"]
    assert results["confusion"] == wanted["confusion"]
    assert results["ece"] == pytest.approx(wanted["ece"], abs=1e-4)

    there = tmp_path / "onnx/lenet_digits.onnx"
    before = there.read_bytes()
    for words, reason in (
        ([f"ckpt={tmp_path}/run", f"file={there}"], "give overwrite=true"),
        ([f"ckpt={tmp_path}/run", "data=mnist", "data.root=/nowhere", "data.download=false"], "or give check=false"),
    ):
        done = run("src.export", *words, f"hydra.run.dir={tmp_path}/refused")
        assert (done.returncode, done.stdout) == (1, "")
        assert reason in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert there.read_bytes() == before
    assert not list((tmp_path / "refused").glob("*.onnx"))
