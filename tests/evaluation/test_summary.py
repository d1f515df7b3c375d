from pathlib import Path

import numpy as np
import pytest

from pconv.errors import InputError
from pconv.evaluation.methods import Method, capped
from pconv.evaluation.output import all_tables
from pconv.evaluation.protocol import CELLS, Cell, generated_masks, pair_up
from pconv.evaluation.runner import Score, make_tasks
from pconv.evaluation.summary import METRICS, Results, cells_of_bin
from pconv.evaluation.tables import difference_table, mean_table, verdict_table, warnings, wins_and_losses

L1, PSNR, SHARPNESS = (next(m for m in METRICS if m.name == name) for name in ("l1", "psnr", "sharpness"))


def method(name, **more):
    return Method(name, name, "1", lambda: None, **more)


@pytest.fixture
def results():
    """Six pairs a cell; ours is 1 dB and 0.5 % better, and smoother; the photos differ far more than the methods."""
    methods = [method("ours", ours=True), method("other")]
    pairs = pair_up(generated_masks(64, 64, 6), [Path("a.png")], [(64, 64)])
    found = Results(pairs, methods, 6)
    for number, pair in enumerate(pairs):
        hard = 10.0 * np.sin(number)
        found.scores["ours", pair.name] = Score({"psnr": 26 + hard, "l1": 2.0, "sharpness": 0.5}, 1.0)
        found.scores["other", pair.name] = Score({"psnr": 25 + hard, "l1": 2.5, "sharpness": 1.25}, 3.0)
    return found


def test_paired_differences_see_what_intervals_of_means_do_not(results):
    ours, other = (results.all_cells(method, PSNR) for method in results.methods)
    assert ours.low < other.mean < ours.high  # the pairs' hardness hides the difference
    gap = results.difference(results.methods[1], PSNR, CELLS)
    assert (gap.mean, gap.low, gap.high) == pytest.approx((1, 1, 1))
    assert results.verdict(results.methods[1], PSNR, CELLS) == "better"
    assert results.verdict(results.methods[1], L1, cells_of_bin(0)) == "better"
    assert verdict_table(results).rows == [["other", "6 / 0 / 0", "6 / 0 / 0"]]


def test_sharpness_is_in_the_tables_and_compares_nothing(results):
    assert results.metrics == [L1, PSNR, SHARPNESS]
    assert results.compared == [L1, PSNR]
    titles = [table.title for table in all_tables(results)]
    assert [title for title in titles if "sharpness" in title] == [f"sharpness ({SHARPNESS.meaning})"]
    assert "noise raises it" in SHARPNESS.meaning
    assert mean_table(results, SHARPNESS).rows[0][1] == "0.50/0.50"
    assert verdict_table(results).heads == ["against", "l1 %", "PSNR dB"]


def test_wins_and_losses_are_said_in_words(results):
    results.methods.append(method("twin"))
    for pair in results.pairs:
        results.scores["twin", pair.name] = results.scores["ours", pair.name]
    assert wins_and_losses(results) == [
        "l1 %: ahead of other (-0.50 [-0.50, -0.50]); undecided against twin (+0.00 [0.00, 0.00])",
        "PSNR dB: ahead of other (+1.00 [1.00, 1.00]); undecided against twin (+0.00 [0.00, 0.00])",
    ]


def test_only_pairs_that_both_finished_are_compared(results):
    pair = results.pairs_of(Cell(0, False))[0]
    results.scores["other", pair.name].values["psnr"] = -1e6
    del results.scores["ours", pair.name]
    results.failures["ours", pair.name] = "out of luck"
    assert results.difference(results.methods[1], PSNR, CELLS).mean == pytest.approx(1)
    assert results.difference(results.methods[1], PSNR, CELLS).number == 71
    assert np.isnan(results.all_cells(results.methods[0], PSNR).mean)
    assert any("ours failed at 1 of 72 pairs (first: out of luck)" in line for line in warnings(results))


def test_a_capped_method_is_run_at_the_first_pairs_of_each_cell_and_says_so(results):
    methods = capped(results.methods, {"other": 2})
    tasks = make_tasks(results.pairs, ["digest"] * 72, methods)
    assert [sum(task.method.name == name for task in tasks) for name in ("ours", "other")] == [72, 24]
    kept = {(task.method.name, task.pair.name) for task in tasks}
    part = Results(results.pairs, methods, 6, {k: v for k, v in results.scores.items() if k in kept})
    row = mean_table(part, PSNR).rows[1]
    assert row[1].count("(2)") == 2
    assert row[-1] == "-"
    assert "other was run at the first 2 of 6 pairs" in warnings(part)[0]
    assert part.difference(methods[1], PSNR, CELLS).mean == pytest.approx(1)
    with pytest.raises(InputError, match="--cap names 'lama', which is not run here; there are ours, other"):
        capped(results.methods, {"lama": 2})


def test_a_cell_with_too_few_pairs_is_never_averaged_silently(results):
    results.pairs = [pair for pair in results.pairs if pair.mask.cell != Cell(3, True) or pair.mask.number < 4]
    assert results.short_cells() == {Cell(3, True): 4}
    assert "(4)" in mean_table(results, PSNR).rows[0][4]
    assert mean_table(results, PSNR).rows[0][-1] == "-"
    assert warnings(results)[0] == "the cell 0.3-0.4 border has 4 of 6 pairs"


def test_the_tables_have_the_papers_shape(results):
    table = mean_table(results, PSNR)
    assert table.heads[1:7] == [".01-.1", ".1-.2", ".2-.3", ".3-.4", ".4-.5", ".5-.6"]
    for row in table.rows:
        assert all("/" in cell for cell in row[1:7])
    gap = difference_table(results, PSNR).rows[0]
    assert gap == ["other", *["+1.00 [1.00, 1.00] +"] * 7]
