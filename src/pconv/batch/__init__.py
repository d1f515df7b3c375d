"""Filling whole folders: what is to be done, by whom, and what became of it."""
