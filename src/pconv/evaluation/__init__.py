"""Measuring fills as the paper does, beside other methods. Needs ``pip install 'pconv[evaluate]'``."""
