"""Webhooks of tenants: endpoints, and the deliveries of the ends of runs (Standard Webhooks 1.0.0)."""
