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

# ---- in time ----

$execution = query($node, q{SELECT goflow.start('until', jsonb_build_object('at', clock_timestamp() + interval '0.3 s'))});
ok(wait_for($node, "SELECT state = 'waiting' FROM goflow.status('$execution')"), 'it waits');
is(query($node, "SELECT node || ' ' || state FROM goflow.nodes('$execution') WHERE node = 'd'"), 'd waiting', 'its node is waiting');
query($node, "SELECT goflow.wait('$execution')");
is(query($node, "SELECT finished_at - created_at BETWEEN interval '0.3 s' AND interval '0.6 s' FROM goflow.status('$execution')"),
	't', 'it goes on in time');
is(query($node, "SELECT bool_and(n.finished_at - n.started_at > interval '0.2 s' AND n.duration > interval '0.2 s')
	AND max(n.finished_at) <= max(s.finished_at) FROM goflow.nodes('$execution') n, goflow.status('$execution') s WHERE n.node = 'd'"),
	't', 'what the node took is what it waited');
is(query($node, "SELECT (data->>'duration')::float8 > 0.2 FROM goflow.events('$execution', '{node_completed}', '{d}')"),
	't', 'its event says so, too');
$execution = query($node, q{SELECT goflow.start('until', '{"at": "2000-01-01"}')});
is(query($node, "SELECT goflow.wait('$execution')"), 'completed', 'a moment that has passed is no delay');

# an earlier one is not held up by a later one, whatever the order
query($node, q{SELECT goflow.start('until', jsonb_build_object('at', clock_timestamp() + interval '1 hour'))});
$took = seconds {
	$execution = query($node, q{SELECT goflow.start('until', jsonb_build_object('at', clock_timestamp() + interval '0.2 s'))});
	query($node, "SELECT goflow.wait('$execution')");
};
cmp_ok($took, '<', 0.8, sprintf('an earlier timer comes first: %.2f s', $took));

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

query($node, q{SELECT goflow.start('until', jsonb_build_object('at', clock_timestamp() + interval '1.5 s'));
	SELECT goflow.start('until', jsonb_build_object('at', clock_timestamp() + interval '0.1 s'))});
my $down = query($node, q{SELECT goflow.start('until', jsonb_build_object('at', clock_timestamp() + interval '0.5 s'))});
ok(wait_for($node, q{SELECT count(*) = 3 FROM goflow.pending}), 'timers are set');
$node->stop('fast');
Time::HiRes::sleep(0.6);	# the server is down: that is what is tested
$node->start;
ok(wait_for($node, q{SELECT count(*) = 1 FROM goflow.executions WHERE finished_at IS NULL}), 'all but the far one go on');
is_exactly_once($node, 'over a restart');

# and over a crash
query($node, q{SELECT goflow.start('until', jsonb_build_object('at', clock_timestamp() + interval '0.7 s'))});
ok(wait_for($node, q{SELECT count(*) = 2 FROM goflow.pending}), 'a timer is set');
$node->stop('immediate');
$node->start;
ok(wait_for($node, q{SELECT count(*) = 1 FROM goflow.executions WHERE finished_at IS NULL}), 'it goes on after a crash');
is_exactly_once($node, 'over a crash');

# ---- 10,000 at one time ----

query($node, q{SELECT count(*) FROM goflow.start_many('until',
	array_fill(jsonb_build_object('at', clock_timestamp() + interval '2 s'), ARRAY[10000]))});
ok(wait_for($node, q{SELECT count(*) = 10001 FROM goflow.pending}), '10,000 wait for one moment');
$took = seconds { ok(wait_for($node, q{SELECT count(*) = 1 FROM goflow.executions WHERE finished_at IS NULL}), 'all go on') };
cmp_ok($took, '<', 15, sprintf('within %.1f s', $took));
is(query($node, q{SELECT count(*) FILTER (WHERE state = 'completed'), bool_and((output->>'woke')::timestamptz < finished_at)
		FROM goflow.executions WHERE workflow = 'until'}), '10007|t', 'all completed');
is_exactly_once($node, '10,000 at one time');

# a cancelled one leaves nothing
$execution = query($node, q{SELECT execution FROM goflow.executions WHERE finished_at IS NULL});
query($node, "SELECT goflow.cancel('$execution')");
is(query($node, "SELECT goflow.wait('$execution')"), 'cancelled', 'a waiting execution can be cancelled');
is(query($node, 'SELECT count(*) FROM goflow.pending'), '0', 'no timer is left');
is_at_rest($node, 'delays');

$node->stop;
done_testing();
