"""Masks, made and read. White = True = hole, to be filled."""
