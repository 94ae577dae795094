"""The exact rate limit of run calls, one window a tenant."""
