"""Making holes. True / white = hole, to be filled."""

from pconv.masks.strokes import irregular_hole as irregular_hole

__all__ = ["irregular_hole"]
