# Sourced by run: the cases.  case_NAME measures and prints its lines of the
# table; NAME_reference and NAME_goflow print the figures of one round.

all_cases="chain scale latency inline control fan loop start starters history snapshot waiting memory"

# "1 worker", "2 workers".
count() { echo "$1 $2$([ "$1" = 1 ] || echo s)"; }

# ---- chain: executions of ten INSERTs each ----

case_chain()
{
	local n label
	for n in 1 2; do
		measure chain $n
		label="chain of 10, $(count $n worker)"
		row "$label" steps/s 1 "$([ $n = 1 ] && echo - || echo '>=2.0')"
		row "$label" "WAL bytes/step" 2 "<=1.0"
		row "$label" "xids/step" 3 -
	done
}

# The procedure, in so many sessions.  Prints steps/s, WAL bytes and transaction
# ids per step.  Arguments: sessions, executions.
chain_reference()
{
	local sessions=$1 share=$((${2:-$executions} / $1)) i
	rm -f "$work"/chain.*
	value -c "SELECT * FROM bench.position()" >"$work/chain.before"
	for ((i = 0; i < sessions; i++)); do
		value -c "CALL bench.chain($((i * share)), $share, NULL, NULL)" >"$work/chain.$i" &
	done
	wait
	value -c "SELECT * FROM bench.position()" >"$work/chain.after"
	cat "$work"/chain.{before,after,[0-9]*} | awk -v steps=$((share * sessions * 10)) '
		NF == 3 { wal = $1 - wal; xid = $2 - xid }
		NF == 2 { if (!started || $1 < started) started = $1; if ($2 > ended) ended = $2 }
		END { print steps / (ended - started), wal / steps, xid / steps, ended - started }'
}

# By goflow: started while there is no worker, then workers are let in.  Prints
# nodes/s, WAL bytes and transaction ids per node, and the rate of the second
# half of the executions to that of the first.  Arguments: workers, workflow,
# nodes in each, executions.
chain_goflow()
{
	local workflow=${2:-chain} nodes=${3:-10} n=${4:-$executions} before last
	workers 0
	before=$(newest)
	start_many "$workflow" "$n"
	last=$(newest)
	value -c "ALTER SYSTEM SET goflow.max_workers = $1" \
		-c "SELECT p.* FROM bench.position() p, pg_reload_conf()" >"$work/chain.before"
	drain "$before" "$last"
	value -c "SELECT p.wal, p.xid, max(extract(epoch FROM finished_at)),
				percentile_disc(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at)),
				count(*) FILTER (WHERE state = 'completed')
			  FROM bench.position() p, goflow.executions WHERE execution > '$before' GROUP BY 1, 2" >"$work/chain.after"
	cat "$work"/chain.{before,after} | awk -v n="$n" -v nodes="$nodes" '
		NF == 3 { wal = $1; xid = $2; began = $3; next }
		$5 != n { print "executions did not complete" >"/dev/stderr"; exit 1 }
		{ print n * nodes / ($3 - began), ($1 - wal) / n / nodes, ($2 - xid) / n / nodes, ($4 - began) / ($3 - $4) }'
}

# The same, long enough that the start of the workers does not count.  Argument: workers.
long_chain() { chain_goflow "$1" chain 10 $((executions * 5)); }

# ---- scale: workers beyond one ----

case_scale()
{
	local n
	for n in 2 4; do
		measure scale 1 $n
		row "chain, $n workers to 1" steps/s 1 ">=1.5"
	done
	measure scale 2 4
	row "chain, 4 workers to 2" steps/s 1 ">=0.9"
}

scale_reference() { long_chain "$1"; }
scale_goflow() { long_chain "$2"; }

# ---- latency: one client, nothing else to do ----

case_latency()
{
	workers reset
	measure latency
	row "start() and wait(), idle, p50" ms 1 "<=2.5"
	row "start() and wait(), idle, p99" ms 2 "<=5.0"
	row "start_and_wait(), idle, p50" ms 3 "<=2.5"
	row "start_and_wait(), idle, p99" ms 4 "<=5.0"
}

# One pgbench runs all three, one or the other by chance: what a transaction takes changes
# from one second to the next, and for all alike.
latency_reference()
{
	local insert
	echo "INSERT INTO bench.effect (k, step) VALUES (1, 1);" >"$work/insert.sql"
	printf '%s\n' "SELECT goflow.start('one', '{\"k\": 1}') AS execution \\gset" \
		"SELECT goflow.wait(:execution::uuid);" >"$work/start.sql"
	echo "CALL goflow.start_and_wait('one', '{\"k\": 1}');" >"$work/call.sql"
	rm -f "$work"/pgbench_log.*
	"$bin/pgbench" -n -M prepared -c 1 -t 6000 -f "$work/insert.sql" -f "$work/start.sql" -f "$work/call.sql" \
		-l --log-prefix="$work/pgbench_log" >"$work/pgbench.out" 2>&1 ||
		{ cat "$work/pgbench.out" >&2; exit 1; }
	insert=$(latency 0)
	echo "$insert" "$insert"		# beside both
}

latency_goflow() { echo "$(latency 1)" "$(latency 2)"; }

# p50 and p99 of a script, by its number, in milliseconds.
latency()
{
	awk -v script="$1" '$4 == script { print $3 / 1000 }' "$work"/pgbench_log.* | sort -g |
		awk '{ v[NR] = $1 } END { print v[int(NR * 0.50) + 1], v[int(NR * 0.99) + 1] }'
}

# ---- inline: run() ----

case_inline()
{
	measure inline
	row "run() of 10 steps, 5,000 times" s 1 "<=1.5"
}

inline_reference() { seconds "SELECT count(bench.ten(k)) FROM generate_series(1, 5000) k"; }

inline_goflow()
{
	seconds "SELECT count(goflow.run('chain', jsonb_build_object('k', k))) FROM generate_series(1, 5000) k"
}

# ---- control: nodes that touch no table ----

case_control()
{
	local n
	for n in 1 2; do
		rounds=$((rounds * 3)) measure control $n
		row "control nodes to chain, $(count $n worker)" nodes/s 1 ">=2.0"
	done
}

# Twice as long, as they take half the time.
control_reference() { chain_goflow "$1" chain 10 $((executions * 10)); }
control_goflow() { chain_goflow "$1" control 10 $((executions * 10)); }

# ---- fan: 1,000 parallel nodes and a join ----

case_fan()
{
	measure fan
	row "fan-out of 1,000 and join, 2 workers" s 1 "<=3.0"
}

fan_reference() { chain_reference 2 100 | awk '{ print $4 }'; }

fan_goflow()
{
	workers 2
	value <<-'SQL' | tail -n 1
		SELECT goflow.start('fan', '{"k": 1}') AS execution \gset
		SELECT goflow.wait(:'execution');
		SELECT extract(epoch FROM finished_at - created_at) FROM goflow.status(:'execution');
	SQL
}

# ---- loop: 100,000 iterations ----

case_loop()
{
	measure loop
	row "loop of 100,000 iterations" steps/s 1 ">=0.8"
	row "loop of 100,000 iterations" "WAL bytes/step" 2 -
}

loop_reference() { chain_reference 1 10000; }
loop_goflow() { chain_goflow 1 long_loop 100000 1; }

# ---- start: how fast executions are made ----

case_start()
{
	measure start
	row "start_many of 100,000" s 1 "<=3.33"
	measure trigger
	row "INSERT of 10,000 with row trigger" s 1 "<=3.33"
}

start_reference()
{
	seconds "INSERT INTO bench.execution
		SELECT gen_random_uuid(), 1, 'postgres'::regrole, 'q', 0, now(), NULL, ARRAY[k::text]
		  FROM generate_series(1, 100000) k"
}

start_goflow()
{
	local before
	workers 0
	before=$(newest)
	seconds "SELECT count(*) FROM goflow.start_many('one',
		ARRAY(SELECT jsonb_build_object('k', k) FROM generate_series(1, 100000) k))"
	workers reset
	drain "$before"
}

trigger_reference()
{
	seconds "INSERT INTO bench.execution
		SELECT gen_random_uuid(), 1, 'postgres'::regrole, 'q', 0, now(), NULL, ARRAY[k::text]
		  FROM generate_series(1, 10000) k"
}

trigger_goflow()
{
	local before
	workers 0
	before=$(newest)
	value -c "SELECT goflow.define('arrival', '{
		\"input\": {\"k\": \"int\"},
		\"nodes\": {
			\"arrived\": {\"type\": \"trigger\", \"table\": \"bench.item\", \"events\": [\"insert\"],
						\"input\": {\"k\": \"NEW.id\"}},
			\"s\": {\"type\": \"sql\", \"after\": [\"arrived\"], \"rows\": \"none\",
				  \"sql\": \"INSERT INTO bench.effect (k, step) VALUES (input.k, 1)\"}}}')" >/dev/null
	seconds "INSERT INTO bench.item SELECT k, 'item ' || k FROM generate_series(1, 10000) k"
	workers reset
	drain "$before"
	value -c "SELECT goflow.drop('arrival')" >/dev/null
}

# ---- starters: many clients that start and do not wait ----

case_starters()
{
	local n
	for n in 16 64 256; do
		measure starters $n
		row "$n starters to 1" starts/s 1 ">=1.0"
	done
	# what so many sessions cost the server itself, whatever they do
	for n in 1 16 64 256; do
		measure inserters $n
		row "$n starters to $n who INSERT" starts/s 1 ">=0.3"
	done
}

starters_reference() { starters_goflow 1; }

starters_goflow()
{
	local before
	before=$(newest)
	workers 2
	clients "$1" "SELECT goflow.start('one', '{\"k\": 1}');"
	drain "$before"
}

inserters_reference() { clients "$1" "INSERT INTO bench.effect (k, step) VALUES (1, 1);"; }
inserters_goflow() { starters_goflow "$1"; }

# Transactions per second of so many clients.  Arguments: how many, what they do.
clients()
{
	echo "$2" >"$work/clients.sql"
	"$bin/pgbench" -n -M prepared -c "$1" -j 2 -T 2 -f "$work/clients.sql" 2>&1 |
		sed -n 's/^tps = \([0-9.]*\).*/\1/p'
}

# ---- history: a database with many finished executions, and a fresh one ----

case_history()
{
	local left before
	use_database history
	workers 2
	before=$(newest)
	for ((left = history; left > 0; left -= 100000)); do
		start_many one $((left < 100000 ? left : 100000))
	done
	drain "$before"
	value -c "VACUUM ANALYZE" >/dev/null
	use_database fresh
	rounds=$((rounds * 3)) measure history
	row "chain among $history executions" steps/s 1 ">=0.95"
	"$bin/dropdb" --force history
	"$bin/dropdb" --force fresh
}

history_reference() { in_database fresh long_chain 2; }
history_goflow() { in_database history long_chain 2; }

# ---- snapshot: a transaction that stays open ----

case_snapshot()
{
	rounds=$((rounds * 3)) measure snapshot
	row "chain beside an old snapshot" steps/s 1 ">=0.9"
	row "chain beside it, second half to first" ratio 4 "=>=0.9"
}

snapshot_reference() { chain_goflow 2 chain 10 $((executions * 2)); }

snapshot_goflow()
{
	local holder
	coproc "$bin/psql" -X -q
	holder=$COPROC_PID
	printf '%s\n' "BEGIN ISOLATION LEVEL REPEATABLE READ;" "SELECT txid_current();" "\\echo held" >&"${COPROC[1]}"
	grep -q held <&"${COPROC[0]}"
	chain_goflow 2 chain 10 $((executions * 2))
	kill "$holder"
	wait "$holder" 2>/dev/null || :
}

# ---- waiting: many executions that wait for a moment ----

case_waiting()
{
	local left before
	use_database waiting
	workers 2
	before=$(newest)
	for ((left = waiting; left > 0; left -= 100000)); do
		start_many nap $((left < 100000 ? left : 100000))
		until_waiting "$before"
	done
	value -c "VACUUM ANALYZE" >/dev/null
	workers 0
	ours_1=$(value -c "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'goflow worker'")
	unset theirs_1
	row "workers for $waiting that wait" workers 1 "=<=0"
	ours_1=$(value -c "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) / $waiting FROM pg_class c
		WHERE relnamespace = 'goflow'::regnamespace AND relkind = 'r'")
	row "each of them on disk, with indexes" bytes 1 -
	ours_1=$(process_memory "goflow scheduler")
	row "their scheduler's own memory" kB 1 -
	use_database fresh
	rounds=$((rounds * 3)) measure waiting
	row "chain beside $waiting that wait" steps/s 1 ">=0.95"
	"$bin/dropdb" --force waiting
	"$bin/dropdb" --force fresh
	PGDATABASE=bench
	wake_ups
}

waiting_reference() { in_database fresh long_chain 2; }
waiting_goflow() { in_database waiting long_chain 2; }

until_waiting()
{
	value >/dev/null <<-SQL
		DO \$\$
		BEGIN
			WHILE EXISTS (SELECT FROM goflow.executions WHERE execution > '$1' AND state IN ('queued', 'running')) LOOP
				PERFORM pg_sleep(0.1);
			END LOOP;
		END \$\$;
	SQL
}

# Executions that are due at the same moment.
wake_ups()
{
	local before i
	unset theirs_1 ours_1
	workers 2
	for ((i = 0; i < rounds; i++)); do
		before=$(newest)
		value -c "SELECT count(*) FROM goflow.start_many('alarm', ARRAY(
			SELECT jsonb_build_object('at', now() + interval '6 s') FROM generate_series(1, 50000)))" >/dev/null
		drain "$before"
		ours_1+=" $(value -c "SELECT 50000 / extract(epoch FROM max(finished_at) - min(woken_at))
			FROM (SELECT finished_at, (output ->> 'at')::timestamptz AS woken_at
				FROM goflow.executions WHERE execution > '$before') e")"
	done
	row "50,000 due at once" wake-ups/s 1 "=>=10000"
}

# ---- memory: of a worker, after many nodes ----

case_memory()
{
	unset theirs_1 ours_1
	chain_goflow 1 chain 10 1000 >/dev/null
	theirs_1=$(process_memory "goflow worker")
	chain_goflow 1 chain 10 100000 >/dev/null
	ours_1=$(process_memory "goflow worker")
	row "a worker's own memory, 1,000,000 nodes" kB 1 "<=1.1"
	unset theirs_1
	ours_1=$(value -c "SELECT sum(allocated_size) / 1024 FROM pg_shmem_allocations WHERE name LIKE 'goflow%'")
	row "shared memory as configured" kB 1 -
}

# Private memory of a process of this database, by its kind; 0 if there is none.
process_memory()
{
	local pid
	pid=$(value -c "SELECT pid FROM pg_stat_activity WHERE backend_type = '$1' AND datname = current_database()")
	[ -n "$pid" ] || { echo 0; return; }
	awk '/^RssAnon/ { print $2 }' "/proc/$pid/status"
}
