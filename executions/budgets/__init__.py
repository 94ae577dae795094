"""Enforcement of the budgets of tenants (`map_project.usage.budgets`)."""
