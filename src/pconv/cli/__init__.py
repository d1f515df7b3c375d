"""The command ``pconv``: parses, calls, prints. Exit codes: 0 done, 1 the run failed, 2 wrong usage."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import click

from pconv import __version__
from pconv.cli.batch import batch
from pconv.cli.compare import compare
from pconv.cli.evaluate import evaluate
from pconv.cli.export import export
from pconv.cli.grid import grid
from pconv.cli.info import info
from pconv.cli.inpaint import inpaint
from pconv.cli.masks import masks
from pconv.cli.page import page
from pconv.cli.serve import serve
from pconv.cli.train import shards, train
from pconv.cli.upscale import upscale
from pconv.errors import PconvError


class _Group(click.Group):
    """Turns what pconv raises on purpose into one sentence and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PconvError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, package_name="pconv")
def main() -> None:
    """Fill holes in photos with partial convolutions (Liu et al., ECCV 2018)."""
    # What is worth saying about a file is said by us; what its readers mutter meanwhile is not for users.
    warnings.filterwarnings("ignore", module="PIL")
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)


for command in (inpaint, batch, upscale, compare, serve, page, info, export, train, shards, masks, evaluate, grid):
    main.add_command(command)
