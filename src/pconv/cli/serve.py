"""`pconv serve`."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import click

from pconv.cli.common import needs_extra, network_options, wrong_usage
from pconv.errors import InputError, ModelError

if TYPE_CHECKING:
    from pconv.server.queue import Worker

SHORTEST_TOKEN = 12


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0: all of them.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="0: any free one.  [default: the first free one from 8000]"
)
@click.option("--open", "browse", is_flag=True, help="Open the page in the browser.")
@click.option("--token", envvar="PCONV_TOKEN", help="What clients must send; also from PCONV_TOKEN.")
@click.option("--allow-host", "names", multiple=True, help="A name that the server goes by; repeatable.")
@network_options("device")
@click.option("--device", "devices", multiple=True, help="cpu, cuda, cuda:1, mps; repeatable.  [default: auto]")
@click.option(
    "--max-megabytes", type=click.FloatRange(min=0.01), default=200.0, show_default=True, help="Of a request."
)
@click.option(
    "--max-megapixels", type=click.FloatRange(0.01, 178), default=100.0, show_default=True, help="Of a photo."
)
@click.option(
    "--time-limit", type=click.FloatRange(min=0.1), default=300.0, show_default=True, help="Seconds for one."
)
@click.option("--queue", type=click.IntRange(min=1), default=32, show_default=True, help="Photos that may wait.")
@click.option("-v", "--verbose", is_flag=True, help="Log health checks and broken files too.")
def serve(
    host: str,
    port: int | None,
    browse: bool,
    token: str | None,
    names: tuple[str, ...],
    network: dict[str, Any],
    devices: tuple[str, ...],
    max_megabytes: float,
    max_megapixels: float,
    time_limit: float,
    queue: int,
    verbose: bool,
) -> None:
    """Open the page: drop a photo, paint over what should go, download the result. Programs have POST /api/v1/inpaint
    (described at /docs).

    Only this machine can reach it, unless --host says otherwise; then clients need a token, since anyone on the
    network could use the machine.
    """
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise click.UsageError(
            f"a token that can be guessed protects nothing; give at least {SHORTEST_TOKEN} characters"
        )
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
        raise click.UsageError("the token goes into an HTTP header: use letters, digits and signs of ASCII, no spaces")
    with needs_extra("serve"):
        from pconv.server.config import MB, ServerConfig
        from pconv.server.middleware import is_loopback
        from pconv.server.service import InpaintService
        from pconv.server.uvicorn_server import make_server, open_socket, page_addresses, set_up_logging

    local = is_loopback(host)
    token_is_new = not local and token is None
    if token_is_new:
        token = _new_token(host)
    config = ServerConfig(
        token=token,
        hosts=_hosts(host, names) if local or names else None,
        max_bytes=round(max_megabytes * MB),
        max_pixels=round(max_megapixels * MB),
        time_limit=time_limit,
        max_queued=queue,
    )
    with wrong_usage(InputError):
        sock = open_socket(host, port)
    with sock:
        service = InpaintService(_load(network, devices or ("auto",)), config)
        set_up_logging(verbose)
        server = make_server(service)
        pages = page_addresses(sock, host)
        fragment = f"#token={token}" if token else ""

        def started() -> None:
            backend = service.workers[0].backend
            click.echo(f"{service.model} with {backend.name} on {backend.device} in {backend.precision}", err=True)
            shown = [page + (fragment if token_is_new else "") for page in pages]
            click.echo(f"pconv is at {' and '.join(shown)} (Ctrl-C stops it)", err=True)
            if token and not token_is_new:
                click.echo("the page takes the token from its address: add #token=YOUR_TOKEN", err=True)
            if browse and click.launch(pages[0] + fragment) != 0:
                click.echo("note: no browser could be opened; go to the address yourself", err=True)

        server.on_start = started
        stop_signals = (signal.SIGINT, signal.SIGTERM)
        handlers = [signal.signal(number, signal.SIG_IGN) for number in stop_signals]
        server.run(sockets=[sock])  # a signal ends it; uvicorn then raises the signal again, which is ignored
        for number, handler in zip(stop_signals, handlers, strict=True):
            signal.signal(number, handler)
    click.echo("stopped", err=True)


def _load(network: dict[str, Any], devices: tuple[str, ...]) -> list[Worker]:
    from pconv.inpainting.inpainter import Inpainter
    from pconv.models import GRAPH, find_model
    from pconv.server.queue import Worker

    with wrong_usage(ModelError):
        find_model(network["model"], GRAPH)  # the form that is mostly opened: each is hashed when it is looked for
    with wrong_usage(InputError):
        workers = [Worker(Inpainter(device=device, **network)) for device in dict.fromkeys(devices)]
    for worker in workers:
        worker.warm_up()
    return workers


def _new_token(host: str) -> str:
    import secrets

    click.echo(
        f"note: {host} can be reached from other machines, so clients need a token; this one was made for this run"
        " (--token sets your own). Nothing is encrypted: on a network you do not trust, put a TLS proxy in front.",
        err=True,
    )
    return secrets.token_urlsafe(24)


def _hosts(host: str, names: tuple[str, ...]) -> frozenset[str]:
    return frozenset({"localhost", "127.0.0.1", "::1", host.lower(), *(name.lower() for name in names)})
