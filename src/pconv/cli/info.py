"""``pconv info``."""

from __future__ import annotations

import click


@click.command()
def info() -> None:
    """Show the backends and devices of this machine, and the bundled models."""
    import os
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from pconv import __version__
    from pconv.inpainting.backends import BACKENDS, INSTALL, installed
    from pconv.models import BUNDLED, CHECKPOINT, GRAPH, bundled_hashes, find_model

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


def _devices(backend: str) -> list[str]:
    if backend != "torch":
        return ["cpu"]
    from pconv.nn.devices import known_devices

    return known_devices()
