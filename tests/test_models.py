import hashlib
import re
import shutil
from collections import Counter
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from servers import serving

import pconv.models
from pconv import PRESETS, Inpainter, PConvUNet
from pconv.cli import main
from pconv.errors import DownloadError, ModelError
from pconv.files import sha256_of
from pconv.models import BUNDLED, bundled_hashes, find_model
from pconv.nn.onnx_export import save_onnx

ROOT = Path(__file__).parents[1]
BOX = Path(pconv.models.__file__).parent


class Handler(SimpleHTTPRequestHandler):
    """Counts what it is asked for."""

    def do_GET(self):
        self.server.asked.append(self.path)
        super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves the folder ``server.folder``; downloads are kept in a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("pconv.models.download.RETRIES", 0)
    folder = tmp_path / "served"
    folder.mkdir()
    running = ThreadingHTTPServer(("127.0.0.1", 0), lambda *args: Handler(*args, directory=str(folder)))
    running.folder, running.asked = folder, []
    with serving(running):
        yield running


def write_photo_and_mask(folder):
    Image.new("RGB", (32, 32)).save(folder / "photo.png")
    mask = Image.new("L", (32, 32))
    mask.paste(255, (8, 8, 16, 16))
    mask.save(folder / "mask.png")


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """An exported model, which is one file."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("graph") / "tiny.onnx"
    save_onnx(PConvUNet(PRESETS["tiny"]).eval(), path, {})
    return path


@pytest.fixture
def served_model(server, graph):
    """URL with hash of a model on the server."""
    shutil.copy(graph, server.folder / "paper.onnx")
    return f"{server.url}/paper.onnx#sha256={sha256_of(graph)}"


def test_hashes_of_all_bundled_files_are_in_the_model_card():
    hashes = bundled_hashes()
    assert set(hashes) == {path.name for path in BOX.iterdir() if path.suffix in (".onnx", ".safetensors")}
    card = (ROOT / "docs" / "model-card.md").read_text()
    for name, digest in hashes.items():
        assert hashlib.sha256((BOX / name).read_bytes()).hexdigest() == digest
        assert digest in card


@pytest.fixture
def box(tmp_path, monkeypatch):
    """A copy of the bundled files, from which the bundled model is loaded."""
    for name in (*bundled_hashes(), "SHA256SUMS"):
        shutil.copy(BOX / name, tmp_path)
    monkeypatch.setattr(pconv.models, "__file__", str(tmp_path / "__init__.py"))
    return tmp_path


def test_each_bundled_model_has_at_most_16_mb():
    for model in BUNDLED:
        assert (BOX / f"{model}.safetensors").stat().st_size + (BOX / f"{model}.onnx").stat().st_size <= 16e6


def test_each_photo_of_the_model_clean_has_a_source_and_a_licence():
    header, *photos = (BOX / "clean-photos.tsv").read_text(encoding="utf-8").splitlines()
    columns = header.split("\t")
    assert len(photos) == 4305
    for photo in photos:
        fields = dict(zip(columns, photo.split("\t"), strict=True))
        for name in (
            "file",
            "repository on GitHub",
            "path in the repository",
            "licence",
            "author or credit",
            "where the licence is stated",
        ):
            assert fields[name], photo
        assert not re.search(r"\bN[CD]\b", fields["licence"])  # no use for money, or no changes
    assert str(len(photos)) in (ROOT / "docs" / "model-card.md").read_text().replace(",", "")


def test_the_model_card_counts_the_photos_of_the_model_clean():
    card = (ROOT / "docs" / "model-card.md").read_text().replace(",", "")
    rows = [line.split("\t") for line in (BOX / "clean-photos.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    counted = re.findall(r"^\| \[(.+)\]\(https://github\.com/\1\) \| (\d+) \|", card, re.M)
    assert {name: int(number) for name, number in counted} == Counter(row[1] for row in rows)
    licences = Counter(re.sub(r" \(.*", "", row[3]).replace("CC-BY-SA-4.0", "CC BY-SA 4.0") for row in rows)
    for licence in ("CC BY 2.0", "CC BY-SA 2.0", "CC BY-SA 3.0", "CC BY-SA 4.0", "MIT"):
        assert re.search(rf"^\| \[{licence}\]\(https://\S+\) \| {licences[licence]} \|$", card, re.M)
    by_licence = card[card.index("By licence") : card.index("The credit is not always a name")]
    assert sum(map(int, re.findall(r"\| (\d+) \|$", by_licence, re.M))) == len(rows)
    credits = [row[4] for row in rows]
    for credit, sentence in (
        (r"Flickr author", "{} photos are from Open Images"),
        (r"Flickr author: see", "For {} the credit is the ImageID"),
        (r"Flickr authors of", "For {} the repository has not kept it"),
        (r"http.*staticflickr", "{} photos are from COCO"),
        (r"contributors of ", "{} photos have no author in their repository"),
        (r"https://(unsplash|www\.pexels)\.com", "{} photos under CC0 have the address of their page"),
    ):
        assert sentence.format(sum(bool(re.match(credit, each)) for each in credits)) in card


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "torch"])
@pytest.mark.parametrize("name", ["default.onnx", "default.safetensors"])
def test_a_damaged_or_missing_bundled_file_is_named(box, name, backend):
    """The graph's weights are in the checkpoint, so the backends that run it need both; torch needs the checkpoint."""
    content = bytearray((box / name).read_bytes())
    content[-1000] ^= 1
    (box / name).write_bytes(content)
    if backend == "torch" and name == "default.onnx":
        assert Inpainter(backend=backend, device="cpu").backend.path == box / "default.safetensors"
        return
    damaged = rf"{name} is damaged: its SHA-256 is {sha256_of(box / name)}, not [0-9a-f]{{64}}; install pconv again$"
    with pytest.raises(ModelError, match=damaged):
        Inpainter(backend=backend, device="cpu")
    (box / name).unlink()
    with pytest.raises(ModelError, match=rf"^cannot read the bundled model .*{name} \(.*\): install pconv again$"):
        Inpainter(backend=backend, device="cpu")


def test_a_model_by_url_is_downloaded_once_checked_and_used(server, served_model, graph):
    image = np.full((40, 40, 3), 200, np.uint8)
    hole = np.zeros((40, 40), bool)
    hole[10:20, 10:20] = True
    for _ in range(2):
        filled = Inpainter(served_model)(image, hole)
        assert np.array_equal(filled, Inpainter(graph)(image, hole))
    assert server.asked == ["/paper.onnx"]


def test_a_url_can_be_given_as_the_model_itself(served_model, graph):
    path = find_model(served_model)
    assert path.suffix == ".onnx"
    assert path.read_bytes() == graph.read_bytes()


def test_what_was_damaged_in_the_cache_is_downloaded_again(server, served_model, graph):
    find_model(served_model).write_bytes(b"cut off")
    assert find_model(served_model).read_bytes() == graph.read_bytes()
    assert len(server.asked) == 2


def test_another_file_than_the_hash_says_is_not_kept(server, tmp_path):
    (server.folder / "paper.onnx").write_bytes(b"something else")
    with pytest.raises(DownloadError, match="hash"):
        find_model(f"{server.url}/paper.onnx#sha256={'0' * 64}")
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_a_failed_download_is_a_failed_run(server, tmp_path):
    write_photo_and_mask(tmp_path)
    for url in (f"{server.url}/nothing.onnx", "http://127.0.0.1:1/refused.onnx"):
        model = f"{url}#sha256={'0' * 64}"
        arguments = ["inpaint", str(tmp_path / "photo.png"), str(tmp_path / "mask.png"), "--model", model]
        result = CliRunner().invoke(main, [*arguments, "-o", str(tmp_path / "out.png")])
        assert result.exit_code == 1
        assert re.search(r"cannot download http.* or download the model by other means", result.output, re.DOTALL)
        assert not (tmp_path / "out.png").exists()


def test_a_local_file_needs_no_server_and_its_hash_is_checked(tmp_path, graph):
    path = tmp_path / "mine.onnx"
    shutil.copy(graph, path)
    assert find_model(f"{path}#sha256={sha256_of(path)}") == path
    with pytest.raises(ModelError, match=r"mine\.onnx is not the file that was meant: its SHA-256 is"):
        find_model(f"{path}#sha256={'1' * 64}")
    with pytest.raises(ModelError, match=r"no model file at .*nothing\.onnx"):
        find_model(f"{tmp_path / 'nothing.onnx'}#sha256={'1' * 64}")


@pytest.mark.parametrize(
    "model", ["https://example.org/m.onnx", "https://example.org/m.onnx#sha256=12", "a#sha256=xyz"]
)
def test_a_url_needs_a_hash(model):
    with pytest.raises(ModelError, match="needs its SHA-256, 64 hexadecimal digits, behind #sha256="):
        find_model(model)
