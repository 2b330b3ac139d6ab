"""An empty path is refused in one line, wherever it is given: it would mean the working directory."""

import pytest

from src.cli.config import CONF, load_config
from src.cli.paths import PATHS, check_paths, check_typed_paths
from src.data.sources.folder import load_folder
from src.errors import InputError
from tests.commands import one_line, run


@pytest.mark.parametrize("key", PATHS)
@pytest.mark.parametrize("value", ["", "''", '""', "' '", "[a,'']", "a,''"])
def test_an_empty_path_is_refused_before_anything_is_written(key, value):
    with pytest.raises(InputError) as error:
        check_typed_paths(["-m", f"+{key}={value}"])
    assert str(error.value) == f"{key} is empty: give {PATHS[key]}"


@pytest.mark.parametrize("words", [["--config-dir", ""], ["-cd", " ", "seed=1"]])
def test_an_empty_folder_of_options_is_refused(words):
    with pytest.raises(InputError, match=f"^{words[0]} is empty: give a folder of options$"):
        check_typed_paths(words)


def test_other_words_are_no_paths():
    check_typed_paths(["data.root=null", "ckpt=newest", "~data.root", "run_name=", "images=[a,b]", "images=it's (1)"])


@pytest.mark.parametrize("verb", sorted(path.stem for path in CONF.glob("*.yaml")))
def test_no_command_has_an_empty_path_by_default(verb):
    check_paths(load_config([], verb))


def test_a_path_that_is_empty_in_an_option_is_refused_by_the_job(tmp_path):
    with pytest.raises(InputError, match=r"^data.root is empty: give the folder of the data set$"):
        check_paths(load_config(["data=folder", "data.root=''"]))
    with pytest.raises(InputError, match=r"^data=folder needs data.root="):
        load_folder(root="")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mine.yaml").write_text("defaults: [folder, _self_]\nroot: ''\n")
    words = ("--config-dir", str(tmp_path), "data=mine", f"hydra.run.dir={tmp_path}/run")
    assert one_line(run("src.train", *words)) == "error: data.root is empty: give the folder of the data set"


def test_a_command_refuses_it_and_makes_no_folder(tmp_path):
    done = run("src.train", "data=folder", "data.root=", f"hydra.run.dir={tmp_path}/run")
    assert one_line(done) == "error: data.root is empty: give the folder of the data set"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "words", [["hydra.run.dir={}"], ["hydra.run.dir={}/run"], ["-m", "hydra.sweep.dir={}", "seed=1,2"]]
)
def test_a_file_in_the_way_of_the_results_is_one_line_that_names_the_keys(tmp_path, words):
    (tmp_path / "taken").write_text("mine")
    line = one_line(run("src.train", "data=digits", *(word.format(tmp_path / "taken") for word in words)))
    assert line.startswith("error: ") and "taken" in line
    assert line.endswith("; give another folder as hydra.run.dir (hydra.sweep.dir of a sweep)")
    assert (tmp_path / "taken").read_text() == "mine"
