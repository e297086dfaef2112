# Starts PostgreSQL, with an empty database of the app's where there was none.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --username=app --pwfile=/run/secrets/password --auth-local=trust --auth-host=scram-sha-256 \
        --no-locale --encoding=UTF8 --no-sync
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    echo 'create database app' | postgres --single -D "$PGDATA" postgres
fi
exec postgres -D "$PGDATA" -c listen_addresses='*' -c fsync=off -c unix_socket_directories=/tmp
