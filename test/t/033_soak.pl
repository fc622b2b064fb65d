# Everything at once for a while, then what is left behind: make soak SECONDS=1800.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $seconds = $ENV{SOAK_SECONDS} || 120;
my $node = new_server('soak', conf => "max_worker_processes = 12\ngoflow.max_workers = 5\n"
	  . "goflow.worker_idle_timeout = 1s\ngoflow.scheduler_idle_timeout = 1s\ngoflow.rescan_interval = 5\n"
	  . "max_prepared_transactions = 10\nwork_mem = '128kB'\n");
my @roles = qw(ada bob postgres);
my %count;

seed_random();
query($node, q{
	CREATE ROLE ada LOGIN; CREATE ROLE bob LOGIN;
	CREATE FUNCTION litter(i int) RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		CASE i % 6
			WHEN 0 THEN PERFORM pg_advisory_lock(i);
			WHEN 1 THEN CREATE TEMPORARY TABLE left_over AS SELECT i;
			WHEN 2 THEN PERFORM set_config('work_mem', '64kB', false);
			WHEN 3 THEN PERFORM count(*) FROM (SELECT g, random() r FROM generate_series(1, 20000) g ORDER BY r) x;
			WHEN 4 THEN EXECUTE 'PREPARE left_plan AS SELECT 1';
			ELSE RAISE 'some fail';
		END CASE;
		RETURN i;
	END $$;
	SELECT goflow.grant_usage(r) FROM unnest('{ada,bob}'::regrole[]) r;
	CREATE TABLE orders (id int); GRANT ALL ON orders TO PUBLIC;
	CREATE TABLE looped (execution uuid, i bigint); GRANT ALL ON looped TO PUBLIC});
define_chain($node, 'chain', 4);
define_slow($node, 'slow', 2, 0.05);
define_nodes($node, 'litters', Goflow::effect_node('a') . ', "l": {"type": "sql", "after": "a", "sql": "SELECT litter(input.i) AS x", "retry": {"attempts": 2, "backoff": "20 ms"}}, '
	  . Goflow::effect_node('b', 'l'), '"input": {"i": "int = 0"}');
define_nodes($node, 'waits', Goflow::effect_node('a') . ', "d": {"type": "delay", "after": "a", "for": "random() * interval \'500 ms\'"}, ' . Goflow::effect_node('b', 'd'));
define_nodes($node, 'loops', '"l": {"type": "loop", "for": "SELECT g FROM generate_series(1, 20) g", "parallel": 3, "body": {"nodes": {'
	  . '"x": {"type": "sql", "rows": "none", "sql": "INSERT INTO looped SELECT execution.id, loop.index"}}}}');
define_nodes($node, 'on_order', '"t": {"type": "trigger", "table": "orders", "events": ["insert"]}, ' . Goflow::effect_node('o', 't'));
query($node, q{SELECT goflow.grant_start(w, r) FROM unnest('{chain,slow,litters,waits,loops}'::text[]) w, unnest('{ada,bob}'::regrole[]) r});

sub start
{
	my ($role, $n) = @_;
	my $workflow = (qw(chain chain slow waits loops))[ int(rand(5)) ];

	return try_query($node, "SET SESSION AUTHORIZATION $role; SELECT count(*) FROM goflow.start_many('$workflow', array_fill('{}'::jsonb, ARRAY[$n]))");
}

sub some { return "(SELECT execution FROM goflow.executions WHERE finished_at IS NULL ORDER BY random() LIMIT 1) e"; }

# What may happen, and how often.
my @events = (
	[ 30, 'start', sub { start($roles[ int(rand(3)) ], 1 + int(rand(60))) } ],
	[ 6, 'litter', sub { try_query($node, "SELECT count(goflow.start('litters', jsonb_build_object('i', g))) FROM generate_series(1, 12) g") } ],
	[ 6, 'rows', sub { try_query($node, 'INSERT INTO orders SELECT generate_series(1, 20)') } ],
	[ 4, 'cancel', sub { try_query($node, 'SELECT goflow.cancel(execution) FROM ' . some()) } ],
	[ 3, 'pause', sub { try_query($node, 'SELECT goflow.pause(execution) FROM ' . some()) } ],
	[ 3, 'rollback', sub { try_query($node, q{BEGIN; SELECT goflow.start('chain'); SAVEPOINT s; SELECT goflow.start('slow'); ROLLBACK TO s; ROLLBACK}) } ],
	[ 2, 'prepare', sub { my $x = int(rand(1e9)); try_query($node, "BEGIN; SELECT goflow.start('chain'); PREPARE TRANSACTION 'x$x'"); try_query($node, "COMMIT PREPARED 'x$x'") } ],
	[ 3, 'terminate', sub { kill_process($node, (qw(worker worker scheduler launcher))[ int(rand(4)) ], 'TERM') } ],
	[ 2, 'max_workers', sub { try_query($node, 'ALTER SYSTEM SET goflow.max_workers = ' . int(1 + rand(5))); try_query($node, 'SELECT pg_reload_conf()') } ],
	[ 2, 'no login', sub { my $r = $roles[ int(rand(2)) ]; try_query($node, "ALTER ROLE $r NOLOGIN"); start('postgres', 5); try_query($node, "ALTER ROLE $r LOGIN") } ],
	[ 1, 'drop, undone', sub { try_query($node, 'BEGIN; DROP EXTENSION goflow CASCADE; ROLLBACK') } ],
	[ 1, 'copy', sub {
			return unless (try_query($node, 'CREATE DATABASE copy TEMPLATE postgres STRATEGY file_copy'))[0];
			try_query($node, q{SELECT count(*) FROM goflow.start_many('chain', array_fill('{}'::jsonb, ARRAY[20])); SELECT goflow.adopt()}, 'copy');
			pause_up_to(300);
			try_query($node, 'DROP DATABASE copy WITH (FORCE)');
	} ],
	[ 1, 'crash', sub { kill_process($node, 'worker', 'KILL') } ],
	[ 1, 'restart', sub { $node->restart } ],
	[ 2, 'vacuum', sub { try_query($node, 'VACUUM') } ]);
my @drawn = map { my $event = $_; map { $event } 1 .. $event->[0] } @events;

# ---- all of it ----

my $end = time() + $seconds * 0.7;
while (time() < $end)
{
	my $event = $drawn[ int(rand(@drawn)) ];

	$event->[2]->();
	$count{ $event->[1] }++;
	pause_up_to(60);
}
note(join(', ', map { "$_ $count{$_}" } sort keys %count));
ok(wait_for($node, 'SELECT true'), 'the server is there');
query($node, "ALTER ROLE $_ LOGIN") for qw(ada bob);
query($node, 'ALTER SYSTEM RESET goflow.max_workers');
query($node, 'SELECT pg_reload_conf()');
query($node, "ROLLBACK PREPARED '$_'") for split /\n/, query($node, 'SELECT gid FROM pg_prepared_xacts');
try_query($node, 'DROP DATABASE IF EXISTS copy WITH (FORCE)');
# (what has piled up is worked off; a pause that was asked for comes when its execution does)
$Goflow::bound += $seconds * 0.2;
ok(wait_for($node, q{SELECT count(*) + count(goflow.resume(execution)) FILTER (WHERE state = 'paused') = 0 FROM goflow.executions WHERE finished_at IS NULL}),
	'after all of it: every execution finishes');
is_exactly_once($node, 'after all of it');
is(query($node, q{SELECT count(*), coalesce(sum(n - 20), 0) FROM (SELECT count(*) AS n, count(DISTINCT i) AS d FROM looped JOIN goflow.executions USING (execution) WHERE state = 'completed' GROUP BY execution) x WHERE n <> d OR n <> 20}), '0|0',
	'every iteration of a loop that completed ran once');
cmp_ok(query($node, 'SELECT count(*) FROM effect'), '>', 100, 'a lot was done');

# ---- the same load without faults: what grows? ----

query($node, "ALTER SYSTEM SET goflow.$_ = '1h'") for 'worker_idle_timeout', 'scheduler_idle_timeout';
query($node, 'SELECT pg_reload_conf()');
sub memory
{
	my %size;

	for my $pid (map { processes($node, $_) } qw(launcher scheduler worker))
	{
		my ($kb) = slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+)/m;
		$size{$pid} = $kb;
	}
	return %size;
}
sub load
{
	my $until = time() + $_[0];

	while (time() < $until)
	{
		start($roles[ int(rand(3)) ], 100);
		try_query($node, "SELECT count(goflow.start('litters', jsonb_build_object('i', g))) FROM generate_series(1, 30) g");
		wait_for($node, q{SELECT value < 500 FROM goflow.health() WHERE kind = 'queue' AND name = 'queued'});
	}
	return wait_until_finished($node, 'under load');
}
load($seconds * 0.1);
my %before = memory();
load($seconds * 0.2);
my %after = memory();
for my $pid (grep { $before{$_} } sort keys %after)
{
	cmp_ok($after{$pid} - $before{$pid}, '<', 4096, "process $pid: $before{$pid} kB, then $after{$pid} kB");
}

# ---- what is left ----

is_exactly_once($node, 'at the end');
is_at_rest($node, 'at the end');
ok(wait_for($node, q{SELECT count(*) = 0 FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.backend_type ~ 'goflow' AND l.locktype <> 'virtualxid'}),
	'no process of goflow holds a lock');
ok(wait_for($node, q{SELECT count(*) = 0 FROM goflow.health() WHERE kind = 'trouble'}), 'nothing is in trouble');
ok(wait_for($node, q{SELECT count(*) = 0 FROM pg_ls_tmpdir()}), 'no temporary file is left');
ok(wait_for($node, q{SELECT count(*) = 0 FROM pg_class WHERE relpersistence = 't'}), 'no temporary table is left');
is(query($node, 'SELECT (SELECT count(*) FROM goflow.pending) + (SELECT count(*) FROM goflow.frame) + (SELECT count(*) FROM goflow.request)'), '0',
	'no row of what has ended is left');
is(query($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'goflow worker'}) <= 5, 1, 'no more workers than allowed');
$node->stop;
# (a restart in the middle of a recovery makes the server speak of corrupted data, too)
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|signal 6|signal 11|corrupt(?!ed and you will have to use the last backup)/, 'nothing broke');

done_testing();
