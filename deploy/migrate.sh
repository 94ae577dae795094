#!/bin/sh
# Runs once before the API: migrates, and with DEMO=1 creates two demo tenants, whose keys are public.
set -eu
python manage.py migrate --noinput
case "${DEMO:-0}" in
    1) python manage.py seed_demo --force ;;
    0) ;;
    *) echo "DEMO must be 1 or 0, not '$DEMO'." >&2; exit 1 ;;
esac
