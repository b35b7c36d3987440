"""Running: one check in this process, or in a forked child of a worker."""
