# What who runs the server can see while there is work: goflow.workers, queue, tracker, messages,
# waiting, and pg_stat_activity.  And deleting what is old hurts nobody.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('operations', conf => "goflow.max_workers = 2\ngoflow.tracker_slots = 64\ngoflow.cancel_grace = 30s\n");
my $version = query($node, 'SHOW server_version_num');

query($node, q{CREATE ROLE ada LOGIN; SELECT goflow.grant_usage('ada');
	CREATE TABLE gate (id int PRIMARY KEY); INSERT INTO gate VALUES (1); GRANT ALL ON gate TO ada});
my $gate = $node->background_psql('postgres');
sub shut { $gate->query_safe('BEGIN; SELECT FROM gate FOR UPDATE') }
sub open_gate { $gate->query_safe('COMMIT') }

sub start { my ($workflow) = @_; return query($node, "SELECT goflow.start('$workflow')"); }

sub in_log { my ($text) = @_; return wait_for($node, "SELECT pg_read_file('" . $node->logfile . "') ~ '$text'"); }

# ---- workers: a node in a transaction of its own ----

define_nodes($node, 'gated', Goflow::effect_node('a') . ', '
	  . q{"wait": {"type": "sql", "rows": "none", "after": ["a"], "sql": "SELECT FROM gate FOR UPDATE"}}, '"output": {"x": "(SELECT count(*) FROM gate)"}');
query($node, q{SELECT goflow.grant_start('gated', 'ada')});
my $idle = q{SELECT count(*) > 0 AND count(*) = count(*) FILTER (WHERE state = 'idle' AND execution IS NULL AND executions = 0)
	FROM goflow.workers};

shut();
my $execution = start('gated');
ok(wait_for($node, qq{SELECT database = 'postgres' AND role = 'postgres'::regrole AND state = 'busy' AND workflow = 'gated' AND version = 1
		AND frame = 0 AND attempt = 1 AND NOT cancelling AND since <= clock_timestamp()
		FROM goflow.workers WHERE execution = '$execution' AND node = 'wait' AND attempt IS NOT NULL}), 'workers: a node that runs on its own');
is(query($node, qq{SELECT a.state, a.wait_event_type, a.query FROM pg_stat_activity a JOIN goflow.workers w USING (pid)
		WHERE w.execution = '$execution'}),
	'active|Lock|node "wait" of workflow "gated": SELECT FROM gate FOR UPDATE', 'pg_stat_activity shows it, too');
open_gate();
is(query($node, "SELECT goflow.wait('$execution')"), 'completed', 'it goes on');
ok(wait_for($node, $idle), 'workers: idle');
ok(wait_for($node, q{SELECT bool_and(wait_event_type = 'Extension' AND wait_event = } . ($version >= 170000 ? q{'GoflowWorkerMain'} : q{'Extension'})
		  . q{ AND state = 'idle') FROM pg_stat_activity WHERE backend_type = 'goflow worker'}), 'and it is said what they wait for');
ok(wait_for($node, q{SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'goflow launcher'}, undef, undef,
		$version >= 170000 ? 'GoflowLauncherMain' : 'Extension'), 'the launcher, too');

# ---- workers: a node in a batch, and what only a driver runs ----

query($node, "SELECT goflow.wait('" . start('gated') . "')") for 1 .. 5;
setting($node, 'goflow.fuse', '1min');
query($node, q{SELECT pg_terminate_backend(pid) FROM goflow.workers});
ok(wait_for($node, q{SELECT count(*) = 0 FROM goflow.workers}), 'workers: none');
shut();
$execution = start('gated');
ok(wait_for($node, qq{SELECT state = 'busy' AND executions = 1 AND workflow = 'gated' AND frame = 0 AND attempt IS NULL
		FROM goflow.workers WHERE execution = '$execution' AND node = 'wait'}), 'workers: a node in a batch');
is(query($node, qq{SELECT a.state, a.query FROM pg_stat_activity a JOIN goflow.workers w USING (pid) WHERE w.execution = '$execution'}),
	'active|node "wait" of workflow "gated": SELECT FROM gate FOR UPDATE', 'pg_stat_activity shows it, too');
open_gate();
is(query($node, "SELECT goflow.wait('$execution')"), 'completed', 'it goes on');
setting($node, 'goflow.fuse', '50ms');

define_nodes($node, 'ends', q{"a": {"type": "transform", "value": {"x": "1"}}}, '"output": {"x": "(SELECT id FROM gate FOR UPDATE)"}');
shut();
$execution = start('ends');
ok(wait_for($node, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'goflow worker' AND state = 'active'
		AND query = 'workflow "ends"' AND wait_event_type = 'Lock'}), 'the output of a workflow');
open_gate();
query($node, "SELECT goflow.wait('$execution')");

# ---- workers: one that is to be interrupted and does not care ----

query($node, q{CREATE FUNCTION stubborn() RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		LOOP
			BEGIN
				EXIT WHEN EXISTS (SELECT FROM gate FOR UPDATE SKIP LOCKED);
				PERFORM pg_sleep(0.05);
			EXCEPTION WHEN query_canceled THEN NULL;
			END;
		END LOOP;
		RETURN 1;
	END $$});
define_nodes($node, 'stubborn', q{"a": {"type": "sql", "sql": "SELECT stubborn() AS x"}});
shut();
$execution = start('stubborn');
ok(wait_for($node, "SELECT count(*) = 1 FROM goflow.workers WHERE execution = '$execution' AND node = 'a'"), 'it runs');
query($node, "SELECT goflow.cancel('$execution')");
ok(wait_for($node, "SELECT cancelling FROM goflow.workers WHERE execution = '$execution'"), 'workers: cancelling');
open_gate();
is(query($node, "SELECT goflow.wait('$execution')"), 'cancelled', 'it ends');

# ---- the queue ----

ok(wait_for($node, 'SELECT NOT EXISTS (SELECT FROM goflow.workers WHERE execution IS NOT NULL)'), 'its node ends, too');
ok(wait_for($node, 'SELECT NOT EXISTS (SELECT FROM goflow.queue)'), 'nothing is left in the queue');
setting($node, 'goflow.max_workers', 0);
ok(wait_for($node, q{SELECT count(*) = 0 FROM goflow.workers}), 'no worker is left');
define_chain($node, 'chain', 3);
start_many($node, 'chain', 40);
query($node, q{SELECT count(*) FROM goflow.start_many('chain', array_fill('{}'::jsonb, ARRAY[5]), priority => 7)});
query_as($node, 'ada', q{SELECT goflow.start('gated') FROM generate_series(1, 3)});
is(query($node, q{SELECT workflow, role, priority, queued, driven, nodes, clock_timestamp() - oldest BETWEEN '0' AND '1 min'
		FROM goflow.queue ORDER BY 1, 2, 3}),
	"chain|postgres|0|40|0|0|t\nchain|postgres|7|5|0|0|t\ngated|ada|0|3|0|0|t", 'queue: by workflow, role and priority');
define_chain($node, 'chain', 3);
start_many($node, 'chain', 2);
is(query($node, q{SELECT queued FROM goflow.queue WHERE workflow = 'chain' AND priority = 0}), '42', 'queue: of all versions');
setting($node, 'goflow.max_workers', 2);
wait_until_finished($node, 'all that was queued');
ok(wait_for($node, 'SELECT NOT EXISTS (SELECT FROM goflow.queue)'), 'queue: empty');

# nodes that wait for a worker
define_nodes($node, 'wide', join(', ', map { qq{"n$_": {"type": "sql", "rows": "none", "sql": "SELECT FROM gate FOR UPDATE"}} } 1 .. 8));
shut();
$execution = start('wide');
ok(wait_for($node, q{SELECT queued + driven = 0 AND nodes = 6 AND oldest IS NOT NULL FROM goflow.queue WHERE workflow = 'wide'}),
	'queue: two nodes run, six wait for a worker');
open_gate();
is(query($node, "SELECT goflow.wait('$execution')"), 'completed', 'they had their turn');

# ---- the tracker ----

is(query($node, 'SELECT slots, free - slots + used FROM goflow.tracker'), '64|0', 'tracker: slots');
define_nodes($node, 'nap', Goflow::effect_node('a') . q{, "d": {"type": "signal", "after": ["a"]}, } . Goflow::effect_node('b', 'd'));
my ($rebuilt, $refused) = split /\|/, query($node, 'SELECT rebuilt, refused FROM goflow.tracker');
for my $try (1 .. 3)
{
	$execution = start('nap');
	ok(wait_for($node, "SELECT used = 0 AND (goflow.status('$execution')).state = 'waiting' FROM goflow.tracker"), 'tracker: what waits needs no slot');
	query($node, "SELECT goflow.signal('$execution', 'd')");
	query($node, "SELECT goflow.wait('$execution')");
}
is(query($node, "SELECT rebuilt - $rebuilt FROM goflow.tracker"), '3', 'tracker: a slot made anew after each wait');
shut();
start_many($node, 'gated', 200);
ok(wait_for($node, "SELECT used > 32 AND refused > $refused FROM goflow.tracker"), 'tracker: more executions than slots');
open_gate();
wait_until_finished($node, 'more executions than slots');
is(query($node, 'SELECT used FROM goflow.tracker'), '0', 'tracker: none is in use') if is_at_rest($node, 'the tracker');

# ---- messages ----

my ($before) = query($node, 'SELECT sent FROM goflow.messages');
my $listener = $node->background_psql('postgres');
$listener->query_safe('LISTEN goflow');
start_many($node, 'chain', 10);
wait_until_finished($node, 'with a listener');
ok(wait_for($node, "SELECT sent - $before >= 20 AND dropped = 0 FROM goflow.messages"), 'messages: sent');
$listener->query_safe(q{SELECT goflow.subscribe(workflow => 'chain')});
is(query($node, 'SELECT subscriptions, max_subscriptions FROM goflow.messages'), '1|64', 'messages: subscriptions');
$listener->quit;
setting($node, 'goflow.notification_queue_limit', 0);
$listener = $node->background_psql('postgres');
$listener->query_safe('LISTEN goflow');
start_many($node, 'chain', 10);
wait_until_finished($node, 'with a listener that is told nothing');
ok(wait_for($node, 'SELECT unsent >= 20 AND dropped = unsent + overwritten FROM goflow.messages'), 'messages: not sent');
is(query($node, q{SELECT m.dropped = h.value FROM goflow.messages m, goflow.health() h WHERE h.kind = 'messages' AND h.name = 'dropped'}),
	't', 'as health() says');
$listener->quit;
setting($node, 'goflow.notification_queue_limit', 0.5);

# ---- many wait: what is shown costs the same ----

define_nodes($node, 'long', q{"d": {"type": "delay", "for": "interval '1 hour'"}});
my $first = start('long');
ok(wait_for($node, "SELECT execution = '$first' AND waits = 1 AND wait = 'delay' FROM goflow.waiting"), 'waiting: one');
start_many($node, 'long', 20_000);
ok(wait_for($node, "SELECT execution = '$first' AND waits = 10000 FROM goflow.waiting"), 'waiting: the oldest of many');
ok(wait_for($node, q{SELECT count(*) > 20000 FROM goflow.pending}), 'all wait');
for my $view (qw(workers queue tracker messages waiting))
{
	my $took;

	for my $try (1 .. 10)	# whatever else the machine does
	{
		$took = seconds { query($node, "SELECT count(*) FROM goflow.$view") };
		last if $took < 1;
	}
	cmp_ok($took, '<', 1, sprintf('goflow.%s takes %.3f s with 20,000 that wait', $view, $took));
}
query($node, q{SELECT goflow.cancel_all('long')});
wait_until_finished($node, 'they are cancelled');

# ---- the alerts of the README, and what is in the log ----

my ($alerts) = slurp_file("$FindBin::RealBin/../../README.md") =~ /^### Alerts.*?```sql\n(.*?)```/ms;
query($node, 'CREATE ROLE watcher LOGIN; GRANT pg_monitor TO watcher');
sub alerts { return $node->safe_psql('postgres', "SELECT string_agg(DISTINCT alert, ', ' ORDER BY alert) FROM (" . ($alerts =~ s/;\s*$//r) . ') a',
		extra_params => [ '-U', 'watcher' ]) }
is(alerts(), '', 'no alert, for a member of pg_monitor');
query($node, q{SELECT pg_terminate_backend(pid) FROM goflow.workers WHERE role = 'ada'::regrole});
setting($node, 'goflow.max_workers', 0);
query_as($node, 'ada', q{SELECT goflow.start('gated')});
query($node, q{GRANT CONNECT ON DATABASE postgres TO watcher; REVOKE CONNECT ON DATABASE postgres FROM PUBLIC});
setting($node, 'goflow.max_workers', 2);
ok(wait_for($node, q{SELECT count(*) = 1 FROM goflow.health() WHERE kind = 'trouble' AND name = 'ada'}), 'a role cannot run');
is(alerts(), 'trouble: ada', 'an alert');
ok(in_log('LOG:  executions of role \d+ in database \d+ cannot run: the role lacks the CONNECT privilege on the database'), 'and in the log');
query($node, q{GRANT CONNECT ON DATABASE postgres TO PUBLIC});
wait_until_finished($node, 'it can again');
define_nodes($node, 'asks', q{"s": {"type": "signal"}});
$execution = start('asks');
shut();
my $other = start('gated');
ok(wait_for($node, q{SELECT count(*) = 1 FROM goflow.waiting WHERE wait = 'signal'}), 'a signal is waited for');
query($node, q{UPDATE goflow.pending SET started_at = started_at - interval '2 days'});
is(alerts(), 'nobody answers', 'an alert, for what waits');
query($node, "SELECT goflow.cancel('$execution')");
open_gate();
query($node, "SELECT goflow.wait('$_')") for $execution, $other;

# a worker that has to be terminated
setting($node, 'goflow.cancel_grace', '100ms');
query($node, q{CREATE OR REPLACE FUNCTION stubborn() RETURNS int LANGUAGE plpgsql AS $$
	BEGIN LOOP BEGIN PERFORM pg_sleep(10); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$});
$execution = start('stubborn');
ok(wait_for($node, "SELECT count(*) = 1 FROM goflow.workers WHERE execution = '$execution' AND node = 'a'"), 'it runs');
query($node, "SELECT goflow.cancel('$execution')");
is(query($node, "SELECT goflow.wait('$execution', '90 s')"), 'cancelled', 'it ends');
ok(in_log('LOG:  goflow worker \d+ is terminated'), 'and the log says how');

# ---- deleting what is old, in small pieces, hurts nobody ----

define_nodes($node, 'old', q{"a": {"type": "transform", "value": {"x": "1"}}}, '"retention": "1 day"');
start_many($node, 'old', 30_000);
wait_until_finished($node, 'much that will be old');
my ($worst, $slow, $runs) = (0, 0, 0);
query($node, q{UPDATE goflow.execution SET finished_at = finished_at - interval '2 days', created_at = created_at - interval '2 days'});
setting($node, 'goflow.rescan_interval', '1s');
my $left = 1;
my $took = seconds {
	while ($left > 0)
	{
		my $one = seconds { query($node, "SELECT goflow.wait('" . start('chain') . "')") };

		$worst = $one if $one > $worst;
		$slow++ if $one > 2;
		last if ++$runs > 2000;
		$left = query($node, q{SELECT count(*) FROM goflow.executions WHERE workflow = 'old'}) if $runs % 5 == 0;
	}
};
is($left, '0', sprintf('30,000 executions were deleted in %.1f s', $took));
cmp_ok($slow, '<=', $runs / 5, sprintf('meanwhile %d executions ran, one after the other: %.3f s at worst, new connections included', $runs, $worst));
is_at_rest($node, 'at the end');

$gate->quit;
$node->stop;
done_testing();
