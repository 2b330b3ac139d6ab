"""Files that the code of commit e02c588 wrote go on working; tests/data/legacy/README.md says how each was made.

expected.json is what that code answered. It was recorded with LEGACY_RECORD=<file>, and is never to be recorded again:
later code has to give the same.
"""

import csv
import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = next(folder for folder in Path(__file__).resolve().parents if (folder / "pyproject.toml").is_file())
LEGACY = ROOT / "tests" / "data" / "legacy"
HOME = "/srv/legacy"  # where the files were written; no machine has to have it
RECORD = os.environ.get("LEGACY_RECORD")
EXPECTED = json.loads((LEGACY / "expected.json").read_text()) if not RECORD else {}
NETWORKS = sorted(f"{file.parent.name}/{file.name}" for file in LEGACY.glob("[ce]*/*.*"))
STOPPED = sorted(folder.name for folder in LEGACY.glob("runs/stopped_*"))
CLASS_PATH = re.compile(r"(?:src|hydra_plugins)(?:\.[A-Za-z_]\w*)+")


def project():
    """What is imported of the project, all of it: how a file becomes a network, and a class path in a file a class."""
    from hydra.utils import get_object

    from src.model_files.load import load_predictor
    from src.model_files.renamed import current_target

    return load_predictor, lambda path: get_object(current_target(path))


def agree(key: str, found, within: float = 0.0) -> None:
    """Compare with what was recorded: equal, or numbers no further off than `within`."""
    if RECORD:
        known = json.loads(Path(RECORD).read_text()) if Path(RECORD).is_file() else {}
        lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in {**known, key: found}.items())
        Path(RECORD).write_text(f"{{\n{lines}\n}}\n")
    elif within:
        np.testing.assert_allclose(found, EXPECTED[key], rtol=0, atol=within, err_msg=key)
    else:
        assert found == EXPECTED[key], key


def digits(*rows: int) -> np.ndarray:
    """Scans that scikit-learn bundles as uint8 (N, 1, 28, 28)."""
    from sklearn.datasets import load_digits

    big = np.kron(load_digits().images[list(rows)], np.ones((1, 3, 3))) * 15
    return np.pad(big, ((0, 0), (2, 2), (2, 2))).astype(np.uint8)[:, None]


def base_of(name: str) -> Path | None:
    """The start that a file of changes needs."""
    return LEGACY / "checkpoints/start.ckpt" if "/only_" in name else None


# In this process


@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_answers_as_it_did(name):
    load, _ = project()
    net = load(LEGACY / name, base_of(name), threads=1)
    with torch.inference_mode():
        images = torch.from_numpy(digits(0, 1, 2, 3, 4))
        answers = net(images) if "angle" in name else net.probs(images)
    assert answers.shape == (5, 1 if "angle" in name else 2 if "lora_head" in name else 10)
    # Whole numbers of 8 bits round otherwise on other processors.
    agree(name, [[round(value, 7) for value in row] for row in answers.tolist()], 0.02 if "int8" in name else 1e-5)


def test_every_class_path_in_the_files_is_still_known():
    _, find = project()
    texts = [str(torch.load(file, weights_only=True)["config"]) for file in LEGACY.rglob("*.ckpt")]
    texts += [file.read_text() for file in LEGACY.rglob("*.*") if file.suffix == ".yaml"]
    texts += [(LEGACY / "exported/chain.safetensors").read_bytes().decode(errors="ignore")]
    paths = sorted({path for text in texts for path in CLASS_PATH.findall(text)} - {"src.train"})
    agree("class paths", paths)
    unknown = []
    for path in paths:
        try:
            assert callable(find(path))
        except Exception as error:
            unknown.append(f"{path}: {error}")
    assert unknown == []


def test_nothing_is_missing():
    agree("files", sorted(str(file.relative_to(LEGACY)) for file in LEGACY.rglob("*") if file.is_file()))


# Commands


def run(*words: str) -> str:
    """What a command prints; it has to succeed."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    env.pop("HYDRA_FULL_ERROR", None)
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (done.stderr, done.stdout[-2000:])
    return done.stdout


def machine() -> list[str]:
    """What the last bits of training hang on, with one thread."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"(?m)^(?:model name|model|cpu family)\s*:\s*(.+)$", info.read_text()) if info.is_file() else []
    return [torch.__version__, torch.backends.cpu.get_cpu_capability(), platform.machine(), *sorted(set(names))]


def same_machine() -> bool:
    if RECORD:
        agree("machine", machine())
    return bool(RECORD) or machine() == EXPECTED["machine"]


def agree_weights(key: str, file: Path) -> None:
    """Weights are those recorded to the last bit; on a machine of another kind, nearly."""
    state = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
    digest, sums = hashlib.sha256(), {}
    for name in sorted(state):
        value = state[name].contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode() + value.numpy().tobytes())
        sums[name] = round(float(value.double().mean()), 5)
    agree(f"{key}: names", list(sums))
    agree(f"{key}: means", list(sums.values()), 1e-4 if same_machine() else 0.1)
    if same_machine():
        agree(f"{key}: sha256", digest.hexdigest())


def agree_test(key: str, folder: Path) -> None:
    """The test at the end of a run is the recorded one."""
    test = json.loads((folder / "results.json").read_text()).get("test")
    found = test and test.get("acc", test.get("mae"))
    agree(f"{key}: test", found, 0.0 if found is None else 1e-6 if same_machine() else 0.05 if found < 1 else 3.0)


def relocate(folder: Path, home: Path) -> None:
    """Let the files of a run name `home` where they name the folder they were written in, as if it had been there: a
    start and a teacher are recorded by absolute path. A checkpoint's digest, the comment of its archive, is renewed."""

    def moved(node):
        if isinstance(node, dict):
            for key, value in node.items():
                node[key] = moved(value)
        elif isinstance(node, list):
            node[:] = [moved(value) for value in node]
        return node.replace(HOME, str(home)) if isinstance(node, str) else node

    for file in folder.rglob("*.*"):
        if file.suffix == ".ckpt":
            buffer = io.BytesIO()
            torch.save(moved(torch.load(file, weights_only=True)), buffer)
            body = buffer.getvalue()[:-2]
            comment = b"sha256:" + hashlib.sha256(body).hexdigest().encode()
            file.write_bytes(body + len(comment).to_bytes(2, "little") + comment)
        elif file.suffix in (".yaml", ".json"):
            file.write_text(file.read_text().replace(HOME, str(home)))


@pytest.fixture
def home(tmp_path) -> Path:
    """A folder in which the starts are where they were in /srv/legacy, byte by byte."""
    for name in ("start", "cnn", "adapter"):
        place = tmp_path / "runs" / name / "checkpoints/best.ckpt"
        place.parent.mkdir(parents=True)
        shutil.copy(LEGACY / f"checkpoints/{name}.ckpt", place)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("name", STOPPED)
def test_a_stopped_run_goes_on_and_ends_as_it_did(name, home):
    folder = home / "runs" / name
    shutil.copytree(LEGACY / "runs" / name, folder)
    if name not in ("stopped_full", "stopped_rich"):  # those name nothing outside their folder: taken as they are
        relocate(folder, home)
    run("src.train", f"resume_from={folder}", "threads=1")
    assert json.loads((folder / "status.json").read_text())["state"] == "finished"
    agree_weights(name, folder / "checkpoints/last.ckpt")
    agree_test(name, folder)


# Of these, each has a class in its config that no stopped run has.
FINISHED = (
    *("mlp", "cnn", "convnet", "resnet", "angle", "lr_range", "full", "last", "head", "gradual", "norm"),
    *("probe_then_full", "prototype", "ridge", "dora", "adapter", "prompt", "prune", "only_bias", "chain"),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", FINISHED)
def test_a_run_that_is_taken_up_again_is_the_same_run(name, home):
    """A run refuses to go on where any class or knob of its config differs from what the code now makes of it."""
    folder = home / "runs" / name
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    for file in ("best.ckpt", "last.ckpt"):
        shutil.copy(LEGACY / f"checkpoints/{name}.ckpt", folder / "checkpoints" / file)
    relocate(folder, home)
    run("src.train", f"resume_from={folder}", "threads=1")
    agree_weights(name, folder / "checkpoints/last.ckpt")
    if name != "lr_range":
        agree_test(name, folder)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "runs.csv").open(newline="") as file:
        return sorted(csv.DictReader(file), key=lambda row: int(row["run"]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sweep", "search"])
def test_a_stopped_sweep_goes_on_and_ends_as_it_did(name, tmp_path):
    folder = tmp_path / name
    shutil.copytree(LEGACY / "runs" / name, folder)
    kept = (folder / "0/results.json").read_bytes()
    assert "2 of them done" in run("src.train", "-m", f"sweep.resume={folder}")
    assert (folder / "0/results.json").read_bytes() == kept, "finished jobs stay"
    table = rows(folder)
    agree(f"{name}: states", [row["state"] for row in table])
    if same_machine():
        agree(f"{name}: table", [{k: v for k, v in row.items() if k not in ("seconds", "error")} for row in table])
    if same_machine() or name == "sweep":  # the search tries a rate of 0.096, which makes much of every rounding
        agree_weights(f"{name}: job 2", folder / "2/checkpoints/last.ckpt")
    best = (folder / "best/experiment/best.yaml").read_text()
    assert "_target_" not in best, "the best experiment names its options, not their classes"
    if same_machine():
        agree(f"{name}: best", sorted(line for line in best.splitlines() if line and line[0] != "#"))
    run("src.compare", str(folder), f"hydra.run.dir={tmp_path}/compared", "figures=false")
    assert rows(tmp_path / "compared") == table


@pytest.mark.slow
@pytest.mark.parametrize("name", [
    *("checkpoints/start.ckpt", "checkpoints/angle.ckpt", "checkpoints/averaged.ckpt", "checkpoints/only_lora.ckpt"),
    *("exported/start.onnx", "exported/start.pt2", "exported/chain.safetensors", "exported/int8.onnx"),
])  # fmt: skip
def test_evaluate_measures_what_it_measured(name, tmp_path):
    base = [f"base={base_of(name)}"] if base_of(name) else []
    run("src.evaluate", f"ckpt={LEGACY / name}", *base, "threads=1", "figures=false", f"hydra.run.dir={tmp_path}")
    found = json.loads((tmp_path / "results.json").read_text())
    agree(f"evaluate {name}", found.get("acc", found.get("mae")), 0.02 if "int8" in name else 1e-4)


@pytest.mark.slow
def test_predict_and_explain_take_the_files(tmp_path):
    Image.fromarray(digits(0)[0, 0]).save(tmp_path / "digit.png")
    words = [f"images={tmp_path}/digit.png", "threads=1"]
    for name in ("checkpoints/averaged.ckpt", "exported/start.onnx"):
        said = run("src.predict", f"ckpt={LEGACY / name}", *words, "format=json", f"hydra.run.dir={tmp_path}/p")
        (picture,) = json.loads(said)
        agree(f"predict {name}", picture["prediction"])
        agree(f"predict {name}: probability", picture["probability"], 1e-4)
    for name in ("checkpoints/angle.ckpt", "checkpoints/cnn.ckpt"):
        words = ["n=2", "methods=[saliency]", "neighbours=0", "class_images=false", "figures=false", "threads=1"]
        run("src.explain", f"ckpt={LEGACY / name}", *words, f"hydra.run.dir={tmp_path}/{Path(name).stem}")
        assert (tmp_path / Path(name).stem / "results.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(("key", "words"), [
    ("feedback", "init_from=start data=feedback data.root=store data.val=0.15 data.mix.name=digits data.mix.ink=mnist"),
    ("named", "init_from=start model=lenet model.widths=[2,3] model.hidden=[6] data=digits data.shots=2"),
    ("again", "init_from=prune finetune=lora data=digits"),
    ("taught", "model=mlp model.hidden=[2] loss=distill loss.teacher=averaged data=digits"),
])  # fmt: skip
def test_training_goes_on_from_the_files(key, words, tmp_path):
    shutil.copy(LEGACY / "feedback.sqlite", tmp_path)
    words = re.sub(r"(init_from|teacher)=(\w+)", rf"\1={LEGACY}/checkpoints/\2.ckpt", words)
    words = words.replace("root=store", f"root={tmp_path}/feedback.sqlite").split()
    common = ["trainer.max_epochs=2", "trainer.accelerator=cpu", "threads=1", "figures=false", "logger=csv"]
    run("src.train", *words, *common, f"hydra.run.dir={tmp_path}/run")
    agree_weights(f"train {key}", tmp_path / "run/checkpoints/last.ckpt")
    agree_test(f"train {key}", tmp_path / "run")


@pytest.mark.slow
def test_compress_finds_the_options_that_a_checkpoint_was_trained_with(tmp_path):
    words = ["method=channels", "epochs=1", "turns=1", "figures=false", "train={threads:1}"]
    for name in ("cnn", "averaged"):
        run("src.compress", f"ckpt={LEGACY}/checkpoints/{name}.ckpt", *words, f"hydra.run.dir={tmp_path}/{name}")
        agree_weights(f"compress {name}", tmp_path / name / "checkpoints/best.ckpt")
