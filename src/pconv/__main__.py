"""``python -m pconv`` is the command ``pconv``."""

from pconv.cli import main

main(prog_name="pconv")
