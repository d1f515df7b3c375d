"""``pconv page``."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import click

from pconv.cli.common import PathType, make_folder, model_option, needs_extra, writing_to, wrong_usage
from pconv.errors import DownloadError, InputError, ModelError
from pconv.files import sha256_of

STATIC = Path(__file__).parent.parent / "server" / "static"
LEFT_OUT = {"README.md", "engine.js", "server-engine.js", "tiff.js", "browser/service-worker.js"}
"""Files of the server's page that this one has not, or in another form."""

MAX_PIXELS = 50_000_000
"""Of a photo that is filled in a browser."""

POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " worker-src 'self'; base-uri 'none'; form-action 'none'"
)
"""The page's Content-Security-Policy: it reaches its own origin alone."""


class Package(NamedTuple):
    """A package of npm: its name, its version, the SHA-256 of its tarball, and the files that the page takes."""

    name: str
    version: str
    sha256: str
    files: dict[str, str]

    @property
    def tarball(self) -> str:
        return f"{self.name.rsplit('/', 1)[-1]}-{self.version}.tgz"

    @property
    def url(self) -> str:
        return f"https://registry.npmjs.org/{self.name}/-/{self.tarball}"


PACKAGES = (
    Package(
        "onnxruntime-web",
        "1.30.0",
        "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71",
        {"dist/ort.wasm.bundle.min.mjs": "ort.js", "dist/ort-wasm-simd-threaded.wasm": "ort.wasm"},
    ),
    Package(
        "@jsquash/jpeg",
        "1.6.0",
        "b546f01dce888337bf132c5113b78a91a8ad76c1fe54740b2632546dda3b41b8",
        {
            "codec/dec/mozjpeg_dec.js": "mozjpeg_dec.js",
            "codec/dec/mozjpeg_dec.wasm": "mozjpeg_dec.wasm",
            "LICENSE": "mozjpeg_dec.LICENSE.txt",
            "codec/LICENSE.codec.md": "mozjpeg.LICENSE.txt",
        },
    ),
)


@click.command()
@click.option("-o", "--output", "out", type=PathType, required=True, help="The folder to write.")
@model_option
@click.option(
    "--runtime",
    "tarballs",
    type=PathType,
    multiple=True,
    metavar="FILE.tgz",
    help="A package that npm pack has fetched, for machines without a network; repeatable.",
)
def page(out: Path, model: str, tarballs: tuple[Path, ...]) -> None:
    """Write the page as a static site that fills photos in the browser, without a server of ours.

    ONNX Runtime Web and a JPEG decoder come from npm, by name, version and hash (docs/guides/static-page.md).
    """
    if out.exists() and not out.is_dir():
        raise click.UsageError(f"{out} is a file; name a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / "service-worker.js").is_file():
        raise click.UsageError(f"the folder {out} holds other files; name a new one, or one that pconv page wrote")
    with tempfile.TemporaryDirectory() as temporary:
        with wrong_usage(InputError, ModelError):
            given = [(path, _checked(path)) for path in tarballs]
        graph, about = _graph(model, Path(temporary))
        make_folder(out)
        with writing_to(out):
            _write(out, graph, about, [(package, _tarball(package, given)) for package in PACKAGES])
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    click.echo(f"{out}: {size / 1e6:.1f} MB; try it with: python3 -m http.server --directory {out}")


def _checked(path: Path) -> Package:
    """The package that a local tarball is.

    Raises:
        InputError: it is none of those that the page needs.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist")
    found = sha256_of(path)
    for package in PACKAGES:
        if package.sha256 == found:
            return package
    wanted = " or ".join(f"{package.name}@{package.version}" for package in PACKAGES)
    raise InputError(f"{path} is not what npm pack fetches for {wanted}: its SHA-256 is {found}")


def _tarball(package: Package, given: list[tuple[Path, Package]]) -> Path:
    """The package's tarball: given, kept from before, from npm, or from npm's registry; its hash is checked.

    Raises:
        DownloadError: none of these worked.
    """
    import pooch

    from pconv.models.download import download

    for path, known in given:
        if known == package:
            return path
    kept = Path(pooch.os_cache("pconv")) / "page" / package.tarball
    if kept.is_file() and sha256_of(kept) == package.sha256:
        return kept
    if npm := shutil.which("npm"):  # it knows of mirrors and proxies
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            command = [npm, "pack", f"{package.name}@{package.version}", "--silent", "--pack-destination", folder]
            subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
            for path in Path(folder).glob("*.tgz"):
                if sha256_of(path) == package.sha256:
                    return path.replace(kept)
    try:
        download(package.url, package.sha256, kept)
    except DownloadError as error:
        raise DownloadError(f"{error}; or fetch it with npm pack, and give the file with --runtime") from error
    return kept


def _graph(model: str, temporary: Path) -> tuple[bytes, dict[str, Any]]:
    """The model as one ONNX file, and what the page must know of it.

    Raises:
        click.UsageError: no such model, or one that the page cannot run.
    """
    import onnxruntime

    from pconv.models import GRAPH, GRAPH_FORMAT, SEEDS, check_format, find_model

    with wrong_usage(ModelError):
        path = find_model(model)
        if path.suffix.lower() != GRAPH:
            with needs_extra("train"):
                from pconv.nn.checkpoint import load_network
                from pconv.nn.onnx_export import save_onnx
            network, recipe = load_network(path)
            path = temporary / f"{path.stem}{GRAPH}"
            save_onnx(network, path, recipe, fp16_weights=True)
        data = path.read_bytes()
        try:
            session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors share no base class but this
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"{path} is not one whole ONNX model; give what pconv export wrote ({reason})") from error
        metadata = session.get_modelmeta().custom_metadata_map
        check_format(path, metadata.get("format"), GRAPH_FORMAT)
        config = json.loads(metadata["config"])
        if metadata.get("image") != "float" or config["in_channels"] != 3:
            raise ModelError(f"the page needs a model of colours with float images, and {path} is another")
    inputs = {each.name: each.shape for each in session.get_inputs()}
    digest = _sha256(data)
    return data, {
        "name": path.stem,
        "file": f"model-{digest[:12]}.onnx",
        "bytes": len(data),
        "sha256": digest,
        "multiple": 2 ** len(config["channels"]),
        "maps": inputs["hole"][1],
        "estimates": "estimate" in inputs,
        "seeds": SEEDS if "seed" in inputs else 1,
    }


def _write(out: Path, graph: bytes, about: dict[str, Any], packages: list[tuple[Package, Path]]) -> None:
    import pconv
    from pconv.inpainting.options import InpaintOptions

    parts = {path.relative_to(STATIC).as_posix(): path for path in sorted(STATIC.rglob("*")) if path.is_file()}
    files = {name: path.read_bytes() for name, path in parts.items() if name not in LEFT_OUT}
    for package, tarball in packages:
        with tarfile.open(tarball) as archive:
            for name, target in package.files.items():
                member = archive.extractfile(f"package/{name}")
                assert member is not None  # the tarball's hash is known
                files[f"runtime/{target}"] = member.read()
    files["index.html"] = _with_policy(files["index.html"].decode()).encode()
    known = InpaintOptions.__dataclass_fields__
    build = {
        "version": _sha256(
            json.dumps([POLICY, about, {name: _sha256(data) for name, data in files.items()}]).encode()
        ),
        "pconv": pconv.__version__,
        "model": about,
        "options": {name: {"maximum": known[name].metadata["help"].high} for name in ("grow", "feather")},
        "pixels": MAX_PIXELS,
    }
    load = 'import { browserEngine } from "./browser/engine.js";'
    files["engine.js"] = f"{load} export const engine = browserEngine({_json(build)});\n".encode()
    kept = {"version": build["version"], "policy": POLICY, "files": {name: _sha256(files[name]) for name in files}}
    worker = (STATIC / "browser" / "service-worker.js").read_text(encoding="utf-8")
    files["service-worker.js"] = f"const BUILD = {_json(kept)};\n{worker}".encode()
    files[about["file"]] = graph
    for old in out.glob("model-*.onnx"):
        old.unlink()
    for name, data in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(data)


def _with_policy(html: str) -> str:
    """The page with its Content-Security-Policy, and with a sentence for whoever opens it from a disk."""
    meta = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}" />'
    for before, after in (
        ('<meta charset="utf-8" />', meta),
        ('<script src="theme.js"></script>', '<script src="browser/from-disk.js"></script>'),
    ):
        assert html.count(before) == 1
        html = html.replace(before, f"{before}\n    {after}")
    return html


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
