"""Django's PostgreSQL backend, made so that a database that goes away never hangs anybody."""
