"""The operator's desk: the admin site, its dashboard, what gathers from everywhere; imported by nobody."""
