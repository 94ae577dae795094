"""The admin site: dashboard, reports, tenants, API keys and staff users. No other app imports it."""
