"""What serves models, each kind of it in a file."""

# The first release's; a list of today's models is in `agents.language_models`.
MODEL_NAMES = ("gpt-4o", "gpt-4", "gpt-3.5-turbo", "claude-3-opus", "claude-3-sonnet")
