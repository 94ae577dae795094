"""Pages that answer questions of operators: what failed, which tool is slow, and what runs now."""
