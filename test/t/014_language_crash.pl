# Crashes at random moments in the middle of loops, retries that wait, try with
# finally, compensation, sub-workflows and parallel branches.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use Test::More;

my $seed = seed_random();
my $node = new_server('language_crash', conf => "goflow.max_workers = 6\nmax_wal_size = 4GB\nfsync = off\n");
my $long = 20_000;

# Without a unique constraint: a second effect must be seen, not prevented.
query($node, 'CREATE TABLE mark (execution uuid, what text, n bigint)');

sub mark
{
	my ($what, $n, $before) = @_;

	return qq("type": "sql", "rows": "none", "sql": ")
	  . ($before ? "WITH b AS MATERIALIZED (SELECT $before) " : '')
	  . qq(INSERT INTO mark SELECT execution.id, '$what', $n) . ($before ? ' FROM b' : '') . '"';
}

sub undo { return qq("compensate": "INSERT INTO mark VALUES (execution.id, '$_[0]', $_[1])"); }

# what each execution of a workflow leaves behind: {what => how many different n}
my %expected = (
	long => { step => $long },
	sequence => { step => 60, odd => 30, done => 1 },
	beside => { step => 40, last => 1 },
	retried => { tried => 3, done => 1 },
	guarded => { body => 1, caught => 1, finally => 1, after => 1, outer => 1 },
	saga => { book => 1, pay => 5, unbook => 1, unpay => 5, finally => 1 },
	parent => { before => 1, after => 1 },
	child => { child => 10 },
	booking => { book => 1 },
	trip => { before => 1, cancel_hotel => 1, cancel_flight => 3 },
	branches => { left => 8, mid => 1, right => 1, joined => 1 });

define_nodes($node, 'long', qq("l": {"type": "loop", "repeat": $long, "body": {"nodes": {"s": {${\mark('step', 'loop.index')}}}}}));
define_nodes($node, 'sequence', qq("l": {"type": "loop", "for": "SELECT generate_series(1, 70) AS i", "as": "x", "collect": "x.i",
	"body": {"nodes": {
		"stop": {"type": "break", "if": "x.i > 60"},
		"s": {"after": ["stop"], ${\mark('step', 'x.i')}},
		"c": {"type": "condition", "after": ["s"], "if": "x.i % 2 = 1"},
		"o": {"after": ["c:true"], ${\mark('odd', 'x.i', 'pg_sleep(0.001)')}}}}},
	"d": {"after": ["l"], ${\mark('done', 'jsonb_array_length(l.results)')}}));
define_nodes($node, 'beside', qq("l": {"type": "loop", "repeat": 40, "parallel": 4,
	"body": {"nodes": {"s": {${\mark('step', 'loop.index', 'pg_sleep(0.003)')}}}}},
	"d": {"after": ["l"], ${\mark('last', 'l.iterations')}}));
define_nodes($node, 'retried', qq("t": {"type": "try", "retry": {"attempts": 3, "backoff": "60 ms", "factor": 1, "jitter": 0},
	"body": {"nodes": {
		"up": {"type": "set", "set": {"n": "vars.n + 1"}},
		"m": {"after": ["up"], ${\mark('tried', 'vars.n')}},
		"fail": {"type": "raise", "after": ["ask:true"], "message": "'not yet'"},
		"ask": {"type": "condition", "after": ["m"], "if": "vars.n < 3"}}},
	"finally": {"nodes": {"w": {"type": "delay", "for": "interval '5 ms'"}}}},
	"d": {"after": ["t"], ${\mark('done', 'vars.n')}}), '"variables": {"n": "int = 0"}');
define_nodes($node, 'guarded', qq("o": {"type": "try", "body": {"nodes": {
		"t": {"type": "try", "body": {"nodes": {
			"b": {${\mark('body', '1', 'pg_sleep(0.01)')}},
			"f": {"type": "sql", "after": ["b"], "sql": "SELECT 1 / (input.one - 1) AS x"}}},
			"catch": [{"on": ["22012"], "body": {"nodes": {"c": {${\mark('caught', '1', 'pg_sleep(0.01)')}}}}}],
			"finally": {"nodes": {"n": {"type": "delay", "for": "interval '10 ms'"}, "f": {"after": ["n"], ${\mark('finally', '1')}}}}},
		"a": {"after": ["t"], ${\mark('after', '1')}}}},
	"finally": {"nodes": {"f2": {${\mark('outer', '1')}}}}}), '"input": {"one": "int = 1"}');
define_nodes($node, 'saga', qq("book": {${\mark('book', '1')}, ${\undo('unbook', '1')}},
	"pay": {"type": "loop", "after": ["book"], "repeat": 5, "body": {"nodes": {
		"p": {${\mark('pay', 'loop.index', 'pg_sleep(0.002)')}, ${\undo('unpay', 'loop.index')}}}}},
	"last": {"type": "try", "after": ["pay"], "body": {"nodes": {"r": {"type": "raise", "message": "'no stock'"}}},
		"finally": {"nodes": {"f": {${\mark('finally', '1', 'pg_sleep(0.005)')}}}}}));
define_nodes($node, 'child', qq("l": {"type": "loop", "repeat": 10, "body": {"nodes": {"s": {${\mark('child', 'loop.index', 'pg_sleep(0.001)')}}}}}));
define_nodes($node, 'parent', qq("b": {${\mark('before', '1')}}, "w": {"type": "workflow", "workflow": "child", "after": ["b"]},
	"a": {"after": ["w"], ${\mark('after', '1')}}));

# all of the sub-workflows complete, then they are undone
define_nodes($node, 'booking', qq("b": {${\mark('book', '1', 'pg_sleep(0.002)')}}));
define_nodes($node, 'trip', qq("b": {${\mark('before', '1')}},
	"hotel": {"type": "workflow", "workflow": "booking", "after": ["b"], ${\undo('cancel_hotel', '1')}},
	"flights": {"type": "loop", "repeat": 3, "parallel": 3, "after": ["b"], "body": {"nodes": {
		"flight": {"type": "workflow", "workflow": "booking", ${\undo('cancel_flight', 'loop.index')}}}}},
	"no": {"type": "raise", "after": ["hotel", "flights"], "message": "'no visa'"}));

# some complete, some are cancelled on their way: undone by the one or by the other
define_nodes($node, 'piece', qq("p": {${\mark('piece', '1')}, ${\undo('unpiece', '1')}},
	"s": {"type": "sql", "after": ["p"], "sql": "SELECT pg_sleep(0.004)::text AS x"}));
define_nodes($node, 'torn', qq("l": {"type": "loop", "repeat": 3, "parallel": 3, "body": {"nodes": {
		"w": {"type": "workflow", "workflow": "piece", ${\undo('unwhole', 'loop.index')}},
		"bad": {"type": "sql", "after": ["w"], "sql": "SELECT 1 / (loop.index - 2) AS x"}}}}));
define_nodes($node, 'branches', qq("p": {"type": "parallel", "branches": {
		"left":  {"nodes": {"l": {"type": "loop", "repeat": 8, "body": {"nodes": {"s": {${\mark('left', 'loop.index', 'pg_sleep(0.002)')}}}}}}},
		"mid":   {"nodes": {"d": {"type": "delay", "for": "interval '15 ms'"}, "s": {"after": ["d"], ${\mark('mid', '1')}}}},
		"right": {"nodes": {"s": {${\mark('right', '1', 'pg_sleep(0.01)')}}}}}},
	"j": {"after": ["p"], ${\mark('joined', '1')}}));

sub crash
{
	my ($kind) = @_;
	my ($launcher) = processes($node, 'launcher');

	if ($kind eq 'immediate')
	{
		$node->stop('immediate');
		$node->start;
		return wait_for($node, 'SELECT value = 1 FROM goflow.health() WHERE name = $$launcher$$');
	}
	for my $try (1 .. 50)
	{
		next unless kill_process($node, 'worker', 'KILL');
		return wait_for($node,
			"SELECT pid <> $launcher FROM pg_stat_activity WHERE backend_type = 'goflow launcher'", 'the server is back');
	}
	return 0;
}

my $crashes = 0;
my %started;
my $resumed = 0;

for my $round (1 .. 12)
{
	for my $name (grep { !/^(long|child|booking)$/ } sort keys %expected)
	{
		start_many($node, $name, 4);
		$started{$name} += 4;
		$started{child} += 4 if $name eq 'parent';
		$started{booking} += 16 if $name eq 'trip';
	}
	start_many($node, 'torn', 4);
	if ($round % 2)
	{
		query($node, q{SELECT goflow.start('long')});
		$started{long}++;
	}
	pause_up_to(400);
	$crashes++ if crash($round % 3 ? 'worker' : 'immediate');
	$resumed += query($node, qq{SELECT count(*) FROM (SELECT FROM mark m JOIN goflow.executions e USING (execution)
		WHERE workflow = 'long' AND finished_at IS NULL GROUP BY execution HAVING count(*) < $long) x});
	if ($round % 4 == 0)
	{
		wait_until_finished($node, "round $round, seed $seed");
		is_at_rest($node, "round $round, seed $seed");
	}
}

is($crashes, 12, 'every crash happened');
note("a long loop was interrupted $resumed times");
for my $name (sort keys %expected)
{
	my $state = $name =~ /^(saga|trip)$/ ? 'failed' : 'completed';
	my $wanted = $expected{$name};
	my $list = join(' ', map { "$_:$wanted->{$_}" } sort keys %$wanted);

	is(query($node, qq{SELECT string_agg(DISTINCT state, ' '), count(*) FROM goflow.executions WHERE workflow = '$name'}),
		"$state|$started{$name}", "$name: every execution $state, seed $seed");
	is(query($node, qq{
		SELECT count(*), coalesce(string_agg(DISTINCT list, ', ') FILTER (WHERE list <> '$list'), '') FROM (
			SELECT e.execution, (SELECT string_agg(what || ':' || CASE WHEN n = d THEN n::text ELSE d || ' but ' || n || ' times' END,
					' ' ORDER BY what COLLATE "C")
				FROM (SELECT what, count(*) AS n, count(DISTINCT n) AS d FROM mark m WHERE m.execution = e.execution GROUP BY what) w) AS list
			FROM goflow.executions e WHERE workflow = '$name') x}),
		"$started{$name}|", "$name: every effect exactly once, seed $seed");
}
is(query($node, q{
	SELECT count(*), count(*) FILTER (WHERE state <> 'failed'), count(*) FILTER (WHERE pieces <> unpieces + unwhole), count(*) FILTER (WHERE live > 0 OR doubled > 0) FROM (
		SELECT e.state, count(*) FILTER (WHERE what = 'piece') AS pieces, count(*) FILTER (WHERE what = 'unpiece') AS unpieces,
			(SELECT count(*) FROM mark u WHERE u.execution = e.execution AND u.what = 'unwhole') AS unwhole,
			(SELECT count(*) FROM goflow.executions c WHERE c.parent = e.execution AND c.finished_at IS NULL) AS live,
			(SELECT count(*) FROM (SELECT FROM mark d WHERE d.execution IN (SELECT execution FROM goflow.executions c WHERE c.parent = e.execution UNION SELECT e.execution)
				GROUP BY d.execution, d.what, d.n HAVING count(*) > 1) x) AS doubled
		FROM goflow.executions e LEFT JOIN goflow.executions c ON c.parent = e.execution LEFT JOIN mark m ON m.execution = c.execution
		WHERE e.workflow = 'torn' GROUP BY e.execution, e.state) t}),
	'48|0|0|0', "torn: what sub-workflows did is undone once (all, not failed, not undone, wrong), seed $seed");
for my $table (qw(pending frame))
{
	is(query($node, "SELECT count(*) FROM goflow.$table"), '0', "no row of $table is left");
}

$node->stop;
done_testing();
