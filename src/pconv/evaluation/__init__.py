"""Measuring fills as the paper does, beside other methods. Needs the extra ``evaluate``."""
