# "retention" and goflow.retention: the scheduler deletes what finished long ago, and nothing else.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use Test::More;

my $node = new_server('retention', conf => "goflow.rescan_interval = 1s\ngoflow.scheduler_idle_timeout = 100ms\n");

# A finished execution is made older than it is.
sub age
{
	my ($days) = @_;

	query($node, "UPDATE goflow.execution SET finished_at = finished_at - interval '$days days',
		created_at = created_at - interval '$days days' WHERE finished_at IS NOT NULL");
}

sub count
{
	my ($workflow) = @_;

	return "SELECT count(*) FROM goflow.executions WHERE workflow = '$workflow'";
}

my $nodes = '"nodes": {"a": {"type": "transform", "value": {"x": "1"}}}, "output": {"x": "a.x"}';

query($node, qq{SELECT goflow.define('month', '{"retention": "30 days", $nodes}'), goflow.define('kept', '{$nodes}')});
start_many($node, $_, 2500) for qw(month kept);
wait_until_finished($node, 'at first');
age(29);
start_many($node, 'month', 10);
wait_until_finished($node, 'later');
age(2);
start_many($node, 'month', 10);
ok(wait_for($node, 'SELECT (' . count('month') . ') = 20'), 'what is too old goes');
wait_until_finished($node, 'at last');
is(query($node, count('month')), '20', 'and no more of that workflow');
is(query($node, count('kept')), '2500', 'without a retention all is kept');
is(query($node, q{SELECT count(DISTINCT execution_id) FROM goflow.node_state}), '2520', 'the journal goes with its execution');

# the newest version says it for all
query($node, qq{SELECT goflow.define('month', '{"retention": "1 day", $nodes}')});
ok(wait_for($node, 'SELECT (' . count('month') . ') = 10'), 'the newest version counts');

# the setting is for those that say nothing
$node->append_conf('postgresql.conf', "goflow.retention = '40d'");
$node->reload;
age(12);
ok(wait_for($node, 'SELECT (' . count('kept') . ') = 0'), 'the setting holds for workflows that say nothing');
is_at_rest($node, 'at the end');
ok(wait_for($node, q{SELECT count(*) = 0 FROM goflow.health() WHERE kind = 'trouble'}), 'no trouble');

$node->stop;
done_testing();
