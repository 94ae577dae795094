#!/bin/sh
# Exports each secret of the volume that is not in the environment, then executes the command.
set -eu
for file in "${SECRETS_DIR:-/run/map}"/*; do
    name=${file##*/}
    if [ -f "$file" ] && [ -z "$(printenv "$name")" ]; then
        export "$name=$(cat "$file")"
    fi
done
# libpq uses PGPASSWORD if DATABASE_URL has no password. It needs no URL encoding.
export PGPASSWORD="${PGPASSWORD:-${POSTGRES_PASSWORD:-}}"
unset POSTGRES_PASSWORD
exec "$@"
