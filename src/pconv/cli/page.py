"""``pconv page``."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import click

from pconv.cli.common import PathType, make_folder, model_option, needs_extra, reachable, writing_to, wrong_usage
from pconv.errors import DownloadError, InputError, ModelError
from pconv.files import replacing_folder, sha256_of

STATIC = Path(__file__).parent.parent / "server" / "static"
WORKER = "service-worker.js"
MODEL = re.compile(r"[0-9a-f]{12}/model-[0-9a-f]{12}\.onnx")
LEFT_OUT = {"README.md", "engine.js", "server-engine.js", "tiff.js", f"browser/{WORKER}"}
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
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"

    @property
    def url(self) -> str:
        return f"https://registry.npmjs.org/{self.name}/-/{self.name.rsplit('/', 1)[-1]}-{self.version}.tgz"


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
    Package(
        "@jsquash/png",
        "3.1.1",
        "bd2a9b1ea9f39d1ddaaf088f14e97a62cfb53b1b3868e5a2a65567ccdacb0e2e",
        {
            "codec/pkg/squoosh_png.js": "squoosh_png.js",
            "codec/pkg/squoosh_png_bg.wasm": "squoosh_png.wasm",
            "LICENSE": "squoosh_png.LICENSE.txt",
        },
    ),
    Package(
        "@cf-wasm/png",
        "0.4.0",
        "7e6855e9023186762d352b3d8c0823a3c08a4373e72d5082177cae73d604a57a",
        {"dist/lib/png.js": "cf_png.js", "dist/lib/png_bg.wasm": "cf_png.wasm", "LICENSE.md": "cf_png.LICENSE.txt"},
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

    ONNX Runtime Web and the decoders for photos come from npm, by name, version and hash (docs/guides/static-page.md).
    """
    _check_folder(out)
    with tempfile.TemporaryDirectory() as temporary:
        with wrong_usage(InputError, ModelError):
            given = [(path, _checked(path)) for path in tarballs]
        graph, about = _graph(model, Path(temporary))
        packages = [(package, _tarball(package, given)) for package in PACKAGES]
        make_folder(out.absolute().parent)
        with writing_to(out), replacing_folder(out) as folder:
            _write(folder, graph, about, packages)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    click.echo(f"{out}: {size / 1e6:.1f} MB; try it with: python3 -m http.server --directory {out}")


def _check_folder(out: Path) -> None:
    """The site is replaced as a whole, so nothing else may lie in its folder.

    Raises:
        click.UsageError: something does.
    """
    if out.exists() and not out.is_dir():
        raise click.UsageError(f"{out} is a file; name a folder")
    with reachable(out):
        found = [path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir()]
    ours: set[str] = set()
    if WORKER in found:
        first, _, _ = (out / WORKER).read_text(encoding="utf-8", errors="replace").partition("\n")
        with suppress(ValueError, KeyError, TypeError):  # somebody else's service worker
            ours = {*json.loads(first.removeprefix("const BUILD = ").removesuffix(";"))["files"], WORKER}
    others = sorted(name for name in found if name not in ours and not (ours and MODEL.fullmatch(name)))
    if others:
        raise click.UsageError(
            f"the folder {out} holds other files, such as {others[0]}: name a new one, or one that pconv page wrote"
        )


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
    from pconv.inpainting.backends import OnnxRuntimeBackend
    from pconv.models import GRAPH, SEEDS, find_model

    with wrong_usage(ModelError):
        path = find_model(model)
        alone = temporary / f"{path.stem}{GRAPH}"  # in a folder of its own: weights in another file are missed here
        if path.suffix.lower() == GRAPH:
            shutil.copyfile(path, alone)
        else:
            with needs_extra("train"):
                from pconv.nn.checkpoint import load_network
                from pconv.nn.onnx_export import save_onnx
            network, recipe = load_network(path)
            save_onnx(network, alone, recipe, fp16_weights=True)
        try:
            backend = OnnxRuntimeBackend(alone)
        except ModelError as error:
            raise ModelError(str(error).replace(str(alone), str(path))) from error
        if backend.channels != 3:
            raise ModelError(f"the page needs a model of colours (3 channels), and {path} has {backend.channels}")
    data = alone.read_bytes()
    digest = _sha256(data)
    return data, {
        "name": path.stem,
        "file": f"model-{digest[:12]}.onnx",
        "bytes": len(data),
        "sha256": digest,
        "multiple": backend.multiple,
        "maps": backend.maps,
        "estimates": backend.estimates,
        "seeds": SEEDS if backend.noise else 1,
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
    digest = _sha256(json.dumps([POLICY, about, {name: _sha256(data) for name, data in files.items()}]).encode())
    build = {
        "version": digest,
        "pconv": pconv.__version__,
        "model": about,
        "options": {name: {"maximum": known[name].metadata["help"].high} for name in ("grow", "feather")},
        "pixels": MAX_PIXELS,
    }
    load = 'import { browserEngine } from "./browser/engine.js";'
    files["engine.js"] = f"{load} export const engine = browserEngine({_json(build)});\n".encode()
    # Nothing of one version has an address of another's, so that no cache and no tab can mix two.
    version = digest[:12]
    index = _in_folder(files.pop("index.html").decode(), version).encode()
    files = {"index.html": index, **{f"{version}/{name}": data for name, data in files.items()}}
    kept = {"version": digest, "policy": POLICY, "files": {name: _sha256(files[name]) for name in files}}
    worker = (STATIC / "browser" / WORKER).read_text(encoding="utf-8")
    files[WORKER] = f"const BUILD = {_json(kept)};\n{worker}".encode()
    files[f"{version}/{about['file']}"] = graph
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


def _in_folder(html: str, folder: str) -> str:
    """The page with all that it loads in a folder beside it."""
    return re.sub(r'((?:src|href)=")(?!#)', rf"\g<1>{folder}/", html)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
