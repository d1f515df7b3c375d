"""``pconv page``: what it refuses. tests/page/test_static.py builds and uses the page."""

import json
import re

import pytest
from click.testing import CliRunner

from pconv.cli import main
from pconv.cli.page import POLICY, STATIC, _check_folder, _in_folder, _with_policy


def page(*arguments):
    return CliRunner().invoke(main, ["page", *map(str, arguments)])


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    result = page("-o", tmp_path)
    assert result.exit_code == 2
    assert "other files" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("content", [None, b"another tarball"])
def test_a_runtime_of_another_version_is_refused(tmp_path, content):
    tarball = tmp_path / "onnxruntime-web.tgz"
    if content:
        tarball.write_bytes(content)
    result = page("-o", tmp_path / "site", "--runtime", tarball)
    assert result.exit_code == 2
    assert ("SHA-256" if content else "does not exist") in result.output
    assert not (tmp_path / "site").exists()


def test_a_model_that_is_none_is_refused(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    result = page("-o", tmp_path / "site", "--model", tmp_path / "model.onnx")
    assert result.exit_code == 2
    assert "cannot be loaded as an ONNX model" in result.output
    assert str(tmp_path / "model.onnx") in " ".join(result.output.split())


def test_a_graph_whose_weights_are_in_another_file_is_refused(tmp_path):
    from pconv.models import find_model

    graph = find_model("default", ".onnx")
    result = page("-o", tmp_path / "site", "--model", graph)
    assert result.exit_code == 2
    assert "cannot be loaded as an ONNX model" in result.output


def test_a_model_of_other_channels_is_refused(tmp_path):
    from pconv.nn.onnx_export import save_onnx
    from pconv.nn.unet import PConvUNet, UNetConfig

    save_onnx(PConvUNet(UNetConfig((4, 4), (3, 3), in_channels=1)).eval(), tmp_path / "grey.onnx", {})
    result = page("-o", tmp_path / "site", "--model", tmp_path / "grey.onnx")
    assert result.exit_code == 2
    assert "has 1" in " ".join(result.output.split())


def test_a_file_that_was_put_into_an_earlier_site_is_not_lost(tmp_path):
    built = {"version": "0", "files": {"index.html": "", "0/main.js": ""}, "policy": ""}
    (tmp_path / "0").mkdir()
    (tmp_path / "index.html").touch()
    (tmp_path / "0" / "main.js").touch()
    (tmp_path / "service-worker.js").write_text(f"const BUILD = {json.dumps(built)};\n")
    _check_folder(tmp_path)
    (tmp_path / "CNAME").write_text("photos.example.org")
    result = page("-o", tmp_path)
    assert result.exit_code == 2
    assert "such as CNAME" in result.output


def test_the_policy_comes_before_any_script():
    html = _with_policy('<meta charset="utf-8" />\n<script src="theme.js"></script>')
    assert html.index(POLICY) < html.index("<script")


def test_the_page_loads_from_the_folder_of_its_version():
    html = _in_folder((STATIC / "index.html").read_text(), "0123456789ab")
    found = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert "0123456789ab/main.js" in found
    assert all(each.startswith(("#", "0123456789ab/")) for each in found)
