"""What --help prints, and words that are not overrides."""

import re
import shlex
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from src.cli.config import CONF, ROOT, load_config
from src.cli.error_line import error_line
from src.cli.help import help_text
from src.cli.overrides import check_overrides, config_groups
from src.errors import InputError

COMMANDS = sorted(path.stem for path in CONF.glob("*.yaml"))


@pytest.mark.parametrize("verb", COMMANDS)
def test_help_lists_every_key_with_its_comment_and_only_the_command_s_groups(verb):
    text, entry = help_text(CONF, verb), OmegaConf.load(CONF / f"{verb}.yaml")
    assert text.startswith((CONF / f"{verb}.yaml").read_text().splitlines()[0].removeprefix("# "))
    assert f"python -m src.{verb} " in text
    groups = config_groups(CONF, verb)
    groups_in_file = {name for one in entry.defaults if one != "_self_" for name in one} - {"hydra"}
    assert set(groups) == groups_in_file
    for name in groups_in_file:
        assert re.search(rf"^  {name} +{', '.join(groups[name][1])}", text, re.MULTILINE), name
    for folder in {path.name for path in CONF.iterdir() if path.is_dir()} - groups_in_file:
        assert not re.search(rf"^  {folder} +\w+, ", text, re.MULTILINE), folder
    for key in entry:
        if key not in ("defaults", "hydra", "output_dir", "model"):
            assert re.search(rf"^  {key}:", text, re.MULTILINE), key
    assert "# CPU threads" in text or "threads" not in entry


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_is_printed_whatever_else_is_typed(flag):
    words = [sys.executable, "-m", "src.predict", "nonsense", flag]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == help_text(CONF, "predict")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("verb", "words", "expected"),
    [
        (
            "predict",
            ["digits/m0_7.png"],
            "is not an override: type key=value, as images=digits/m0_7.png$",
        ),
        ("explain", ["*.png"], r"as images=\*\.png$"),
        ("evaluate", ["foo.ckpt"], "as ckpt=foo.ckpt$"),
        ("compress", ["a.png"], "as ckpt="),
        ("predict", ["--cfg", "job", "x/y.onnx"], "^x/y.onnx is not an override.* as ckpt="),
        ("train", ["lenet"], "as model=lenet$"),
        ("train", ["seed"], "as seed=<value>$"),
        ("report", ["nothing"], "--help lists the keys"),
        ("predict", [""], "'' is not an override"),
        ("predict", ["augment=none"], "src.predict has no group augment; it has none"),
        ("evaluate", ["augment=none"], "it has: data$"),
        ("compress", ["data=usps"], "has no group data; it has: model$"),
        ("train", ["output_dir=x"], "give hydra.run.dir=x"),
        ("train", ["scenario.tasks=3"], "^scenario.tasks=3: of which scenario"),
        ("train", ["scenario=split", "+continual.buffer=3"], "of which continual"),
        ("train", ["data=feedback", "data.share=0.5"], r"^data.share=0.5: .*, as continual.share=0.5$"),
        ("serve", ["output_dir="], "give hydra.run.dir=<folder>"),
        ("train", ["loss=[cross_entropy,focal]"], r"one option only; several runs need -m loss=cross_entropy,focal$"),
        ("train", ["scenario=[split,rotated]"], r"^scenario=\[split,rotated\]: one option only"),
        ("evaluate", ["data=[usps,mnist]"], r"one option only; several runs need -m data=usps,mnist$"),
    ],
)
def test_a_word_that_is_not_an_override_is_one_line(verb, words, expected):
    with pytest.raises(InputError, match=expected) as error:
        check_overrides(CONF, verb, words)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "model=lenet,cnn", "seed=0,1", "hydra/launcher=joblib"],
        ["--config-name", "mine", "model=lenet"],
        ["~augment", "+note=1", "++data.root=x", "callbacks=[default,ema]"],
    ],
)
def test_words_that_hydra_accepts_pass(words):
    check_overrides(CONF, "train", words)
    check_overrides(CONF, "evaluate", ["--config-dir", "more", "augment=none"])


OTHERWISE = "has signs that Hydra reads otherwise: type"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed=1,2", "seed=1,2: one value only; a list is seed=[1,2], several runs need python -m src.train -m"),
        ("model=cnn,mlp", "model=cnn,mlp: one value only; several runs need python -m src.train -m"),
        ("data.root=a(b).png", f"data.root=a(b).png {OTHERWISE} \"data.root='a(b).png'\""),
        ("images=三角形/Bild 00 ü.png", f"images=三角形/Bild 00 ü.png {OTHERWISE} \"images='三角形/Bild 00 ü.png'\""),
        ("target=三角形", f"target=三角形 {OTHERWISE} \"target='三角形'\""),
        ("data.root=it's (1)", f"data.root=it's (1) {OTHERWISE} " + shlex.quote("data.root='it\\'s (1)'")),
        (
            "data.classes=[三角形, b c,d]",
            f"data.classes=[三角形, b c,d] {OTHERWISE} \"data.classes=['三角形', b c,d]\"",
        ),
        ("data.classes={a:[ü],b:[c]}", f"data.classes={{a:[ü],b:[c]}} {OTHERWISE} \"data.classes={{a:['ü'],b:[c]}}\""),
        (
            "data.classes={ü:[a]}",
            "data.classes={ü:[a]} cannot be parsed: a text needs quotes, \"key='a (1)'\", a list its "
            "brackets, a name before a colon is ASCII: others go into a file for --config-dir",
        ),
        (
            "optimizer.lr=interval(1e-4,1e-2)",
            "optimizer.lr=interval(1e-4,1e-2): an interval is read by -m with "
            "hydra/sweeper=optuna: python -m src.train -m hydra/sweeper=optuna 'optimizer.lr=interval(1e-4,1e-2)'",
        ),
        ("seed=range(3)", "seed=range(3): several values need -m: python -m src.train -m 'seed=range(3)'"),
        ("optimizer.betas=[1,", "optimizer.betas=[1, cannot be parsed: a text needs quotes"),
    ],
)
def test_several_values_or_unparsable_ones_are_one_line(override, expected):
    with pytest.raises(Exception) as error:
        load_config([override])
    assert error_line(error.value).startswith(expected)
