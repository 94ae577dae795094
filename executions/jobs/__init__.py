"""Runs that outlive their process: leases, recovery, background work and workers."""
