# Takes jobs from the queue, writes each into the database, and the list of all where the web server sees it.
set -eu
export PGPASSWORD="$(cat /run/secrets/pg-password)"
sql() { psql -q -t -A -h "$DATABASE" -U app -d app -v ON_ERROR_STOP=1 "$@"; }
echo "worker $(cat /etc/hostname) is ready"
while true; do
    job=$(redis-cli -h queue brpop jobs 1 | tail -n 1)
    [ -n "$job" ] || continue
    sql -c "insert into jobs (name, worker) values ('$job', '$(cat /etc/hostname)')"
    sql -c 'select name from jobs order by id' >"/site/.$$"
    mv "/site/.$$" /site/list.txt
    echo "$GREETING, did $job"
done
