"""Running: checks in this process, or in forked children of a worker process."""
