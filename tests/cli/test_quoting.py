"""Whatever a path or text holds, Hydra makes the same of the override that we write of it, and so does a shell."""

import random
import shlex
import string
import sys

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from src.cli.config import load_config
from src.cli.overrides import command_on, expand_home, hydra_literal, override_value
from src.cli.references import resolve_overrides
from src.model_files.checkpoint import read_checkpoint, write_checkpoint
from src.sweep.ledger import Ledger, resume_sweep
from tests.commands import output_of, run, start
from tests.configs import write_teacher

PRINTABLE = string.printable[:95] + "äß数字😀"
AWKWARD = [
    "it's",
    "a'b\\",
    "\\",
    "'",
    '"',
    "\\\\'",
    "${x}",
    "\\${x}",
    "\\\\${x}",
    "a b",
    "1",
    "null",
    "true",
    "~",
    " x ",
]
AWKWARD += ["a,b", "[a]", "{a:b}", "a=b", "#", "%", "a(1)", "1e5", "0x1", "a/b", "../it's/run", "$x", "*", "!", "inf"]


def texts() -> list[str]:
    draw = random.Random(0)
    return [
        *AWKWARD,
        *(f"a{letter}b" for letter in PRINTABLE),
        *("".join(draw.choices(PRINTABLE, k=draw.randint(1, 8))) for _ in range(150)),
        *("".join(draw.choices("\\'${}\"x", k=draw.randint(1, 7))) for _ in range(250)),
    ]


def test_every_text_survives_hydra_and_the_shell(tmp_path):
    keys = [f"key{number}" for number in range(100)]
    (tmp_path / "c.yaml").write_text("".join(f"{key}: null\n" for key in keys))
    drawn = texts()
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        for start in range(0, len(drawn), len(keys)):
            some = dict(zip(keys, drawn[start : start + len(keys)], strict=False))
            words = [f"{key}={hydra_literal([text, {'a': text}, text])}" for key, text in some.items()]
            cfg = compose("c", shlex.split(shlex.join(words)))
            assert {key: (cfg[key][0], cfg[key][1].a) for key in some} == {k: (text, text) for k, text in some.items()}
            cfg = compose("c", [f"{key}={hydra_literal(text)}" for key, text in some.items()])
            assert {key: cfg[key] for key in some} == some
    for text in drawn:
        assert override_value([f"key={hydra_literal(text)}"], "key") == text


def test_values_keep_their_type(tmp_path):
    (tmp_path / "c.yaml").write_text("key: null\n")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        for value in (None, True, False, 0, -3, 1.5, 1e-9, float("inf"), [], [1, None], {}, {"a": [True]}):
            assert compose("c", [f"key={hydra_literal(value)}"]).key == value


@pytest.mark.parametrize("name", ["it's", "a (1), b", "x=$y", "50 %"])
def test_runs_and_sweeps_in_awkward_folders_are_found_again(name, tmp_path, data_root):
    folder = tmp_path / name
    last = write_teacher(folder / "run/checkpoints/last.ckpt", data_root)
    content = {key: value for key, value in read_checkpoint(last).items() if key != "digest"}
    content["config"]["overrides"] = ["data=digits", "seed=1"]
    write_checkpoint(content, last)
    typed = shlex.split(command_on(folder / "run", "train", "resume_from"))
    assert typed[:3] == ["python", "-m", "src.train"]
    words = resolve_overrides(typed[3:])
    cfg = load_config([word for word in words if not word.startswith("hydra.")])
    assert (cfg.resume_from, cfg.seed) == (str(last), 1)
    Ledger(folder / "sweep", ["seed=0,1"], [["seed=0"], ["seed=1"]]).save()
    words = resume_sweep(shlex.split(command_on(folder / "sweep", "train", "sweep.resume", "-m"))[3:])
    assert override_value(words, "hydra.sweep.dir") == str(folder / "sweep")


@pytest.mark.slow
def test_a_run_in_a_folder_with_an_apostrophe_is_resumed_taught_from_and_evaluated(tmp_path):
    folder = tmp_path / "it's (1), mine"
    common = ["data=digits", "trainer.accelerator=cpu", "trainer.max_epochs=1", "figures=false", "threads=1"]
    here = f"hydra.run.dir={hydra_literal(folder / 'a')}"
    done = run("src.train", *common, here)
    assert done.returncode == 0, done.stderr
    (evaluate,) = [line.split("evaluate", 1)[1] for line in done.stdout.splitlines() if "src.evaluate" in line]
    for words in (
        shlex.split(evaluate.strip())[2:],
        ["src.train", f"resume_from={folder / 'a'}", "trainer.max_epochs=2"],
        ["src.train", *common, f"init_from={folder / 'a'}", f"hydra.run.dir={hydra_literal(folder / 'b')}"],
        ["src.train", *common, "loss=distill", f"loss.teacher={folder / 'a'}", f"hydra.run.dir={tmp_path}/c"],
    ):
        done = run(*words)
        assert done.returncode == 0, (sys.executable, words, done.stderr)


@pytest.mark.parametrize(
    ("word", "expanded"),
    [
        ("data.root=~/my pictures", "data.root='/srv/o\\'brien/my pictures'"),
        ("images=[~/a.png,~/b/*.png]", "images=['/srv/o\\'brien/a.png','/srv/o\\'brien/b/*.png']"),
        ("data.root=~/a,~/b", "data.root='/srv/o\\'brien/a','/srv/o\\'brien/b'"),
        ("ckpt=~", "ckpt='/srv/o\\'brien'"),
        ("data.root='~/a'", "data.root='~/a'"),
        ("data.root=a~/b", "data.root=a~/b"),
        ("~callbacks", "~callbacks"),
        ("~logger=csv", "~logger=csv"),
    ],
)
def test_a_tilde_is_the_home_folder(word, expanded, monkeypatch):
    monkeypatch.setenv("HOME", "/srv/o'brien")
    assert expand_home(word) == expanded
    if "brien" in expanded:
        OverridesParser.create().parse_override(expand_home(word))


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="arguments are Unicode")
@pytest.mark.parametrize("terminal", [{"PYTHONIOENCODING": "latin-1"}, {}])
def test_arguments_are_utf8_whatever_the_locale(terminal):
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", **terminal}
    words = ("target='三角形 ü'", "ckpt='caf\udce9'")
    process = start(
        "src.explain", *words, "--cfg", "job", env=locale, encoding=terminal.get("PYTHONIOENCODING", "ascii")
    )
    out, err = output_of(process, 60)
    shown = "\\u4e09\\u89d2\\u5f62 " + ("ü" if terminal else "\\u00fc")
    assert (process.returncode, err) == (0, "") and f"target: {shown}\n" in out and "caf\\udce9" in out.lower()
    process = start("src.explain", "target=三角形", env=locale, encoding="ascii")
    assert output_of(process, 60)[1] == (
        "error: target=\\u4e09\\u89d2\\u5f62 has signs that Hydra reads otherwise: "
        "type \"target='\\u4e09\\u89d2\\u5f62'\"\n"
    )
