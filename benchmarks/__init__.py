"""Benchmarks. They are not part of the tests; README.md explains how to run them."""
