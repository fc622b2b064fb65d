# Requests that meet crashes: every retry, cancel, pause and priority that was
# committed is done once, and nothing runs twice that was kept.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use Test::More;
use Time::HiRes qw(time);

my $seed = seed_random();
my $node = new_server('steering', conf => "goflow.max_workers = 4\nfsync = off\n");

# a and each of three rounds are kept once they have completed; b fails as long as
# its row is not there, and c comes after it
query($node, q{
	CREATE TABLE allowed (what text);
	CREATE FUNCTION work(e uuid, what text, n int, seconds float8 DEFAULT 0.003) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM pg_sleep(seconds);
		IF what = 'b' AND NOT EXISTS (SELECT FROM allowed) THEN RAISE EXCEPTION 'not yet'; END IF;
		INSERT INTO effect (execution, node) VALUES (e, what || n);
	END $$;});

sub work { return qq("type": "sql", "rows": "none", "sql": "SELECT work(execution.id, '$_[0]', $_[1])"); }

define_nodes($node, 'chain', qq("a": {${\work('a', 0)}}, "each": {"type": "loop", "after": "a", "repeat": 3, "body": {"nodes": {
		"i": {${\work('i', 'loop.index::int')}}}}},
	"b": {"after": "each", ${\work('b', 0)}}, "c": {"after": "b", ${\work('c', 0)}}, "side": {"after": "a", ${\work('s', 0)}}));


sub is_all
{
	my ($state, $what) = @_;

	return ok(wait_for($node, "SELECT bool_and(state = '$state') FROM goflow.executions WHERE workflow = 'chain'",
			"all are $state"), "$what: all are $state, seed $seed");
}

# effects of each execution, without b0 and c0
sub is_kept
{
	my ($what) = @_;

	return is(query($node, q{SELECT string_agg(DISTINCT list, ', ') FROM (
			SELECT string_agg(node || ' ' || n, ' ' ORDER BY node) AS list FROM (
				SELECT execution, node, count(*) AS n FROM effect WHERE node !~ '^[bc]' GROUP BY 1, 2) x GROUP BY execution) y}),
		'a0 1 i1 1 i2 1 i3 1 s0 1', "$what: what completed was kept, seed $seed");
}

# ---- retry ----

my $n = 12;
start_many($node, 'chain', $n);
is_all('failed', 'at first');
for my $round (1 .. 4)
{
	is(query($node, q{SELECT goflow.retry_all('chain')}), $n, "round $round: all are asked");
	pause_up_to($round == 1 ? 0 : 60);
	ok(crash($node, $round % 2 ? 'immediate' : 'worker launcher'), "round $round: a crash");
	is_all('failed', "round $round");
	is_kept("round $round");
	ok(wait_for($node, 'SELECT count(*) = 0 FROM goflow.request'), "round $round: every request was met");
}
is(query($node, q{SELECT DISTINCT count(*) FROM goflow.executions e, goflow.nodes(e.execution) x WHERE node = 'b' GROUP BY e.execution}),
	'5', 'each retry was one more attempt');
query($node, 'INSERT INTO allowed VALUES (1)');
query($node, q{SELECT goflow.retry_all('chain')});
pause_up_to(40);
crash($node, 'worker launcher');
is_all('completed', 'at last');
is_kept('at last');
is(query($node, q{SELECT count(*), count(DISTINCT (execution, node)) FROM effect WHERE node ~ '^[bc]'}), 2 * $n . '|' . 2 * $n,
	'what was left ran once');
is(query($node, q{SELECT DISTINCT p::text FROM goflow.executions e, goflow.progress(e.execution) p}), '(5,5,0,0,,100.00)',
	'progress counts each node once, of what was kept the workflow\'s own');
is_at_rest($node, 'after retries');

# a request of a transaction that is not committed is none
query($node, 'DELETE FROM allowed; TRUNCATE effect');
start_many($node, 'chain', 1);
my $e = query($node, q{SELECT execution FROM goflow.executions WHERE workflow = 'chain' ORDER BY 1 DESC LIMIT 1});
ok(wait_for($node, "SELECT (goflow.status('$e')).state = 'failed'"), 'one more has failed');
query($node, "BEGIN; SELECT goflow.retry('$e'); ROLLBACK");
is(query($node, "SELECT goflow.wait('$e', '0')"), 'failed', 'a retry that was rolled back is none');

# prepared transactions keep it
query($node, "BEGIN; SELECT goflow.retry('$e'); PREPARE TRANSACTION 'retry'");
crash($node, 'immediate');
is(query($node, "SELECT goflow.wait('$e', '0')"), 'failed', 'nor is one that is only prepared');
query($node, 'INSERT INTO allowed VALUES (1)');
query($node, "COMMIT PREPARED 'retry'");
is(query($node, "SELECT goflow.wait('$e', '60 s')"), 'completed', 'until it is committed');
is_kept('prepared');

# ---- cancel, pause, set_priority ----

define_slow($node, 'slow', 1, 60);
define_nodes($node, 'undone', qq("a": {${\work('done', 0)}, "compensate": "SELECT work(execution.id, 'undone', 0, 0.05)"},
	"t": {"type": "try", "after": "a", "body": {"nodes": {"s": {"type": "sql", "sql": "SELECT pg_sleep(60)::text AS x"}}},
		"finally": {"nodes": {"f": {${\work('finally', 0)}}}}}));
for my $round (1 .. 3)
{
	start_many($node, 'undone', 3);
	wait_for($node, q{SELECT count(*) >= 3 FROM pg_stat_activity WHERE wait_event = 'PgSleep'});
	query($node, q{SELECT goflow.cancel_all('undone', 'enough')});
	pause_up_to(30);
	crash($node, $round % 2 ? 'worker launcher' : 'immediate');
	wait_until_finished($node, "cancel, round $round, seed $seed");
}
is(query($node, q{SELECT string_agg(DISTINCT state || ' ' || (error->>'detail'), ', ') FROM goflow.executions WHERE workflow = 'undone'}),
	'cancelled enough', 'every cancel was done');
is(query($node, q{SELECT string_agg(node || ' ' || n, ' ' ORDER BY node) FROM (
	SELECT node, count(*) AS n FROM effect e JOIN goflow.executions x USING (execution) WHERE workflow = 'undone' GROUP BY node) y}),
	'done0 9 finally0 9 undone0 9', 'finally bodies and compensation ran once each');

# a node that runs is finished, and nothing begins, though the server goes down
define_nodes($node, 'pausing', q{"a": {"type": "sql", "sql": "SELECT until_opened('pausing') AS x"},
	"b": {"type": "sql", "after": "a", "rows": "none", "sql": "INSERT INTO effect SELECT execution.id, 'paused'"}});
$e = query($node, q{SELECT goflow.start('pausing')});
ok(wait_for($node, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'}), 'a node runs');
query($node, "SELECT goflow.pause('$e'), goflow.set_priority('$e', 42)");
crash($node, 'immediate');
query($node, q{INSERT INTO opened VALUES ('pausing')});
ok(wait_for($node, "SELECT state = 'paused' AND priority = 42 FROM goflow.status('$e')"), 'pause and priority survive');
is(query($node, q{SELECT count(*) FROM effect WHERE node = 'paused'}), '0', 'nothing began');
query($node, "SELECT goflow.resume('$e')");
crash($node, 'immediate');
is(query($node, "SELECT goflow.wait('$e', '60 s')"), 'completed', 'and resume does');

# ---- priorities in the queue ----

# nobody works; then one worker comes, and takes them in the order of their priorities
query($node, 'ALTER SYSTEM SET goflow.max_workers = 0');
query($node, 'SELECT pg_reload_conf()');
wait_for($node, q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'goflow worker'});
define_nodes($node, 'ordered', q{"a": {"type": "transform", "value": {"n": "input.n"}}}, '"input": {"n": "int"}, "output": {"n": "a.n"}');
my %id = map { $_ => query($node, qq{SELECT goflow.start('ordered', '{"n": $_}')}) } 1 .. 4;
query($node, "SELECT goflow.set_priority('$id{4}', 50)");
query($node, "SELECT goflow.set_priority('$id{1}', -50)");
query($node, "SELECT goflow.set_priority('$id{3}', 20)");
query($node, "SELECT goflow.set_priority('$id{3}', -20)");
query($node, 'ALTER SYSTEM SET goflow.max_workers = 1');
query($node, 'SELECT pg_reload_conf()');
wait_until_finished($node, 'priorities');
is(query($node, q{SELECT string_agg(e.output->>'n', ' ' ORDER BY t.started_at) FROM goflow.executions e, goflow.timeline(e.execution) t
	WHERE workflow = 'ordered'}), '4 2 3 1',
	'the queue follows set_priority()');

$node->stop;
done_testing();
