"""``pconv page``: what it refuses. tests/page/test_static.py builds and uses the page."""

import pytest
from click.testing import CliRunner

from pconv.cli import main
from pconv.cli.page import POLICY, _with_policy


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
    assert "one whole ONNX model" in result.output


def test_the_policy_comes_before_any_script():
    html = _with_policy('<meta charset="utf-8" />\n<script src="theme.js"></script>')
    assert html.index(POLICY) < html.index("<script")
