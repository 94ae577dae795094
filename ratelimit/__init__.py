"""The exact rate limit of run calls: one sliding window for each tenant."""
