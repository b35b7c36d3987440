"""powers: schedules that fall as a power of the step (`inverse_sqrt`, `power`)."""
