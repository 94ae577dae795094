"""The audit log in the admin: who changed what, from which values to which."""
