# Workflows that would go on for ever, fill the server or multiply, started by one role: they are stopped by
# their limits, and meanwhile another role's executions, and those of another database, get done.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use Test::More;

my $node = new_server('runaway', conf => "goflow.max_workers = 2\nwork_mem = 1MB\n");

query($node, q{CREATE ROLE wild LOGIN; CREATE ROLE ada LOGIN; SELECT goflow.grant_usage(r) FROM unnest('{wild,ada}'::regrole[]) r});
my $loop = q{"w": {"type": "loop", "while": "true", "body": {"nodes": {"a": {"type": "set", "set": {"n": "vars.n + 1"}}}}}};
my $call = q{"type": "workflow", "workflow": "bomb", "wait": false};
my %wild = (
	endless => qq({"variables": {"n": "bigint = 0"}, "limits": {"nodes": 50000}, "nodes": {$loop}}),
	catching => q({"limits": {"nodes": 5000}, "nodes": {"w": {"type": "loop", "while": "true", "body": {"nodes": {
		"t": {"type": "try", "body": {"nodes": {"r": {"type": "raise", "message": "'no'"}}}, "catch": [{"body": {"nodes": {"c": {"type": "transform", "value": {"x": "1"}}}}}]}}}}}}),
	growing => q({"limits": {"result": "8 MB"}, "variables": {"v": "text = 'x'"}, "nodes": {"w": {"type": "loop", "while": "true", "body": {"nodes": {"a": {"type": "set", "set": {"v": "vars.v || vars.v"}}}}}}}),
	rows => q({"limits": {"rows": 100000}, "nodes": {"a": {"type": "sql", "rows": "many", "sql": "SELECT generate_series(1, 1000000000) AS i, repeat('x', 100) AS x"}}}),
	value => q({"limits": {"result": "8 MB"}, "nodes": {"a": {"type": "sql", "sql": "SELECT repeat('x', 20000000) AS x"}}}),
	bomb => qq({"limits": {"executions": 1000}, "nodes": {"a": {$call}, "b": {$call}}}));

query_as($node, 'wild', q{SELECT goflow.define('bomb', '{"nodes": {"a": {"type": "transform", "value": {"x": "1"}}}}')});
query_as($node, 'wild', "SELECT goflow.define('$_', \$d\$$wild{$_}\$d\$)") for sort keys %wild;
query($node, 'CREATE DATABASE beside');
query($node, 'CREATE EXTENSION goflow', 'beside');
create_effects($node, 'beside');
define_chain($node, 'chain', 5, 'beside');
query_as($node, 'ada', q{SELECT goflow.define('chain', '{"nodes": {"a": {"type": "sql", "sql": "SELECT 1 AS x"}, "b": {"type": "sql", "after": "a", "sql": "SELECT a.x AS x"}}}')});


my %id = map { $_ => query_as($node, 'wild', "SELECT goflow.start('$_')") } sort keys %wild;
my ($worst, $rounds) = (0, 0);
my $wild_lives = q{SELECT count(*) FROM goflow.executions WHERE run_as = 'wild'::regrole AND finished_at IS NULL};
my $all = seconds {
	for (;;)
	{
		my $started = query_as($node, 'ada', q{SELECT goflow.start('chain')});
		my $took = seconds { query_as($node, 'ada', "SELECT goflow.wait('$started')") };
		$worst = $took if $took > $worst;
		$rounds++;
		last if query($node, $wild_lives) eq '0' || $rounds > 1000;
		start_many($node, 'chain', 1, 'beside') if $rounds % 3 == 0;
	}
};
note(sprintf('all of it took %.1f s', $all));
cmp_ok($worst, '<', $Goflow::bound, sprintf('beside all of that, %d executions of another role took %.2f s at worst', $rounds, $worst));
is(query($node, $wild_lives), '0', 'and all of that has ended');
my %expected = (
	endless => 'failed|WF015|execution has run too many nodes', catching => 'failed|WF015|execution has run too many nodes',
	growing => 'failed|WF015|variable "v" is too large', rows => 'failed|WF015|node "a" has too many rows',
	value => 'failed|WF015|the result of node "a" is too large', bomb => 'completed||');
is(query($node, "SELECT state, error->>'code', error->>'message' FROM goflow.status('$id{$_}')"), $expected{$_}, $_) for sort keys %expected;
my $bombs = query($node, q{SELECT count(*) FROM goflow.executions WHERE workflow = 'bomb'});
cmp_ok($bombs, '>', 500, "the bomb had its executions: $bombs");
cmp_ok($bombs, '<', 4000, 'and little more than that');
cmp_ok(query($node, q{SELECT count(*) FROM goflow.executions WHERE workflow = 'bomb' AND error->>'code' = 'WF015'}), '>', 0, 'those that wanted more were told');
wait_until_finished($node, 'the other database', 'beside');
ok(wait_for($node, q{SELECT count(*) = 0 FROM goflow.health() WHERE kind = 'trouble'}), 'no trouble');
is_at_rest($node, 'at the end');

$node->stop;
done_testing();
