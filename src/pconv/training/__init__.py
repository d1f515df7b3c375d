"""Training as the paper does it. Needs ``pip install 'pconv[train]'``."""
