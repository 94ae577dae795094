"""What stands in the way of a bench."""


class BenchError(Exception):
    """Told to whoever runs the bench, in one sentence."""
