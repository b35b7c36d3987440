"""stages: schedules that warm up, hold and decay (`wsd`, `wsd_s`, `tri_stage`, `one_cycle`)."""
