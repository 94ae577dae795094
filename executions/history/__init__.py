"""Reading the history: pages, filters and cursors."""
