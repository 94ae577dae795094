"""Demo data for `seed_demo --history`: customers, and a month of their runs."""
