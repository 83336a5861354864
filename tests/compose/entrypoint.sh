#!/bin/sh
# What the official image does at its start, as far as its documentation says so: an empty PGDATA is
# made a cluster with the user, the password and the database of the variables, by a server that
# answers on its socket alone; then the real one begins.
set -eu
: "${POSTGRES_USER:=postgres}"
: "${POSTGRES_DB:=$POSTGRES_USER}"
password=${POSTGRES_PASSWORD-}
if [ -n "${POSTGRES_PASSWORD_FILE-}" ]; then
	password=$(cat "$POSTGRES_PASSWORD_FILE")
fi

if [ ! -s "$PGDATA/PG_VERSION" ]; then
	if [ -z "$password" ]; then
		echo "Error: Database is uninitialized and superuser password is not specified." >&2
		exit 1
	fi
	chmod 700 "$PGDATA"
	# shellcheck disable=SC2086 # options
	printf '%s\n' "$password" |
		initdb --username="$POSTGRES_USER" --pwfile=/dev/stdin ${POSTGRES_INITDB_ARGS-}
	echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
	pg_ctl -w -o "-c listen_addresses=''" start
	if [ "$POSTGRES_DB" != postgres ]; then
		createdb --username="$POSTGRES_USER" --maintenance-db=postgres "$POSTGRES_DB"
	fi
	pg_ctl -m fast -w stop
fi
unset POSTGRES_PASSWORD password
exec postgres -c listen_addresses='*'
