import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file

from pconv.cli import main
from pconv.training.features import VGG16Features

pytestmark = pytest.mark.slow


def evaluate(*arguments):
    result = CliRunner().invoke(main, ["evaluate", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


def rows_of(folder):
    """per_image.csv without what no two runs share: the seconds."""
    with (folder / "per_image.csv").open() as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """What --quick is, with a pair a cell and one method to compare with."""
    out = tmp_path_factory.mktemp("quick") / "report"
    return evaluate("--quick", "--per-cell", 1, "--against", "mean", "-o", out), out


def test_quick_leaves_all_that_it_promises(quick):
    result, out = quick
    assert result.exit_code == 0, result.output
    assert {path.name for path in out.iterdir()} >= {
        "report.html", "results.md", "per_image.csv", "summary.json", "contact-sheet.png",
    }  # fmt: skip
    rows = rows_of(out)
    assert len(rows) == 12 * 2
    assert len({(row["bin"], row["border"]) for row in rows}) == 12
    for row in rows:
        low, high = map(float, row["bin"].split("-"))
        assert low < float(row["hole_ratio"]) <= high
        assert float(row["psnr"]) > float(row["psnr_hole"])
    assert Image.open(out / "contact-sheet.png").width > 600
    ours = [float(row["psnr"]) for row in rows if row["method"] == "pconv-default"]
    mean = [float(row["psnr"]) for row in rows if row["method"] == "mean"]
    assert np.mean(ours) > np.mean(mean) + 2


def test_the_terminal_shows_the_papers_table(quick):
    output = quick[0].output
    assert re.search(r"pconv default( +\d\d\.\d\d/\d\d\.\d\d){6}", output)
    assert "VGG and Gram distance: not measured, they need VGG-16's weights: --vgg FILE" in output
    assert "LPIPS: not measured" in output
    assert "FID and Inception score: not measured" in output
    assert str(quick[1] / "report.html") in output


def test_the_summary_tells_how_to_repeat_it(quick):
    summary = json.loads((quick[1] / "summary.json").read_text())
    assert summary["config"]["per_cell"] == 1
    assert len(summary["hashes"]["masks"]) == len(summary["hashes"]["photos"]) == 64
    assert summary["versions"]["torch"]
    assert set(summary["methods"]) == {"pconv-default", "mean"}
    rows = [row for row in rows_of(quick[1]) if row["method"] == "mean"]
    first = next(row for row in rows if row["bin"] == "0.01-0.1" and row["border"] == "0")
    cell = summary["means"]["mean"]["psnr"]["0.01-0.1 no border"]
    assert cell == {"mean": float(first["psnr"]), "low": None, "high": None, "pairs": 1}
    assert summary["differences"]["mean"]["psnr"]["0.01-0.1"]["ours_is"] == "undecided"


@pytest.mark.parametrize("name", ["results.md", "report.html"])
def test_the_figures_of_others_stand_with_their_source_and_a_warning(quick, name):
    text = (quick[1] / name).read_text()
    assert "What others report of partial convolutions" in text
    assert "28.32 / 25.25 / 22.89" in text
    assert "maruru-hub/PartialConv-paddle" in text
    assert "Data sets differ" in text


def test_the_gram_distance_is_everywhere(photos, tmp_path):
    out, vgg = tmp_path / "out", tmp_path / "vgg.safetensors"
    torch.manual_seed(0)
    save_file(VGG16Features(2).state_dict(), vgg)
    arguments = ("--model", "none", "--against", "mean,telea", "--vgg", vgg, "--per-cell", 1, "--jobs", 1, "-o", out)
    assert evaluate("--photos", photos, *arguments).exit_code == 0
    rows = rows_of(out)
    assert all(float(row["gram"]) > 0 and float(row["vgg"]) > 0 for row in rows)
    summary = json.loads((out / "summary.json").read_text())
    mean = np.mean([float(row["gram"]) for row in rows if row["method"] == "telea"])
    assert summary["means"]["telea"]["gram"]["all"]["mean"] == pytest.approx(mean)
    assert "gram" in summary["differences"]["telea"]
    assert "sharpness" not in summary["differences"]["telea"]
    markdown = (out / "results.md").read_text()
    assert "## Gram distance (" in markdown
    assert "## Gram distance: ours minus the other" in markdown
    assert (out / "report.html").read_text().count("dB in the hole, Gram distance ") == 2 * 9


def test_the_page_needs_nothing_else(quick):
    page = (quick[1] / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "<script src" not in page
    assert page.count("<svg") == 7
    assert page.count('class="case"') == 9
    assert page.count("data:image/webp") == 9 * (1 + 1 + 2)  # truth, hole, two methods


def test_the_same_command_computes_nothing_again(quick):
    _, out = quick
    before, kept = rows_of(out), {path: path.stat().st_mtime_ns for path in (out / "fills").iterdir()}
    started = time.monotonic()
    result = evaluate("--quick", "--per-cell", 1, "--against", "mean", "--markdown", out / "copy.md", "-o", out)
    assert result.exit_code == 0
    assert rows_of(out) == before
    assert kept == {path: path.stat().st_mtime_ns for path in (out / "fills").iterdir()}
    assert time.monotonic() - started < 60
    assert (out / "copy.md").read_text().startswith("# Results")


def test_a_killed_run_goes_on_to_the_same_result(photos, tool, tmp_path):
    arguments = ["--photos", photos, "--model", "none", "--against", f"mean,{tool('slow')}", "--per-cell", 1]
    arguments += ["--jobs", 2]
    killed, whole = tmp_path / "killed", tmp_path / "whole"

    def finished():
        return len(list((killed / "scores").glob("*.json"))) if killed.is_dir() else 0

    command = [sys.executable, "-m", "pconv", "evaluate", *map(str, arguments), "-o", str(killed)]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        deadline = time.monotonic() + 60
        while finished() < 4 and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    assert 4 <= finished() < 24
    assert not (killed / "per_image.csv").exists()
    kept = {path: path.read_bytes() for path in (killed / "fills").glob("[!.]*.png")}
    assert evaluate(*arguments, "-o", killed).exit_code == 0
    assert evaluate(*arguments, "-o", whole).exit_code == 0
    assert kept.items() <= {path: path.read_bytes() for path in (killed / "fills").iterdir()}.items()
    rows = rows_of(killed)
    assert len(rows) == 24
    assert all(row["psnr"] and not row["failure"] for row in rows)
    assert rows == rows_of(whole)


@pytest.mark.parametrize(
    ("number", "send"),
    [(signal.SIGTERM, os.kill), (signal.SIGTERM, os.killpg), (signal.SIGINT, os.killpg), (signal.SIGHUP, os.killpg)],
)
def test_a_signal_keeps_what_is_done_and_is_told_in_a_sentence(photos, tool, tmp_path, number, send):
    out = tmp_path / "out"
    arguments = ["--photos", photos, "--model", "none", "--against", f"mean,{tool('slow')}", "--per-cell", 1]
    command = [sys.executable, "-m", "pconv", "evaluate", *map(str, [*arguments, "--jobs", 2]), "-o", str(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        deadline = time.monotonic() + 60
        while len(list(out.glob("scores/*.json"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        send(process.pid, number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    assert errors.count("stopped; the fills that are done are kept") == 1
    assert "Traceback" not in errors
    assert len(errors.strip().splitlines()) == 1, errors
    assert 3 <= len(list(out.glob("scores/*.json"))) < 24


def test_what_the_folder_leaves_out_is_one_note(photos, tmp_path):
    (photos / "broken.jpg").write_bytes(b"nothing")
    (photos / "._photo-0.png").write_bytes(b"nothing")
    (photos / "notes.txt").write_text("nothing")
    call = ("--photos", photos, "--model", "none", "--against", "mean", "--per-cell", 1, "-o", tmp_path / "out")
    output = evaluate(*call).output
    assert re.search(r"note: 1 of the 5 photos are left out: .*broken\.jpg is not an image", output)
    assert re.search(r"note: left out of .* \(1\): notes\.txt", output)
    assert "._photo" not in output


def test_what_fails_is_told_and_the_rest_is_there(photos, tool, tmp_path):
    out = tmp_path / "out"
    against = ("--against", "mean", "--against", tool("some"))
    result = evaluate("--photos", photos, "--model", "none", *against, "--per-cell", 1, "-o", out)
    assert result.exit_code == 0, result.output
    assert "failed at 6 of 12 pairs" in result.output
    assert "this photo is too blue" in result.output
    rows = rows_of(out)
    assert sum(bool(row["failure"]) for row in rows) == 6
    assert all(row["psnr"] for row in rows if not row["failure"])
    summary = json.loads((out / "summary.json").read_text())
    assert summary["means"]["cmd-python"]["psnr"]["all"]["mean"] is None
    assert summary["means"]["mean"]["psnr"]["all"]["mean"] > 5
    assert len(summary["failures"]["cmd-python"]) == 6


def test_masks_of_a_folder_are_binned_and_short_cells_reported(photos, tmp_path):
    folder = tmp_path / "masks"
    folder.mkdir()
    for number, rows in enumerate((5, 10, 15, 20)):  # of 64: four cells, the first two in one bin each
        hole = np.full((64, 64), 255, np.uint8)
        hole[:rows] = 0
        Image.fromarray(hole).save(folder / f"{number}.png")
    out = tmp_path / "out"
    call = ("--photos", photos, "--masks", folder, "--model", "none", "--against", "mean", "--per-cell", 1, "-o", out)
    result = evaluate(*call)
    assert result.exit_code == 0, result.output
    assert "4 masks, white = valid (detected)" in result.output
    assert "0.1-0.2 border 1" in result.output
    assert "the cell 0.5-0.6 border has 0 of 1 pairs" in result.output
    assert "there is no mean over all cells" in result.output
    summary = json.loads((out / "summary.json").read_text())
    assert summary["means"]["mean"]["psnr"]["all"]["mean"] is None
    assert summary["means"]["mean"]["psnr"]["0.1-0.2 border"]["pairs"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "give a folder of photos with --photos, or --quick"),
        (["--photos", "{photos}", "--quick"], 2, "or --quick for the bundled ones"),
        (["--photos", "{tmp}/none"], 2, "no folder of photos at"),
        (["--photos", "{tmp}/empty"], 2, "no photos ("),
        (["--photos", "{photos}", "--size", "128"], 2, "is 80x72 px, and the masks are 128x128"),
        (["--photos", "{photos}", "--size", "32"], 2, "masks of 32x32 px are too small"),
        (["--photos", "{photos}", "--masks", "{tmp}/none"], 2, "no folder of masks at"),
        (["--photos", "{photos}", "--masks", "{tmp}/empty"], 2, "no masks ("),
        (["--photos", "{photos}", "--masks", "{tmp}/black"], 2, "has one value only"),
        (["--photos", "{photos}", "--masks", "{tmp}/large"], 2, "is 80x72 px, and the mask"),
        (["--photos", "{photos}", "--masks", "{tmp}/black", "--size", "64"], 2, "--size is for generated masks"),
        (["--photos", "{photos}", "--against", "telea,lama"], 2, "unknown method 'lama'; known are telea, ns"),
        (["--photos", "{photos}", "--model", "{tmp}/none"], 2, "unknown model"),
        (["--photos", "{photos}", "--model", "none", "--against", "none"], 2, "nothing to evaluate"),
        (["--photos", "{photos}", "--cap", "fsr"], 2, "caps nothing; write METHOD=PAIRS, such as fsr=5"),
        (["--photos", "{photos}", "--cap", "fsr=5"], 2, "--cap names 'fsr', which is not run here"),
        (["--photos", "{photos}", "--markdown", "{tmp}/none/a.md"], 2, "/none does not exist; make it"),
        (["--photos", "{photos}", "--vgg", "{tmp}/none"], 2, "the weights of --vgg"),
        (
            ["--photos", "{photos}", "--against", "plain", "--plain-model", "{tmp}/text"],
            2,
            "not a complete safetensors",
        ),
    ],
)
def test_wrong_usage_is_told_in_a_sentence(arguments, code, message, photos, tmp_path):
    for name in ("empty", "black", "large"):
        (tmp_path / name).mkdir()
    (tmp_path / "text").write_text("no weights")
    Image.new("L", (64, 64)).save(tmp_path / "black" / "mask.png")
    Image.new("L", (100, 100)).save(tmp_path / "large" / "mask.png")
    large = Image.new("L", (100, 100))
    large.paste(255, (20, 20, 60, 60))
    large.save(tmp_path / "large" / "hole.png")
    if "--against" not in arguments:
        arguments = [*arguments, "--against", "mean"]
    result = evaluate(*(a.format(photos=photos, tmp=tmp_path) for a in arguments), "-o", tmp_path / "out")
    assert result.exit_code == code, result.output
    assert message in " ".join(result.output.split()), result.output
