# Progress while nothing has committed, and shared memory that is too small.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use Test::More;

my $node = new_server('limits', conf => "goflow.queue_size = 64\ngoflow.tracker_slots = 64\n");
my $execution;

# ---- progress, live ----

query($node, 'CREATE TABLE gate (id int PRIMARY KEY); INSERT INTO gate VALUES (1)');
define_nodes($node, 'gated', join(', ', Goflow::effect_node('a'), Goflow::effect_node('b', 'a'),
		q{"wait": {"type": "sql", "rows": "none", "after": ["b"], "sql": "SELECT FROM gate FOR UPDATE"}},
		Goflow::effect_node('c', 'wait')));
my $gate = $node->background_psql('postgres');
$gate->query_safe('BEGIN; SELECT FROM gate FOR UPDATE');
$execution = query($node, q{SELECT goflow.start('gated')});
ok(wait_for($node, "SELECT completed = 2 AND current_node = 'wait' AND total = 4 AND percent = 50 FROM goflow.progress('$execution')"),
	'progress inside of a node that has not committed');
# the batch that tries it first is rolled back by its fuse
ok(wait_for($node, "SELECT string_agg(node || ' ' || state, ', ' ORDER BY seq) = 'a completed, b completed, wait running, c idle'
	FROM goflow.nodes('$execution')"), 'and nodes() at the same time');
$gate->query_safe('COMMIT');
is(query($node, "SELECT goflow.wait('$execution')"), 'completed', 'it goes on');
is(query($node, "SELECT * FROM goflow.progress('$execution')"), '4|4|0|0||100.00', 'at the end the tables answer');
is_exactly_once($node, 'a node that waited');

# inside of a batch: all of its nodes are known as fast by now
for (1 .. 5)
{
	$execution = query($node, q{SELECT goflow.start('gated')});
	query($node, "SELECT goflow.wait('$execution')");
}
$gate->query_safe('BEGIN; SELECT FROM gate FOR UPDATE');
$execution = query($node, q{SELECT goflow.start('gated')});
ok(wait_for($node, "SELECT completed = 2 AND current_node = 'wait' FROM goflow.progress('$execution')"),
	'progress inside of a batch, and after its fuse has burnt');
ok(wait_for($node, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'goflow worker' AND wait_event_type = 'Lock'}),
	'the slow node waits');
ok(wait_for($node, "SELECT count(*) = 2 FROM effect WHERE execution = '$execution'"),
	'and what was before it commits');
$gate->query_safe('COMMIT');
is(query($node, "SELECT goflow.wait('$execution')"), 'completed', 'it goes on');
$gate->quit;
is_exactly_once($node, 'after a fuse');

# ---- a tracker and a queue that are too small ----

define_chain($node, 'chain', 3);
define_nodes($node, 'pause', '"s": {"type": "signal"}, "d": {"type": "delay", "after": "s", "for": "interval \'10 ms\'"}, ' . Goflow::effect_node('a', 'd'));
start_many($node, 'pause', 500);
ok(wait_for($node, q{SELECT count(*) = 500 FROM goflow.pending}), '500 executions wait');
is(query($node, q{SELECT count(*), min(p.total), max(p.completed) FROM goflow.executions e, goflow.progress(e.execution) p
		WHERE e.workflow = 'pause'}), '500|3|0', 'the progress of all can be read');
cmp_ok(query($node, q{SELECT value FROM goflow.health() WHERE kind = 'tracker' AND name = 'used'}), '<=', 64, 'from few slots');
start_many($node, 'chain', 5000);
is(query($node, q{SELECT max(value) <= 64 FROM goflow.health() WHERE kind = 'queue' AND name IN ('queued', 'claimed')}), 't',
	'the queue is bounded');
is(query($node, q{SELECT goflow.signal_all('pause', 's')}), '500', 'those that wait go on');
wait_until_finished($node, '5,000 started at one time');
is_exactly_once($node, 'a queue that is too small');
is(query($node, q{SELECT count(*) FROM effect JOIN goflow.executions USING (execution) WHERE workflow IN ('chain', 'pause')}), '15500',
	'nothing is forgotten');
is_at_rest($node, 'a queue that is too small');

# from many transactions at one time, of several roles, with a crash in between
query($node, q{CREATE ROLE ada LOGIN; SELECT goflow.grant_usage('ada'); SELECT goflow.grant_start('chain', 'ada'); TRUNCATE effect});
for my $round (1 .. 10)
{
	start_many($node, 'chain', 150);
	$node->safe_psql('postgres', q{SELECT count(*) FROM goflow.start_many('chain', array_fill('{}'::jsonb, ARRAY[50]))},
		extra_params => [ '-U', 'ada' ]);
	if ($round == 5)
	{
		$node->stop('immediate');
		$node->start;
	}
}
wait_until_finished($node, 'overflow and a crash');
is(query($node, 'SELECT count(*), count(DISTINCT (execution, node)), count(DISTINCT current_name) FROM effect'), '6000|6000|2',
	'exactly once');
is_at_rest($node, 'overflow and a crash');

$node->stop;
done_testing();
