"""The project package: what the Django apps share."""

VERSION = "1.0.0"
