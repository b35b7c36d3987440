"""plateau: a schedule that is driven by a metric (`reduce_on_plateau`)."""
