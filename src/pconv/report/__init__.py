"""Pages to look at: comparison sheets and the evaluation report."""
