"""`/metrics` for Prometheus, on a port of its own. Every process returns the numbers of all."""
