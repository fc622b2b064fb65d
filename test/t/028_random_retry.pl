# Random graphs whose nodes fail at random, retried from random nodes, with crashes
# in between, until they complete: effects and journal agree, and what is kept
# rests on nothing that ran again.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use Test::More;

my $seed = seed_random();
my $node = new_server('random_retry', conf => "goflow.max_workers = 3\nfsync = off\n");

# a node fails as long as its execution's luck has it; compensated ones are noted
query($node, q{
	CREATE TABLE luck (node text, odds float8);
	CREATE TABLE undone (execution uuid, node text);
	CREATE FUNCTION work(e uuid, what text) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		IF random() < (SELECT odds FROM luck) THEN RAISE EXCEPTION 'bad luck'; END IF;
		INSERT INTO effect (execution, node) VALUES (e, what);
		RETURN what;
	END $$;});
query($node, "INSERT INTO luck VALUES ('all', 0.25)");

# n nodes, each after some of those before it
sub random_nodes
{
	my ($n) = @_;
	my @nodes;

	for my $i (1 .. $n)
	{
		my @before = grep { rand() < 2 / $i } 1 .. $i - 1;
		my $more = @before ? ', "after": [' . join(', ', map { "\"n$_\"" } @before) . ']' : '';
		$more .= ', "join": "any"' if @before > 1 && rand() < 0.3;
		$more .= ', "retry": {"attempts": 2, "backoff": "5 ms"}' if rand() < 0.2;
		my $kind = rand();
		$more .= qq(, "on_error": "@{[rand() < 0.5 ? 'continue' : 'skip']}") if rand() < 0.15;
		my $sql = qq("type": "sql", "sql": "SELECT work(execution.id, 'n$i') AS x");
		if ($kind < 0.15)
		{
			push @nodes, qq("n$i": {"type": "loop", "repeat": 2, "body": {"nodes": {"i$i": {"type": "sql", "sql": "SELECT work(execution.id, 'n$i/i$i') AS x"}}}$more});
		}
		elsif ($kind < 0.3)
		{
			push @nodes, qq("n$i": {$sql, "compensate": "INSERT INTO undone VALUES (execution.id, 'n$i')"$more});
		}
		else
		{
			push @nodes, qq("n$i": {$sql$more});
		}
	}
	return join(', ', @nodes);
}

my $flows = 12;
for my $f (1 .. $flows)
{
	define_nodes($node, "flow$f", random_nodes(3 + int(rand(9))));
	start_many($node, "flow$f", 3);
}

my $over = q{SELECT NOT EXISTS (SELECT FROM goflow.executions WHERE finished_at IS NULL) AND NOT EXISTS (SELECT FROM goflow.request)};
for my $round (1 .. 8)
{
	ok(wait_for($node, $over, 'every execution ends'), "round $round: every execution ends, seed $seed");
	query($node, 'UPDATE luck SET odds = 0') if $round == 7;
	for my $line (split /\n/, query($node, q{SELECT e.execution, (SELECT node FROM goflow.nodes(e.execution) WHERE frame = 0 ORDER BY random() LIMIT 1)
		FROM goflow.executions e WHERE state IN ('failed', 'partial')}))
	{
		my ($e, $from) = split /\|/, $line;
		query($node, rand() < 0.4 ? "SELECT goflow.retry('$e', '$from')" : "SELECT goflow.retry('$e')");
	}
	if ($round % 3 == 0)
	{
		pause_up_to(30);
		$node->stop('immediate');
		$node->start;
	}
}
ok(wait_for($node, $over, 'every execution ends'), 'every execution has ended at last');
is(query($node, q{SELECT DISTINCT state FROM goflow.executions}), 'completed', "all have completed, seed $seed");

# each completed attempt left its effect, and no other did
is(query($node, q{
	WITH journal AS (SELECT e.execution, n.node, count(*) AS n FROM goflow.executions e, goflow.nodes(e.execution) n
			WHERE n.state = 'completed' AND n.type = 'sql' GROUP BY 1, 2),
		effects AS (SELECT execution, node, count(*) AS n FROM effect GROUP BY 1, 2)
	SELECT count(*) FILTER (WHERE j.n IS DISTINCT FROM f.n) FROM journal j FULL JOIN effects f USING (execution, node)}),
	'0', "effects and journal agree, seed $seed");

is(query($node, q{SELECT count(*) FROM (SELECT execution, node, count(*) AS n FROM undone GROUP BY 1, 2) u
	LEFT JOIN (SELECT execution, node, count(*) AS n FROM effect GROUP BY 1, 2) f USING (execution, node) WHERE u.n > coalesce(f.n, 0)}),
	'0', "nothing is undone more often than it was done, seed $seed");

# no node that counts began before one that it comes after had ended, in its last attempt
is(query($node, q{
	WITH last AS (SELECT DISTINCT ON (e.execution, n.node) e.execution, e.workflow, n.node, n.state, n.started_at, n.finished_at, n.seq
			FROM goflow.executions e, goflow.nodes(e.execution) n WHERE n.frame = 0 ORDER BY e.execution, n.node, n.attempt DESC),
		edge AS (SELECT w.workflow, n.key AS node, a AS before FROM goflow.workflows w, jsonb_each(goflow.definition(w.workflow)->'nodes') n,
			jsonb_array_elements_text(n.value->'after') a WHERE NOT n.value ? 'join')
	SELECT count(*) FROM edge JOIN last x USING (workflow, node) JOIN last b ON b.execution = x.execution AND b.node = edge.before
	WHERE x.state = 'completed' AND b.state = 'completed' AND x.started_at < b.finished_at}),
	'0', "what is kept rests on what is kept, seed $seed");
is(query($node, q{SELECT count(*) FROM goflow.executions e, goflow.progress(e.execution) p WHERE p.percent <> 100 OR p.completed + p.failed + p.skipped <> p.total}),
	'0', 'progress adds up');
is_at_rest($node, 'at the end');
is(query($node, 'SELECT (SELECT count(*) FROM goflow.pending) + (SELECT count(*) FROM goflow.frame)'), '0', 'nothing is left open');

$node->stop;
done_testing();
