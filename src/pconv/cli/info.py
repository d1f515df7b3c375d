"""``pconv info``."""

from __future__ import annotations

import click


@click.command()
def info() -> None:
    """Show what can compute here, and which models came with pconv."""
    import os
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from pconv import __version__
    from pconv.inpainting.backends import BACKENDS, INSTALL, installed
    from pconv.models import BUNDLED, CHECKPOINT, ELSEWHERE, GRAPH, bundled_hashes, find_model

    click.echo(f"pconv {__version__}, Python {platform.python_version()}, {platform.platform(terse=True)}")
    click.echo(f"CPU: {os.cpu_count()} cores")
    for name in BACKENDS:
        if not installed(name):
            click.echo(f"backend {name}: not installed ({INSTALL[name]})")
            continue
        try:
            number = version(name)
        except PackageNotFoundError:  # imported from somewhere without its metadata
            number = "of unknown version"
        click.echo(f"backend {name}: {number}, on {', '.join(_devices(name))}")
    hashes = bundled_hashes()
    for model in BUNDLED:
        for suffix in (GRAPH, CHECKPOINT):
            path = find_model(model, suffix)
            click.echo(f"model {model}: {path}, {path.stat().st_size / 1e6:.1f} MB, sha256 {hashes[path.name]}")
    for model, variable in ELSEWHERE.items():
        place = os.environ.get(variable, f"not in the box; set {variable} to a file or URL#sha256=HASH")
        click.echo(f"model {model}: {place}")


def _devices(backend: str) -> list[str]:
    if backend != "torch":
        return ["cpu"]
    from pconv.nn.devices import known_devices

    return known_devices()
