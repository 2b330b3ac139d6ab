"""What --help prints, and words that are no override."""

import re
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from src.cli.command import error_line
from src.cli.config import CONF, ROOT
from src.cli.help import manual
from src.cli.overrides import check_words, groups_of
from src.errors import InputError
from tests.configs import composed

COMMANDS = sorted(path.stem for path in CONF.glob("*.yaml"))


@pytest.mark.parametrize("verb", COMMANDS)
def test_help_has_every_key_with_its_comment_and_only_groups_that_are_taken(verb):
    text, entry = manual(CONF, verb), OmegaConf.load(CONF / f"{verb}.yaml")
    assert text.startswith((CONF / f"{verb}.yaml").read_text().splitlines()[0].removeprefix("# "))
    assert f"python -m src.{verb} " in text
    groups = groups_of(CONF, verb)
    given = {name for one in entry.defaults if one != "_self_" for name in one} - {"hydra"}
    assert set(groups) == given
    for name in given:
        assert re.search(rf"^  {name} +{', '.join(groups[name][1])}", text, re.MULTILINE), name
    for folder in {path.name for path in CONF.iterdir() if path.is_dir()} - given:
        assert not re.search(rf"^  {folder} +\w+, ", text, re.MULTILINE), folder
    for key in entry:
        if key not in ("defaults", "hydra", "output_dir", "model"):
            assert re.search(rf"^  {key}:", text, re.MULTILINE), key
    assert "# CPU threads" in text or "threads" not in entry


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_is_printed_whatever_else_is_typed(flag):
    words = [sys.executable, "-m", "src.predict", "nonsense", flag]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == manual(CONF, "predict")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("verb", "words", "expected"),
    [
        ("predict", ["digits/m0_7.png"], "digits/m0_7.png alone .* key=value, as images=digits/m0_7.png$"),
        ("explain", ["*.png"], r"as images=\*\.png$"),
        ("evaluate", ["foo.ckpt"], "as ckpt=foo.ckpt$"),
        ("compress", ["a.png"], "as ckpt="),
        ("predict", ["--cfg", "job", "x/y.onnx"], "^x/y.onnx alone .* as ckpt="),
        ("train", ["lenet"], "as model=lenet$"),
        ("train", ["seed"], "as seed=<value>$"),
        ("report", ["nothing"], "--help lists them"),
        ("predict", [""], "'' alone"),
        ("predict", ["augment=none"], "src.predict takes no group augment; it takes none"),
        ("evaluate", ["augment=none"], "it takes: data$"),
        ("compress", ["data=usps"], "takes no group data; it takes: model$"),
        ("train", ["output_dir=x"], "give hydra.run.dir=x"),
        ("serve", ["output_dir="], "give hydra.run.dir=<folder>"),
    ],
)
def test_words_that_say_nothing_are_one_line(verb, words, expected):
    with pytest.raises(InputError, match=expected) as error:
        check_words(CONF, verb, words)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "model=lenet,cnn", "seed=0,1", "hydra/launcher=joblib"],
        ["--config-name", "mine", "model=lenet"],
        ["~augment", "+note=1", "++data.root=x", "callbacks=[default,ema]"],
    ],
)
def test_words_that_hydra_takes_go_on(words):
    check_words(CONF, "train", words)
    check_words(CONF, "evaluate", ["--config-dir", "more", "augment=none"])


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed=1,2", "seed=1,2: one value here; a list is seed=[1,2], several runs are for python -m src.train -m"),
        ("data.root=a(b).png", "data.root=a(b).png cannot be read: a text with"),
    ],
)
def test_values_that_are_several_or_not_readable(override, expected):
    with pytest.raises(Exception) as error:
        composed(override)
    assert error_line(error.value).startswith(expected)
