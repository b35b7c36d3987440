"""The harness: drives optimizers, schedulers and references side by side, and records what was done."""
