"""The exception of the benchmarks."""


class BenchError(Exception):
    """A benchmark cannot run. The message is one sentence for its user."""
