"""The wheel, installed beside a project that has a package called src: load, predict and commands."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from src.cli.config import ROOT
from tests.own_package import draw_pictures, write_package

pytestmark = pytest.mark.slow
PROGRAM = """
import numpy as np
from PIL import Image
import src
from mnist_lightning_hydra import load

net = load("run", trust="wheelpackage")
one = net.predict("pictures/disc/1.png")
assert one.label in ("bar", "disc") and 0 < one.probability <= 1 and one.file == "pictures/disc/1.png"
assert abs(sum(one.probabilities.values()) - 1) < 1e-3
picture = Image.open("pictures/disc/1.png")
array = np.asarray(picture)
for other in (picture, array, array.transpose(2, 0, 1), open("pictures/disc/1.png", "rb").read()):
    assert net.predict(other).probabilities == one.probabilities
assert len(net.predict("pictures")) == 60 and len(net.predict(np.stack([array, array]))) == 2
assert [each.error is None for each in net.predict(["pictures/disc/1.png", "program.py"])] == [True, False]
assert src.OWNER == "the user" and not hasattr(src, "models")
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the built package unpacked, and the tools that build it copied there first: nothing in ROOT."""
    place = tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)
    for name in listed.stdout.decode().splitlines():
        source, target = ROOT / name, place / "tree" / name
        if source.is_file() and not name.startswith(("tests/", "outputs/", ".venv")):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    pip = [sys.executable, "-m", "pip", "-q", "--no-input", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(place / "dist"), str(place / "tree")]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = (place / "dist").glob("*.whl")
    venv = place / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (packages,) = venv.glob("lib/python*/site-packages")
    (packages / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = [*pip, "install", "--no-deps", "--no-index", "--target", str(packages), str(wheel)]
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return venv / "bin/python"


def test_a_program_outside_the_repository(installed, tmp_path):
    write_package(tmp_path, "wheelpackage")
    draw_pictures(tmp_path / "pictures")
    (tmp_path / "src").mkdir()
    (tmp_path / "src/__init__.py").write_text("OWNER = 'the user'\n")
    (tmp_path / "program.py").write_text(PROGRAM)
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(*words: str) -> str:
        done = subprocess.run([str(installed), *words], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    quick = ["data=folder", "data.root=pictures", "trainer.max_epochs=1", "trainer.accelerator=cpu", "figures=false"]
    train = ["-m", "mnist_lightning_hydra.train", "--config-dir", "conf", "model=own", "trust=[wheelpackage]", *quick]
    assert "python -m mnist_lightning_hydra.evaluate" in run(*train, "hydra.run.dir=run")
    run("program.py")
    more = ["resume_from=run", "trainer.max_epochs=2", "trust=[wheelpackage]"]
    assert "val/acc" in run("-m", "mnist_lightning_hydra.train", *more)
    assert "groups" in run("-m", "mnist_lightning_hydra.train", "--help").lower()
