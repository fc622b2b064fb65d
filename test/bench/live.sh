# Sourced by run: cases of watching and steering.

all_cases+=" progress tracker cancel"

# Functions in C that the references are made of.
live_functions()
{
	local pg_config=${PG_CONFIG:-pg_config}
	[ ! -f "$work/live.so" ] || return 0
	# shellcheck disable=SC2046
	${CC:-cc} $("$pg_config" --cflags) -fPIC -shared -Wl,-Bsymbolic -I"$("$pg_config" --includedir-server)" \
		-I"$source_dir/src" "$here/live.c" -o "$work/live.so"
	chmod a+r "$work/live.so"
	value >/dev/null <<-SQL
		CREATE FUNCTION bench.constant(OUT total int, OUT completed int, OUT failed int, OUT skipped int,
			OUT current_node text, OUT percent numeric) AS '$work/live.so', 'bench_constant' LANGUAGE C VOLATILE;
		CREATE FUNCTION bench.tracker(what text, execution uuid, n bigint, processes int)
			RETURNS float8 AS '$work/live.so', 'bench_tracker' LANGUAGE C VOLATILE;
		SELECT goflow.define('sleeper', '{"nodes": {"a": {"type": "transform", "value": {"x": "1"}},
			"b": {"type": "sql", "after": "a", "sql": "SELECT pg_sleep(600)::text AS x"}}}');
	SQL
}

# ---- progress(): of an execution that runs, beside a constant row ----

case_progress()
{
	local execution
	live_functions
	workers reset
	execution=$(value -c "SELECT goflow.start('sleeper')")
	value >/dev/null <<-SQL
		DO \$\$ BEGIN
			WHILE (SELECT current_node FROM goflow.progress('$execution')) IS DISTINCT FROM 'b' LOOP
				PERFORM pg_sleep(0.01);
			END LOOP;
		END \$\$;
	SQL
	measure progress "$execution"
	row "progress() of one that runs" µs 1 "<=1.5"
	value -c "SELECT goflow.cancel('$execution'), goflow.wait('$execution', '10 s')" >/dev/null
}

# Microseconds per call of 200,000 in one statement.
call() { seconds "SELECT count($1) FROM generate_series(1, 200000) g" | awk '{ print $1 * 5 }'; }
progress_reference() { call "bench.constant()"; }
progress_goflow() { call "goflow.progress('$1')"; }

# ---- tracker: read and count in C, beside a bare atomic load and add ----

case_tracker()
{
	live_functions
	measure tracker load read 1
	row "tracker: read" ns 1 "=<=5.5"
	measure tracker add count 1
	row "tracker: count" ns 1 "=<=11.9"
	measure tracker add count 2
	row "tracker: count, 2 processes" ns 1 "=<=136"
}

# Arguments: operation, processes.  Prints the nanoseconds of the slowest process.
track()
{
	local i
	for ((i = 0; i < $2; i++)); do
		value -c "SELECT bench.tracker('$1', '00000000-0000-7000-8000-000000000000', 20000000, $2)" >"$work/tracker.$i" &
	done
	wait
	cat "$work"/tracker.[0-9]* | sort -g | tail -n 1
	rm -f "$work"/tracker.[0-9]*
}
tracker_reference() { track "$1" "$3"; }
tracker_goflow() { track "$2" "$3"; }

# ---- cancel: from the call until the node's statement is interrupted and the execution has ended ----

case_cancel()
{
	local i
	live_functions
	workers reset
	unset theirs_1 ours_1 ours_2
	for ((i = 0; i < rounds; i++)); do
		value -c "CALL bench.cancel(20, NULL, NULL)" >"$work/cancel"
		ours_1+=" $(cut -d' ' -f1 "$work/cancel")"
		ours_2+=" $(cut -d' ' -f2 "$work/cancel")"
	done
	row "cancel() until it has ended, p50" ms 1 "=<=100"
	row "cancel() until it has ended, maximum" ms 2 "=<=100"
}
