"""The page and the HTTP interface: ``pconv serve``. Needs ``pip install 'pconv[serve]'``."""
