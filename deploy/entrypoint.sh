#!/bin/sh
# Exports each secret of the volume that the environment does not give, then becomes the command.
set -eu
for file in "${SECRETS_DIR:-/run/map}"/*; do
    name=${file##*/}
    if [ -f "$file" ] && [ -z "$(printenv "$name")" ]; then
        export "$name=$(cat "$file")"
    fi
done
# libpq takes the password from here when DATABASE_URL has none: nothing has to be URL-encoded.
export PGPASSWORD="${PGPASSWORD:-${POSTGRES_PASSWORD:-}}"
unset POSTGRES_PASSWORD
exec "$@"
