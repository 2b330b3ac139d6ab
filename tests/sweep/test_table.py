"""Comparisons of runs, and the tables written of them."""

import statistics

import pytest

from src.sweep.comparison import compare_runs
from src.sweep.latex import latex_escape
from src.sweep.ledger import Ledger, swept_keys
from src.sweep.run_records import find_runs
from src.sweep.table import (
    configuration_rows,
    format_metric,
    markdown_table,
    run_rows,
    sweep_summary,
    write_tables,
)
from tests.commands import run
from tests.run_folders import make_run


def test_configurations_are_ordered_by_their_mean_over_seeds(sweep):
    comparison = compare_runs(find_runs([str(sweep)]))
    assert comparison.varied_keys == ["optimizer.lr", "seed"]
    assert [each.values["optimizer.lr"] for each in comparison.configurations][:2] == ["0.003", "0.001"]
    best = comparison.best
    assert best.scores == [0.97, 0.95]
    assert best.mean == pytest.approx(0.96)
    assert best.sd == pytest.approx(statistics.stdev([0.97, 0.95]))


def test_pruned_and_failed_runs_are_listed_and_never_the_best(sweep):
    comparison = compare_runs(find_runs([str(sweep)]))
    states = {row[0]: row[3] for row in run_rows(comparison)[1:]}
    assert states == {"0": "finished", "1": "finished", "2": "finished", "3": "finished", "4": "failed", "5": "pruned"}
    assert comparison.best.values == {"optimizer.lr": "0.003"}
    assert "(1 failed)" in sweep_summary(comparison) and "(1 pruned)" in sweep_summary(comparison)


def test_the_test_metric_is_a_column_and_orders_nothing(sweep):
    comparison = compare_runs(find_runs([str(sweep)]))
    assert comparison.metrics == ["val/acc", "test/acc"]
    header, first, *_ = configuration_rows(comparison)
    assert header[:6] == ["optimizer.lr", "val/acc", "val/acc sd", "test/acc", "test/acc sd", "n"]
    assert float(first[3]) == pytest.approx(0.95)


def test_a_lower_loss_is_better(sweep):
    comparison = compare_runs(find_runs([str(sweep)]), "val/loss")
    assert comparison.mode == "min"
    assert comparison.best.mean == pytest.approx(0.04)


def test_the_same_seed_twice_counts_once(tmp_path):
    for number in range(2):
        make_run(tmp_path, number, ["model=lenet", "seed=0"], 0.9)
    make_run(tmp_path, 2, ["model=cnn", "seed=0"], 0.8)
    best = compare_runs(find_runs([str(tmp_path)])).best
    assert best.scores == [0.9] and best.sd is None and len(best.runs) == 2


def test_tables_are_written_as_csv_and_markdown(sweep, tmp_path):
    write_tables(compare_runs(find_runs([str(sweep)])), tmp_path)
    assert len((tmp_path / "runs.csv").read_text().splitlines()) == 7
    assert len((tmp_path / "configurations.csv").read_text().splitlines()) == 5
    assert "| 0.003 |" in (tmp_path / "table.md").read_text()
    assert markdown_table([["a"], ["x|y"]]) == "| a |\n| --- |\n| x\\|y |\n"


def test_a_sweep_over_amounts_of_data_is_listed_in_their_order(tmp_path):
    rows = [("20", "a", 0.7), ("null", "a", 0.6), ("5", "a", 0.8), ("5", "b", 0.9), ("1", "b", 0.95)]
    for number, (shots, model, best) in enumerate(rows):
        make_run(tmp_path, number, [f"data.shots={shots}", f"model={model}"], best)
    comparison = compare_runs(find_runs([str(tmp_path)]))
    listed = [(each.values["data.shots"], each.values["model"]) for each in comparison.configurations]
    assert listed == [("1", "b"), ("5", "b"), ("5", "a"), ("20", "a"), ("null", "a")]
    assert [row[0] for row in run_rows(comparison)[1:]] == ["4", "3", "2", "0", "1"]
    assert comparison.best.values["data.shots"] == "1" and comparison.ranked()[0].name == "4"
    write_tables(comparison, tmp_path)
    assert "Ordered by data.shots, then val/acc" in (tmp_path / "table.md").read_text()


def test_a_swept_column_stays_where_it_is_constant(tmp_path):
    for seed in range(2):
        make_run(tmp_path, seed, ["model=lenet", "data=digits", f"seed={seed}"], 0.9)
    runs = find_runs([str(tmp_path)])
    assert compare_runs(runs).configuration_keys == []
    assert compare_runs(runs, swept=["model", "seed"]).varied_keys == ["model", "seed"]
    Ledger(tmp_path, ["model=lenet,mlp"], [], [], ["model"]).save()
    assert swept_keys([tmp_path, tmp_path / "nowhere"]) == ["model"]
    (tmp_path / "sweep.json").write_text("{")
    assert swept_keys([tmp_path]) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b", r"a\_b"), ("50 % & #1 $x {y}", r"50 \% \& \#1 \$x \{y\}"),
        ("~/x^2\\", r"\textasciitilde{}/x\textasciicircum{}2\textbackslash{}"),
        ("Käse", 'K\\"{a}se'), ("ÉßŁø", r"\'{E}\ss{}\L{}\o{}"), ("± – …", r"$\pm$ -- \ldots{}"), ("猫", "猫"),
        ("a\nb", r"a\textbackslash{}nb"),
    ],
)  # fmt: skip
def test_a_text_for_latex_is_escaped(text, expected):
    assert latex_escape(text) == expected


def test_the_table_for_latex_has_a_row_per_configuration(sweep, tmp_path):
    write_tables(compare_runs(find_runs([str(sweep)])), tmp_path)
    lines = (tmp_path / "table.tex").read_text().splitlines()
    assert lines[1:5] == [
        r"\begin{tabular}{lrrr}", r"\hline", r"optimizer.lr & val/acc (\%) & test/acc (\%) & n \\", r"\hline"
    ]  # fmt: skip
    assert lines[5] == r"0.003 & 96.00 $\pm$ 1.41 & 95.00 $\pm$ 1.41 & 2 \\"
    assert lines[-1] == r"\end{tabular}" and all(line.isascii() for line in lines[1:])


def test_rates_are_formatted_in_per_cent_and_counts_whole():
    assert format_metric(0.98765, "val/acc", 0.001) == "98.77 ± 0.10 %"
    assert format_metric(61706, "parameters") == "61,706"
    assert format_metric(None, "val/acc") == "–"


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_terminal_that_lacks_a_character_still_shows_the_table(sweep, tmp_path, encoding):
    words = ("src.compare", str(sweep), "figures=false", f"hydra.run.dir={tmp_path}/compared")
    done = run(*words, env={"PYTHONIOENCODING": encoding})
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if "96.00 " in line]
    assert len(rows) == 1 and ("\\u00b1" if encoding == "ascii" else "±") in rows[0]


def test_a_table_of_many_runs_shows_the_best_and_sums_up_each_value(tmp_path):
    for number in range(130):
        words = [f"optimizer.lr={1e-4 * (number + 1):.4f}", f"model={'cnn' if number % 2 else 'lenet'}"]
        make_run(tmp_path / "runs", number, words, 0.5 + number / 1000)
    write_tables(compare_runs(find_runs([str(tmp_path / "runs")])), tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert text.count("The first 100 of 130; ") == 2
    assert len((tmp_path / "runs.csv").read_text().splitlines()) == 131
    assert len((tmp_path / "configurations.csv").read_text().splitlines()) == 131
    summary = [
        line for line in text.partition("## Values")[2].splitlines() if line.startswith(("| optimizer", "| model"))
    ]
    assert summary[0] == "| optimizer.lr | 0.0098 to 0.013 | 33 | 0.613 | 0.629 |"
    assert [line.split(" | ")[1:3] for line in summary[4:6]] == [["cnn", "65"], ["lenet", "65"]]
    assert len((tmp_path / "table.tex").read_text().splitlines()) < 130


def test_a_table_of_few_runs_has_all_of_them(sweep):
    write_tables(compare_runs(find_runs([str(sweep)])), sweep)
    text = (sweep / "table.md").read_text()
    assert "## Values" not in text
    assert "The first" not in text
