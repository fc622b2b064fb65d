# How many processes there are: side by side, fewer, none, and again.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use Test::More;

my $node = new_server('workers');
my $execution;

sub workers
{
	return 'SELECT count(*) FROM pg_stat_activity WHERE backend_type = $$goflow worker$$';
}

# ---- side by side ----

# A node goes on when so many run at one time.  What is rolled back and runs again
# has not come, so the places are locks; that all met stays known by a sequence.
query($node, q{
	CREATE SEQUENCE met MINVALUE 0 START 0;
	CREATE FUNCTION meet(round int, n int) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM pg_advisory_xact_lock_shared(round);
		WHILE (SELECT last_value < round FROM met) LOOP
			IF (SELECT count(*) >= n FROM pg_locks WHERE locktype = 'advisory' AND objid = round) THEN
				PERFORM setval('met', round);
			END IF;
			PERFORM pg_sleep(0.01);
		END LOOP;
	END $$});
define_nodes($node, 'two', Goflow::effect_node('a', undef, 'meet(input.round, 2)') . ', '
	  . Goflow::effect_node('b', undef, 'meet(input.round, 2)'), '"input": {"round": "int"}');
for my $round (1 .. 2)
{
	$execution = query($node, qq{SELECT goflow.start('two', '{"round": $round}')});
	wait_until_finished($node, "two nodes side by side ($round)");
}
is(query($node, "SELECT count(DISTINCT pid) FROM effect WHERE execution = '$execution'"), '2', 'on two workers');

# four executions on four workers
define_nodes($node, 'four', Goflow::effect_node('a', undef, 'meet(3, 4)'));
start_many($node, 'four', 4);
wait_until_finished($node, 'four at one time');
define_slow($node, 'one', 1, 1);

# ---- fewer, and more again ----

define_slow($node, 'nap', 3, 0.05);
define_chain($node, 'chain', 5);
start_many($node, 'nap', 20);
setting($node, 'goflow.max_workers', 1);
start_many($node, 'chain', 200);
wait_until_finished($node, 'max_workers is lowered');
ok(wait_for($node, workers(), 'one worker stays', undef, '1'), 'one worker stays');
setting($node, 'goflow.max_workers', 0);
ok(wait_for($node, workers(), 'none stays', undef, '0'), 'with 0 none stays');
start_many($node, 'chain', 100);
is(query($node, q{SELECT value FROM goflow.health() WHERE kind = 'queue' AND name = 'queued'}), '100', 'work waits');
setting($node, 'goflow.max_workers', 4);
wait_until_finished($node, 'max_workers is raised');
start_many($node, 'one', 4);
ok(wait_for($node, workers(), 'four workers', undef, '4'), 'four workers again');
wait_until_finished($node, 'four workers');
is_exactly_once($node, 'with changing numbers of workers');
is_at_rest($node, 'with changing numbers of workers');

# ---- nobody starves ----

query($node, q{CREATE ROLE ada LOGIN; SELECT goflow.grant_usage('ada'); SELECT goflow.grant_start('one', 'ada');
	SELECT goflow.grant_start('nap', 'ada')});
start_many($node, 'one', 24);
$execution = query_as($node, 'ada', q{SELECT goflow.start('nap')});
wait_until_finished($node, 'another role');
is(query($node, "SELECT finished_at < (SELECT max(finished_at) FROM goflow.executions WHERE workflow = 'one') FROM goflow.status('$execution')"),
	't', "another role's short execution waits for a turn, not for all");

# ---- at rest ----

setting($node, 'goflow.worker_idle_timeout', '100ms');
setting($node, 'goflow.scheduler_idle_timeout', '100ms');
ok(wait_for($node, workers(), 'idle workers leave', undef, '0'), 'idle workers leave');
ok(wait_for($node, 'SELECT count(*) FROM pg_stat_activity WHERE backend_type = $$goflow scheduler$$',
		'the scheduler leaves', undef, '0'), 'the scheduler leaves');
define_nodes($node, 'delayed', '"d": {"type": "delay", "for": "interval \'300 ms\'"}, ' . Goflow::effect_node('a', 'd'));
for my $try (1 .. 3)
{
	$execution = query($node, q{SELECT goflow.start('delayed')});
	# (without its timer it would come five minutes later: goflow.rescan_interval)
	my $seconds = seconds { query($node, "SELECT goflow.wait('$execution')") };
	cmp_ok($seconds, '<', 120, sprintf('a timer of 0.3 s brings the scheduler back: %.2f s', $seconds));
	ok(wait_for($node, 'SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ $$goflow (scheduler|worker)$$',
			'all leave', undef, '0'), 'and all leave again');
}

# when everybody is asleep a worker is started
my $seconds = seconds {
	$execution = query($node, q{SELECT goflow.start('chain')});
	query($node, "SELECT goflow.wait('$execution')");
};
cmp_ok($seconds, '<', 120, sprintf('a worker is there when one is needed: %.3f s', $seconds));
is_exactly_once($node, 'at rest');
$node->stop;

# ---- the server has no room for our processes ----

# one is the launcher, one that of logical replication: none is left
$node->append_conf('postgresql.conf', "max_worker_processes = 2\ngoflow.worker_idle_timeout = 30s\n"
	  . "goflow.scheduler_idle_timeout = 10s\n");
query_auto($node);
$node->start;
start_many($node, 'chain', 10);
ok(wait_for($node, q{SELECT detail LIKE '%max_worker_processes%' FROM goflow.health() WHERE kind = 'trouble'}),
	'health() says what is missing');
my $log_size = -s $node->logfile;
my ($launcher) = processes($node, 'launcher');
my $before = cpu_ticks($launcher);
ok(wait_for($node, "SELECT clock_timestamp() > pg_postmaster_start_time() + interval '3 seconds'"), 'three seconds pass');
cmp_ok(cpu_ticks($launcher) - $before, '<', 20, 'without a busy loop');
cmp_ok((-s $node->logfile) - $log_size, '<', 50_000, 'and without filling the log');
is(query($node, q{SELECT count(*) FROM goflow.executions WHERE finished_at IS NULL}), '10', 'work waits');
$node->stop;

# one process only: it is the scheduler, or a worker of one role or the other
$node->append_conf('postgresql.conf', "max_worker_processes = 3\n");
$node->start;
query_as($node, 'ada', q{SELECT goflow.start('nap')});
query($node, q{SELECT goflow.start('delayed')});
start_many($node, 'chain', 100);
$seconds = seconds { wait_until_finished($node, 'with a single process all of it still gets its turn') };
note(sprintf('after %.1f s', $seconds));
is_exactly_once($node, 'with one process');
$node->stop;

done_testing();

# ALTER SYSTEM has the last word over postgresql.conf.
sub query_auto
{
	my ($server) = @_;

	unlink $server->data_dir . '/postgresql.auto.conf';
	$server->append_conf('postgresql.auto.conf', '');
}

sub cpu_ticks
{
	my ($pid) = @_;
	my @fields = split / /, PostgreSQL::Test::Utils::slurp_file("/proc/$pid/stat");

	return $fields[-39] + $fields[-38];
}
