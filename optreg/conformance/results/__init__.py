"""Results: comparisons, the rounding errors that they allow, and verdicts."""
