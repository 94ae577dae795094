"""How pages show the status and the latency of an execution."""

_TONES = {"succeeded": "good", "failed": "bad", "incomplete": "warn", "running": "busy"}


def tone(status: str) -> str:
    """The color class of a status; neutral for an unknown one."""
    return _TONES.get(status, "plain")


def duration(milliseconds: float) -> str:
    """A duration in readable units: 12 ms, 3.4 s."""
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1000:.1f} s"
