"""Conversations: runs that continue one another, one at a time."""
