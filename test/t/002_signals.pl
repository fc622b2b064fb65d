# Processes that are terminated, and nodes that are cancelled, under load.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use Test::More;

my $seed = seed_random();
my $node = new_server('signals', conf => "goflow.max_workers = 6\nrestart_after_crash = off\n");
my ($out, $execution);

# ---- one at a time ----

# Sleeps for an hour the first time.
query($node, 'CREATE SEQUENCE runs; CREATE SEQUENCE undos');
define_nodes($node, 'once', Goflow::effect_node('s', undef, 'pg_sleep(CASE nextval($$runs$$) WHEN 1 THEN 3600 ELSE 0 END)'));
$execution = query($node, "SELECT goflow.start('once')");
ok(wait_for($node, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'}), 'a node runs');
ok(kill_process($node, 'helper', 'TERM'), 'its worker is terminated');
is(query($node, "SELECT goflow.wait('$execution')"), 'completed', 'the node runs again');
is_exactly_once($node, 'after a worker was terminated');

define_nodes($node, 'long', '"n": {"type": "sql", "sql": "SELECT 1 AS a FROM pg_sleep(3600)"}, '
	  . '"m": {"type": "sql", "after": ["n"], "rows": "none", "sql": "INSERT INTO effect VALUES (execution.id, \'m\')"}');
$execution = query($node, "SELECT goflow.start('long')");
ok(wait_for($node, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'}), 'a node runs');
query($node, q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'});
is(query($node, "SELECT goflow.wait('$execution')"), 'failed', 'a node that somebody cancels fails');
is(query($node, "SELECT node, state, error->>'code' FROM goflow.nodes('$execution') ORDER BY node"),
	"m|cancelled|\nn|failed|57014", 'with 57014');

$execution = query($node, "SELECT goflow.start('long')");
ok(wait_for($node, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'}), 'a node runs');
cmp_ok(seconds {
		query($node, "SELECT goflow.cancel('$execution', 'enough')");
		$out = query($node, "SELECT goflow.wait('$execution')");
	}, '<', 600, 'cancel() interrupts what sleeps for an hour');
is($out, 'cancelled', 'and ends the execution');
is(query($node, "SELECT string_agg(DISTINCT state, ',') FROM goflow.nodes('$execution')"), 'cancelled',
	'its node is no failure');

query($node, 'CREATE TABLE undone (execution uuid)');
define_nodes($node, 'undo', '"done": {"type": "transform", "value": {"x": "1"}, "compensate": "WITH s AS MATERIALIZED (SELECT pg_sleep(CASE nextval(\'undos\') WHEN 1 THEN 3600 ELSE 0 END)) INSERT INTO undone SELECT execution.id FROM s"},'
	  . ' "r": {"type": "raise", "after": "done", "message": "\'no\'"}');
$execution = query($node, "SELECT goflow.start('undo')");
ok(wait_for($node, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'}), 'an undo runs');
query($node, q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'});
is(query($node, "SELECT goflow.wait('$execution')"), 'failed', 'an undo that somebody cancels');
is(query($node, "SELECT error -> 'undo_errors', (SELECT count(*) FROM undone) FROM goflow.status('$execution')"), '|1', 'runs again, once');

# a node that swallows cancels: after a grace its worker is terminated
query($node, q{
	ALTER SYSTEM SET goflow.cancel_grace = '300ms';
	SELECT pg_reload_conf();
	CREATE FUNCTION stubborn() RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. 1000 LOOP
			BEGIN PERFORM pg_sleep(3600); EXCEPTION WHEN query_canceled THEN NULL; END;
		END LOOP;
		RETURN 1;
	END $$});
define_nodes($node, 'stubborn', '"n": {"type": "sql", "sql": "SELECT stubborn() AS a"}');
$execution = query($node, q{SELECT goflow.start('stubborn')});
ok(wait_for($node, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'}), 'a stubborn node runs');
query($node, "SELECT goflow.cancel('$execution')");
cmp_ok(seconds { $out = query($node, "SELECT goflow.wait('$execution')") }, '<', 600, 'it is ended after the grace');
is($out, 'cancelled', 'and does not run again');

# a launcher that goes away is started again and finds its processes
define_slow($node, 'slow', 1, 0.3);
for my $kind (qw(launcher scheduler worker))
{
	start_many($node, 'slow', 4);
	kill_process($node, $kind, 'TERM');
	wait_until_finished($node, "the $kind was terminated");
}

# ---- at random, under load ----

define_chain($node, 'chain', 10);
define_nodes($node, 'nap', join ', ', '"d": {"type": "delay", "for": "interval \'5 ms\'"}',
	Goflow::effect_node('a', 'd', 'pg_sleep(0.02)'), Goflow::effect_node('b', 'd', 'pg_sleep(0.02)'));
my $listener = $node->background_psql('postgres');
$listener->query_safe('LISTEN goflow');
my %signalled;
my $rounds = 30;
for my $round (1 .. $rounds)
{
	my $kind = (qw(worker worker helper helper scheduler launcher))[ int(rand(6)) ];

	start_many($node, 'chain', 100);
	start_many($node, 'nap', 4);
	pause_up_to(20);
	$signalled{$kind}++ if kill_process($node, $kind, 'TERM');
}
note(join ', ', map { "$_: $signalled{$_}" } sort keys %signalled);
wait_until_finished($node, "terminated at random, seed $seed");
is(query($node, q{SELECT DISTINCT state FROM goflow.executions WHERE workflow IN ('chain', 'nap')}), 'completed',
	'a terminated process fails no execution');
is_exactly_once($node, "terminated at random, seed $seed");
is_at_rest($node, 'terminated at random');

# SIGINT is what pg_cancel_backend() sends: it may fail the node that it hits, and nothing else
for my $round (1 .. 8)
{
	start_many($node, 'chain', 2000);
	start_many($node, 'nap', 4);
	my @pids = (processes($node, 'worker'), processes($node, 'scheduler'), processes($node, 'launcher'));
	for my $shot (1 .. 100)
	{
		kill('INT', @pids);
		pause_up_to(4);
	}
}
wait_until_finished($node, "cancelled at random, seed $seed");
is(query($node, q{
		SELECT count(*) FROM goflow.executions e
		WHERE state <> 'completed' AND workflow IN ('chain', 'nap')
			AND (state <> 'failed' OR error->>'code' <> '57014' OR error->>'node' IS NULL
				OR NOT EXISTS (SELECT FROM goflow.nodes(e.execution) WHERE error->>'code' = '57014'))}),
	'0', 'a cancel fails no execution but by a node of it');
note('failed: ' . query($node, q{SELECT count(*) FROM goflow.executions WHERE state = 'failed'}));
is_exactly_once($node, "cancelled at random, seed $seed");
is_at_rest($node, 'cancelled at random');
is(query($node, q{SELECT value FROM goflow.health() WHERE name = 'launches failed'}), '0',
	'nothing of this counts as a failed launch');

$listener->quit;
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/\] ERROR: .*(journal_pkey|canceling statement)/,
	'no error escapes from the engine');
$node->stop;
done_testing();
