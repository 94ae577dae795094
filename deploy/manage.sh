#!/bin/sh
exec sh /app/deploy/entrypoint.sh python /app/manage.py "$@"
