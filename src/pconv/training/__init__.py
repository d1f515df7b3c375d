"""Training as the paper does it. Needs the extra ``train``."""
