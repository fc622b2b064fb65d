# Nodes that are lost with their workers, and requests that are left.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use Test::More;

my $node = new_server('lost');

# ---- a node that terminates its own worker comes to an end ----

define_nodes($node, 'suicide', '"a": {"type": "sql", "sql": "SELECT pg_terminate_backend(pg_backend_pid()) AS x, pg_sleep(10)::text AS y"}');
my $execution = query($node, q{SELECT goflow.start('suicide')});
wait_until_finished($node, 'a node that terminates its own worker');
is(query($node, "SELECT state, error->>'code', error->>'message' FROM goflow.status('$execution')"),
	'failed|WF207|node "a" was lost 3 times together with its worker', 'fails');
my $starts = () = PostgreSQL::Test::Utils::slurp_file($node->logfile) =~ /terminating (?:background worker "goflow worker"|connection) due to administrator command/g;
cmp_ok($starts, '<=', 3, "after $starts workers");

# it can be caught and tried again like any other error
define_nodes($node, 'caught', '"t": {"type": "try",
	"body": {"nodes": {"a": {"type": "sql", "sql": "SELECT pg_terminate_backend(pg_backend_pid()) AS x, pg_sleep(10)::text AS y"}}},
	"catch": [{"on": ["WF207"], "body": {"nodes": {"b": {"type": "sql", "sql": "SELECT 1 AS x"}}}}]}');
$execution = query($node, q{SELECT goflow.start('caught')});
wait_until_finished($node, 'with a try');
is(query($node, "SELECT state FROM goflow.status('$execution')"), 'completed', 'it can be caught');

# ---- also one that was known to be fast ----

query($node, 'CREATE TABLE die (yes bool); INSERT INTO die VALUES (false)');
define_nodes($node, 'sometimes', '"a": {"type": "sql", "sql": "SELECT CASE WHEN yes THEN pg_terminate_backend(pg_backend_pid()) END AS x, CASE WHEN yes THEN pg_sleep(10)::text END AS y FROM die"}');
query($node, q{SELECT count(*) FROM goflow.start_many('sometimes', array_fill('{}'::jsonb, ARRAY[50]))});
wait_until_finished($node, 'while it is harmless');
query($node, 'UPDATE die SET yes = true');
$execution = query($node, q{SELECT goflow.start('sometimes')});
wait_until_finished($node, 'and when it is not');
is(query($node, "SELECT state, error->>'code' FROM goflow.status('$execution')"), 'failed|WF207', 'it fails');

# ---- and what no worker runs as a node: it is the driver that is lost ----

query($node, 'CREATE FUNCTION die() RETURNS int LANGUAGE plpgsql AS $$BEGIN
	PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(10); RETURN 1; END$$');
my $some = '"a": {"type": "transform", "value": {"x": "1"}}';
my %dying = (
	delay => [ '"n": {"type": "delay", "for": "make_interval(secs => die())"}' ],
	while => [ '"n": {"type": "loop", "while": "die() = 1", "body": {"nodes": {' . $some . '}}}' ],
	collect => [ '"n": {"type": "loop", "repeat": 2, "collect": "die()", "body": {"nodes": {' . $some . '}}}' ],
	first_value => [ '"n": {"type": "loop", "repeat": 2, "body": {"variables": {"v": "int = die()"}, "nodes": {' . $some . '}}}' ],
	branch => [ '"n": {"type": "parallel", "branches": {"b": {"nodes": {' . $some . '}, "output": {"x": "die()"}}}}' ],
	variable => [ $some, '"variables": {"v": "int = die()"}', 'workflow "variable"' ],
	output => [ $some, '"output": {"v": "die()"}', 'workflow "output"' ],
	undo => [ '"a": {"type": "transform", "value": {"x": "1"}, "compensate": "SELECT die()"}, "n": {"type": "raise", "code": "UX001", "after": "a"}' ]);
for my $name (sort keys %dying)
{
	my ($nodes, $more, $what) = @{ $dying{$name} };

	define_nodes($node, $name, $nodes, $more);
	$execution = query($node, "SELECT goflow.start('$name')");
	wait_until_finished($node, "$name that terminates its worker");
	my $error = $name eq 'undo' ? "error->'undo_errors'->0" : 'error';
	$what ||= $name eq 'undo' ? 'node "a"' : 'node "n"';
	is(query($node, "SELECT state, $error->>'code', $error->>'message' FROM goflow.status('$execution')"),
		"failed|WF207|$what was lost 3 times together with its worker", "$name fails");
}

# ---- an administrator's termination is no failure ----

query($node, 'CREATE SEQUENCE runs');
define_nodes($node, 'slow', '"a": {"type": "sql", "sql": "SELECT pg_sleep(CASE WHEN nextval(\'runs\') > 2 THEN 0 ELSE 3600 END)::text AS x"}');
$execution = query($node, q{SELECT goflow.start('slow')});
for my $i (1 .. 2)
{
	ok(wait_for($node, qq{SELECT count(*) = 1 FROM goflow.nodes('$execution') n, pg_stat_activity a
		WHERE n.state = 'running' AND n.started_at > now() - interval '1 min' AND a.backend_type = 'goflow worker' AND a.query LIKE 'node "a" of workflow "slow"%' AND a.state = 'active'}), 'it runs');
	query($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'goflow worker' AND query LIKE 'node "a" of workflow "slow"%' AND state = 'active'});
}
wait_until_finished($node, 'after two terminations');
is(query($node, "SELECT state FROM goflow.status('$execution')"), 'completed', 'it has run again');

# ---- requests do not outlive their execution ----

query($node, 'ALTER SEQUENCE runs RESTART');
$execution = query($node, q{SELECT goflow.start('slow')});
query($node, "SELECT goflow.cancel('$execution')") for 1 .. 3;
wait_until_finished($node, 'cancelled');
ok(wait_for($node, 'SELECT count(*) = 0 FROM goflow.request'), 'no request is left');
is_at_rest($node, 'lost');

$node->stop;
done_testing();
