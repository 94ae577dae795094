"""The models an agent can be run on, each by its name."""

# All served by the mock. The order is the one that callers see.
MODEL_NAMES = ("gpt-4o", "gpt-4", "gpt-3.5-turbo", "claude-3-opus", "claude-3-sonnet")
