# What crashes the server fails after three crashes, wherever it is in a workflow;
# what has the same name elsewhere is not to blame, unless nobody gets past it.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('fence', conf => "log_min_messages = log\n");
my ($execution, $before, $n);

# The parent of the shell is the backend.
query($node, q{
	CREATE TABLE mended (yes bool); INSERT INTO mended VALUES (false);
	CREATE FUNCTION crash_if(poisoned bool) RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		IF poisoned AND NOT (SELECT yes FROM mended) THEN
			EXECUTE 'COPY (SELECT 1) TO PROGRAM ''kill -9 $PPID''';
			PERFORM pg_sleep(60);
		END IF;
		RETURN 0;
	END $$});

sub crashes { my $n = () = slurp_file($node->logfile) =~ /was terminated by signal 9/g; return $n; }

# The server may be gone right after it.
sub start
{
	my ($sql, $what) = @_;

	$before = crashes();
	try_query($node, $sql);
	wait_until_finished($node, $what);
	return crashes() - $before;
}

sub states
{
	my ($workflow) = @_;

	return query($node, "SELECT string_agg(concat_ws(' ', n, state, code), ', ' ORDER BY state, code) FROM (SELECT count(*) AS n, state,"
		  . " error->>'code' AS code FROM goflow.executions WHERE workflow = '$workflow' GROUP BY 2, 3) x");
}

# ---- one execution of many, one iteration of many ----

define_nodes($node, 'many', Goflow::effect_node('a') . ', "bad": {"type": "sql", "after": "a", "sql": "SELECT crash_if(input.i = 7) AS x"}, '
	  . Goflow::effect_node('b', 'bad'), '"input": {"i": "int"}');
is(start(q{SELECT count(goflow.start('many', jsonb_build_object('i', i))) FROM generate_series(1, 40) i}, 'one of many'), 3, 'three crashes');
is(states('many'), '39 completed, 1 failed WF208', 'one of many executions fails, the others complete');
is_exactly_once($node, 'one of many');

define_nodes($node, 'items', '"l": {"type": "loop", "for": "SELECT g AS i FROM generate_series(1, 12) g", "as": "x", "parallel": 3, "collect": "t.ok", "body": {"nodes": {'
	  . '"t": {"type": "try", "body": {"nodes": {"bad": {"type": "sql", "sql": "SELECT crash_if(x.i = 5) AS x"}}}, "catch": [{"body": {"nodes": {"c": {"type": "sql", "rows": "none", "sql": "INSERT INTO effect VALUES (execution.id, error.code)"}}}}]}}}}',
	'"output": {"ok": "l.results"}');
is(start(q{SELECT goflow.start('items')}, 'one of many items'), 3, 'three crashes');
is(states('items'), '1 completed', 'one of many iterations fails, and is caught');
is(query($node, q{SELECT string_agg(node, ' ') FROM effect WHERE node LIKE 'WF%'}), 'WF208', 'the others complete');

# ---- in a frame that has another number whenever it begins anew ----

# (in one batch, since those before have shown that each node is fast; the sequence is not rolled back)
query($node, 'CREATE SEQUENCE tries');
define_nodes($node, 'numbers', q{"n": {"type": "sql", "sql": "SELECT nextval('tries')::int AS x"},
	"l": {"type": "loop", "after": "n", "repeat": "n.x", "body": {"nodes": {"y": {"type": "transform", "value": {"x": "1"}}}}},
	"t": {"type": "loop", "after": "l", "repeat": "1", "body": {"nodes": {"bad": {"type": "sql", "sql": "SELECT crash_if(input.bad) AS x"}}}}},
	'"input": {"bad": "bool = false"}');
is(start(q{SELECT count(goflow.start('numbers')) FROM generate_series(1, 10)}, 'good ones'), 0, 'no crash');
is(start(q{SELECT goflow.start('numbers', '{"bad": true}')}, 'other numbers'), 3, 'three crashes');
is(states('numbers'), '10 completed, 1 failed WF208', 'it fails');

# ---- what only a driver runs ----

my %driven = (
	'first value' => [ Goflow::effect_node('a'), '"variables": {"v": "int = crash_if(true)"}' ],
	'output' => [ Goflow::effect_node('a'), '"output": {"x": "crash_if(true)"}' ],
	'delay' => [ Goflow::effect_node('a') . ', "d": {"type": "delay", "after": "a", "for": "crash_if(true) * interval \'1 s\'"}' ],
	'collect' => [ '"l": {"type": "loop", "repeat": 2, "collect": "crash_if(true)", "body": {"nodes": {' . Goflow::effect_node('a') . '}}}' ],
	'compensation' => [ '"a": {"type": "sql", "rows": "none", "sql": "SELECT 1", "compensate": "SELECT crash_if(true)"}, "r": {"type": "raise", "after": "a", "message": "\'no\'"}' ]);
for my $where (sort keys %driven)
{
	my $workflow = $where =~ tr/ /_/r;

	define_nodes($node, $workflow, @{ $driven{$where} });
	is(start("SELECT goflow.start('$workflow')", $where), 3, "$where: three crashes");
	like(query($node, "SELECT error::text FROM goflow.executions WHERE workflow = '$workflow'"), qr/WF208/, "$where: it fails");
}

# ---- nobody gets past it ----

define_nodes($node, 'poison', '"bad": {"type": "sql", "sql": "SELECT crash_if(true) AS x"}, ' . Goflow::effect_node('b', 'bad'));
define_chain($node, 'chain', 3);
$n = start(q{BEGIN; SELECT count(goflow.start('poison')) FROM generate_series(1, 30); SELECT count(goflow.start('chain')) FROM generate_series(1, 30); COMMIT},
	'all are poisoned');
# (three for each of three executions, and those that others had meanwhile; two that crash at one moment are one in the log)
cmp_ok($n, '>', 3, "$n crashes");
cmp_ok($n, '<=', 15, 'not three for each of 30 executions');
is(states('poison'), '30 failed WF208', 'they fail');
is(states('chain'), '30 completed', 'their neighbours complete');
like(slurp_file($node->logfile), qr/node "bad" of workflow "poison" does not run, since it crashed the server in each of \d+ executions/, 'the log says why');
like(query($node, q{SELECT DISTINCT error->>'hint' FROM goflow.executions WHERE workflow = 'poison' AND error->>'message' ~ 'does not run'}), qr/retry/, 'and the error what to do');
is(start(q{SELECT goflow.start('poison')}, 'one more'), 0, 'another one fails at once');

# one that is retried runs, and shows that it is still so
is(start(q{SELECT goflow.retry(execution) FROM goflow.executions WHERE workflow = 'poison' LIMIT 1}, 'retried'), 1, 'one crash more');
is(start(q{SELECT goflow.start('poison')}, 'one more'), 0, 'the fence is up again');

# or that it is mended: then all run again
query($node, 'UPDATE mended SET yes = true');
is(start(q{SELECT goflow.retry(execution) FROM goflow.executions WHERE workflow = 'poison'}, 'mended'), 0, 'no crash');
is(states('poison'), '32 completed', 'what has failed completes when it is retried');
query($node, q{SELECT goflow.start('poison')});
wait_until_finished($node, 'after that');
is(states('poison'), '33 completed', 'and the fence is gone');
is(query($node, q{SELECT count(*), count(DISTINCT execution) FROM effect WHERE node = 'b' AND execution IN
	(SELECT execution FROM goflow.executions WHERE workflow = 'poison')}), '33|33', 'each of them ran once');
is_at_rest($node, 'at the end');

$node->stop;
done_testing();
