"""What ended runs add up to: exact hourly totals of each tenant, and counters for monitoring."""
