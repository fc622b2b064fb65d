# Delays: over restarts, while the server was down, and many at one time.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use Test::More;

my $node = new_server('delays', conf => "goflow.scheduler_idle_timeout = 100ms\n");
my ($execution, $took);

define_nodes($node, 'until', '"d": {"type": "delay", "until": "input.at"}, ' . Goflow::effect_node('a', 'd'),
	'"input": {"at": "timestamptz"}, "output": {"woke": "d.woke_at"}');

# Starts so many for each of the moments, in so many seconds, and waits until all of
# them wait.  If the machine was too busy for that: once more, with more time.  Returns
# how much more; their ids are in the table started.
query($node, 'CREATE TABLE started (execution uuid)');
sub start_all
{
	my ($n, @moments) = @_;
	my $states = 'FROM started JOIN goflow.executions USING (execution)';

	for (my $factor = 1; $factor < 1000; $factor *= 3)
	{
		query($node, join('; ', 'BEGIN', 'TRUNCATE started',
			(map { 'INSERT INTO started SELECT * FROM goflow.start_many($$until$$, array_fill(jsonb_build_object($$at$$,'
				  . " clock_timestamp() + $_ * $factor * interval '1 s'), ARRAY[$n]))" } @moments), 'COMMIT'));
		wait_for($node, "SELECT bool_and(state IN ('waiting', 'completed')) $states") or last;
		return $factor if query($node, "SELECT bool_and(state = 'waiting') $states") eq 't';
		wait_for($node, "SELECT bool_and(state = 'completed') $states");
	}
	fail('timers are set');
	return;
}

# ---- in time ----

start_all(1, 0.3);
$execution = query($node, 'SELECT execution FROM started');
query($node, "SELECT goflow.wait('$execution')");
my $at = "(SELECT (goflow.texts(input))[1]::timestamptz FROM goflow.execution WHERE execution_id = '$execution')";
# (without its timer it would be found five minutes later: goflow.rescan_interval)
is(query($node, "SELECT finished_at BETWEEN $at AND $at + interval '2 min' FROM goflow.status('$execution')"),
	't', 'it goes on in time');
is(query($node, "SELECT bool_and(n.started_at < $at AND n.finished_at >= $at AND n.duration = n.finished_at - n.started_at)
	AND max(n.finished_at) <= max(s.finished_at) FROM goflow.nodes('$execution') n, goflow.status('$execution') s WHERE n.node = 'd'"),
	't', 'what the node took is what it waited');
is(query($node, "SELECT abs((data->>'duration')::float8 - extract(epoch FROM n.duration)) < 0.001
	FROM goflow.events('$execution', '{node_completed}', '{d}'), goflow.nodes('$execution') n WHERE n.node = 'd'"),
	't', 'its event says so, too');
$execution = query($node, q{SELECT goflow.start('until', '{"at": "2000-01-01"}')});
is(query($node, "SELECT goflow.wait('$execution')"), 'completed', 'a moment that has passed is no delay');

# an earlier one is not held up by a later one, whatever the order
query($node, q{SELECT goflow.start('until', jsonb_build_object('at', clock_timestamp() + interval '1 hour'))});
$took = seconds {
	$execution = query($node, q{SELECT goflow.start('until', jsonb_build_object('at', clock_timestamp() + interval '0.2 s'))});
	query($node, "SELECT goflow.wait('$execution')");
};
cmp_ok($took, '<', 120, sprintf('an earlier timer comes first: %.2f s', $took));

# branches beside a delay, that wake the execution at the very moment when it is due
define_nodes($node, 'beside', join(', ', '"d": {"type": "delay", "for": "interval \'20 ms\'"}',
		(map { Goflow::effect_node("n$_", undef, "pg_sleep(0.02)") } 1 .. 3), Goflow::effect_node('last', 'd')));
for my $round (1 .. 10)
{
	start_many($node, 'beside', 10);
	ok(wait_for($node, q{SELECT NOT EXISTS (SELECT FROM goflow.executions WHERE workflow = 'beside' AND finished_at IS NULL)}),
		"timers beside nodes ($round)");
}
is_exactly_once($node, 'timers beside nodes');
define_nodes($node, 'shower', join(', ', map { (qq("d$_": {"type": "delay", "for": "interval '$_ ms'"}),
		Goflow::effect_node("n$_", "d$_")) } 15 .. 24));
start_many($node, 'shower', 1000);
ok(wait_for($node, q{SELECT NOT EXISTS (SELECT FROM goflow.executions WHERE workflow = 'shower' AND finished_at IS NULL)}),
	'timers that are due while others of the same execution are');
is_exactly_once($node, 'a shower of timers');

# ---- over a restart, and due while the server was down ----

my $factor = start_all(1, 0.5, 1.5);
$node->stop('fast');
Time::HiRes::sleep(0.6 * $factor);	# the server is down: that is what is tested
$node->start;
ok(wait_for($node, q{SELECT count(*) = 1 FROM goflow.executions WHERE finished_at IS NULL}), 'all but the far one go on');
is_exactly_once($node, 'over a restart');

# and over a crash
start_all(1, 0.7);
$node->stop('immediate');
$node->start;
ok(wait_for($node, q{SELECT count(*) = 1 FROM goflow.executions WHERE finished_at IS NULL}), 'it goes on after a crash');
is_exactly_once($node, 'over a crash');

# ---- 10,000 at one time ----

start_all(10_000, 2);
$took = seconds { ok(wait_for($node, q{SELECT count(*) = 1 FROM goflow.executions WHERE finished_at IS NULL}), 'all go on') };
note(sprintf('within %.1f s', $took));
is(query($node, q{SELECT count(*) FILTER (WHERE state <> 'completed'), bool_and((output->>'woke')::timestamptz < finished_at)
		FROM goflow.executions WHERE workflow = 'until'}), '1|t', 'all completed');
is_exactly_once($node, '10,000 at one time');

# a cancelled one leaves nothing
$execution = query($node, q{SELECT execution FROM goflow.executions WHERE finished_at IS NULL});
query($node, "SELECT goflow.cancel('$execution')");
is(query($node, "SELECT goflow.wait('$execution')"), 'cancelled', 'a waiting execution can be cancelled');
is(query($node, 'SELECT count(*) FROM goflow.pending'), '0', 'no timer is left');
is_at_rest($node, 'delays');

$node->stop;
done_testing();
