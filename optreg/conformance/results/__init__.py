"""Results: comparisons, the rounding they allow, and what is said of their outcome."""
