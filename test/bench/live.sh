# Sourced by run: cases of watching and steering.

all_cases+=" progress tracker cancel subscribers told"

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

# ---- subscribers: the chain while clients are told of all its events ----

# Makes the program of the subscribers; false if libpq is not there to compile it with.
subscribers_program()
{
	local pg_config=${PG_CONFIG:-pg_config} include lib
	[ ! -x "$work/subscribers" ] || return 0
	include=$("$pg_config" --includedir)
	lib=$("$pg_config" --libdir)
	if [ ! -f "$include/libpq-fe.h" ]; then
		echo "libpq-fe.h is not installed: cases with subscribers are left out" >&2
		return 1
	fi
	${CC:-cc} -O2 -Wall -Wextra -Werror -I"$include" "$here/subscribers.c" \
		-L"$lib" -Wl,-rpath,"$lib" -lpq -o "$work/subscribers"
}

case_subscribers()
{
	local what
	subscribers_program || return 0
	for what in "0 subscribers" "1 subscriber" "10 subscribers" "10 stalled subscribers"; do
		# shellcheck disable=SC2086
		rounds=$((rounds * 3)) measure subscribers $what
		row "chain with $what" steps/s 1 ">=0.9"
		# the rest is what the scheduler and the subscribers take of the processors
		row "  processor time of the workers" µs/step 2 "<=1.1"
		[ "${what%% *}" = 0 ] || row "  of the messages, not dropped" share 3 -
	done
}

# Prints steps/s, and the processor time of the workers per step.
chain_and_time()
{
	long_chain 2 | cut -d' ' -f1
	value -c "SELECT pid FROM pg_stat_activity WHERE backend_type = 'goflow worker'" |
		sed 's,.*,/proc/&/stat,' | xargs cat |
		awk -v n=$((executions * 50)) -v hertz="$(getconf CLK_TCK)" '{ t += $14 + $15 } END { print t * 1e6 / hertz / n }'
}

subscribers_reference() { chain_and_time; }

# Prints the same, and the share of the messages that were sent.  Arguments: how
# many, "stalled" if they read nothing.
subscribers_goflow()
{
	local readers how=read
	if [ "$1" = 0 ]; then
		chain_and_time
		return
	fi
	[ "$2" != stalled ] || how=stall
	coproc "$work/subscribers" "$how" "$1" "SELECT goflow.subscribe(workflow => 'chain')"
	readers=$COPROC_PID
	grep -q -m 1 ready <&"${COPROC[0]}"
	chain_and_time
	value -c "SELECT sum(sent)::float8 / nullif(sum(sent + dropped), 0) FROM goflow.subscriptions"
	kill -KILL "$readers"
	wait "$readers" 2>/dev/null || :
	subscriptions_gone
}

# Waits until no session is subscribed any more.
subscriptions_gone()
{
	value >/dev/null <<-SQL
		DO \$\$ BEGIN
			WHILE EXISTS (SELECT FROM goflow.subscriptions) LOOP
				PERFORM pg_sleep(0.01);
			END LOOP;
		END \$\$;
	SQL
}

# ---- told: from start() until a subscriber knows that the execution completed ----

case_told()
{
	subscribers_program || return 0
	workers reset
	measure told "INSERT INTO bench.effect (k, step) VALUES (1, 1); NOTIFY bench"
	row "start until told, INSERT + NOTIFY, p50" ms 1 "<=2.5"
	row "start until told, INSERT + NOTIFY, p99" ms 2 "<=5.0"
	# which waits for no disk, as what is durable must
	measure told "BEGIN; NOTIFY bench; COMMIT"
	row "start until told, bare NOTIFY, p50" ms 1 -
	row "start until told, bare NOTIFY, p99" ms 2 -
}

told_reference() { "$work/subscribers" latency 2000 "LISTEN bench" "$1"; }

told_goflow()
{
	"$work/subscribers" latency 2000 "SELECT goflow.subscribe(workflow => 'one', types => '{execution_completed}')" \
		"SELECT goflow.start('one', '{\"k\": 1}')"
	subscriptions_gone
}
