# Workflows of every kind whose effects are known beforehand: for tests that
# disturb the server while they run.
package Mixture;

use strict;
use warnings;

use Exporter 'import';
use Goflow;
use Test::More;

our @EXPORT = qw(mixture_define mixture_names mixture_start mixture_is_right);

# iterations of the long loop
our $long = 20_000;

# how many executions of each workflow there are
my %started;

sub mark
{
	my ($what, $n, $before) = @_;

	return qq("type": "sql", "rows": "none", "sql": ")
	  . ($before ? "WITH b AS MATERIALIZED (SELECT $before) " : '')
	  . qq(INSERT INTO mark SELECT execution.id, '$what', $n) . ($before ? ' FROM b' : '') . '"';
}

sub undo { return qq("compensate": "INSERT INTO mark VALUES (execution.id, '$_[0]', $_[1])"); }

# what each execution of a workflow leaves behind: {what => how many different n}
our %expected = (
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
	branches => { left => 8, mid => 1, right => 1, joined => 1 },
	waits => { signalled => 1, decided => 1, answered => 1 });

# options: further keys of every workflow, as JSON.
sub mixture_define
{
	my ($node, $options) = @_;
	my $define = sub { define_nodes($node, $_[0], $_[1], join(', ', grep { $_ } $_[2], $options)); };

	# without a unique constraint: a second effect must be seen, not prevented
	query($node, 'CREATE TABLE mark (execution uuid, what text, n bigint)');
	$define->('long', qq("l": {"type": "loop", "repeat": $long, "body": {"nodes": {"s": {${\mark('step', 'loop.index')}}}}}));
	$define->('sequence', qq("l": {"type": "loop", "for": "SELECT generate_series(1, 70) AS i", "as": "x", "collect": "x.i",
		"body": {"nodes": {
			"stop": {"type": "break", "if": "x.i > 60"},
			"s": {"after": ["stop"], ${\mark('step', 'x.i')}},
			"c": {"type": "condition", "after": ["s"], "if": "x.i % 2 = 1"},
			"o": {"after": ["c:true"], ${\mark('odd', 'x.i', 'pg_sleep(0.001)')}}}}},
		"d": {"after": ["l"], ${\mark('done', 'jsonb_array_length(l.results)')}}));
	$define->('beside', qq("l": {"type": "loop", "repeat": 40, "parallel": 4,
		"body": {"nodes": {"s": {${\mark('step', 'loop.index', 'pg_sleep(0.003)')}}}}},
		"d": {"after": ["l"], ${\mark('last', 'l.iterations')}}));
	$define->('retried', qq("t": {"type": "try", "retry": {"attempts": 3, "backoff": "60 ms", "factor": 1, "jitter": 0},
		"body": {"nodes": {
			"up": {"type": "set", "set": {"n": "vars.n + 1"}},
			"m": {"after": ["up"], ${\mark('tried', 'vars.n')}},
			"fail": {"type": "raise", "after": ["ask:true"], "message": "'not yet'"},
			"ask": {"type": "condition", "after": ["m"], "if": "vars.n < 3"}}},
		"finally": {"nodes": {"w": {"type": "delay", "for": "interval '5 ms'"}}}},
		"d": {"after": ["t"], ${\mark('done', 'vars.n')}}), '"variables": {"n": "int = 0"}');
	$define->('guarded', qq("o": {"type": "try", "body": {"nodes": {
			"t": {"type": "try", "body": {"nodes": {
				"b": {${\mark('body', '1', 'pg_sleep(0.01)')}},
				"f": {"type": "sql", "after": ["b"], "sql": "SELECT 1 / (input.one - 1) AS x"}}},
				"catch": [{"on": ["22012"], "body": {"nodes": {"c": {${\mark('caught', '1', 'pg_sleep(0.01)')}}}}}],
				"finally": {"nodes": {"n": {"type": "delay", "for": "interval '10 ms'"}, "f": {"after": ["n"], ${\mark('finally', '1')}}}}},
			"a": {"after": ["t"], ${\mark('after', '1')}}}},
		"finally": {"nodes": {"f2": {${\mark('outer', '1')}}}}}), '"input": {"one": "int = 1"}');
	$define->('saga', qq("book": {${\mark('book', '1')}, ${\undo('unbook', '1')}},
		"pay": {"type": "loop", "after": ["book"], "repeat": 5, "body": {"nodes": {
			"p": {${\mark('pay', 'loop.index', 'pg_sleep(0.002)')}, ${\undo('unpay', 'loop.index')}}}}},
		"last": {"type": "try", "after": ["pay"], "body": {"nodes": {"r": {"type": "raise", "message": "'no stock'"}}},
			"finally": {"nodes": {"f": {${\mark('finally', '1', 'pg_sleep(0.005)')}}}}}));
	$define->('child', qq("l": {"type": "loop", "repeat": 10, "body": {"nodes": {"s": {${\mark('child', 'loop.index', 'pg_sleep(0.001)')}}}}}));
	$define->('parent', qq("b": {${\mark('before', '1')}}, "w": {"type": "workflow", "workflow": "child", "after": ["b"]},
		"a": {"after": ["w"], ${\mark('after', '1')}}));
	# all of the sub-workflows complete, then they are undone
	$define->('booking', qq("b": {${\mark('book', '1', 'pg_sleep(0.002)')}}));
	$define->('trip', qq("b": {${\mark('before', '1')}},
		"hotel": {"type": "workflow", "workflow": "booking", "after": ["b"], ${\undo('cancel_hotel', '1')}},
		"flights": {"type": "loop", "repeat": 3, "parallel": 3, "after": ["b"], "body": {"nodes": {
			"flight": {"type": "workflow", "workflow": "booking", ${\undo('cancel_flight', 'loop.index')}}}}},
		"no": {"type": "raise", "after": ["hotel", "flights"], "message": "'no visa'"}));

	# some complete, some are cancelled on their way: undone by the one or by the other
	$define->('piece', qq("p": {${\mark('piece', '1')}, ${\undo('unpiece', '1')}},
		"s": {"type": "sql", "after": ["p"], "sql": "SELECT pg_sleep(0.004)::text AS x"}));
	$define->('torn', qq("l": {"type": "loop", "repeat": 3, "parallel": 3, "body": {"nodes": {
			"w": {"type": "workflow", "workflow": "piece", ${\undo('unwhole', 'loop.index')}},
			"bad": {"type": "sql", "after": ["w"], "sql": "SELECT 1 / (loop.index - 2) AS x"}}}}));
	$define->('branches', qq("p": {"type": "parallel", "branches": {
			"left":  {"nodes": {"l": {"type": "loop", "repeat": 8, "body": {"nodes": {"s": {${\mark('left', 'loop.index', 'pg_sleep(0.002)')}}}}}}},
			"mid":   {"nodes": {"d": {"type": "delay", "for": "interval '15 ms'"}, "s": {"after": ["d"], ${\mark('mid', '1')}}}},
			"right": {"nodes": {"s": {${\mark('right', '1', 'pg_sleep(0.01)')}}}}}},
		"j": {"after": ["p"], ${\mark('joined', '1')}}));

	# whoever comes too early comes again; the tasks of one execution may be done by another
	query($node, q{
		CREATE FUNCTION serve() RETURNS void LANGUAGE plpgsql AS $$
		DECLARE t uuid;
		BEGIN
			SELECT task INTO t FROM goflow.claim('{mixture}', 'mixture', "limit" => 1);
			IF t IS NULL THEN RAISE 'no task' USING ERRCODE = 'MX001'; END IF;
			PERFORM goflow.complete(t, '{"n": 1}');
		END $$});
	my $again = '"retry": {"attempts": 1000, "backoff": "5 ms", "factor": 1, "on": ["WF113", "MX001", "57014"]}';
	$define->('waits', qq("go": {"type": "signal", "payload": {"n": "int"}},
		"send": {"type": "sql", "rows": "none", "sql": "SELECT goflow.signal(execution.id, 'go', '{\\"n\\": 1}')"},
		"ask": {"type": "approval", "role": "postgres"},
		"decide": {"type": "sql", "rows": "none", $again, "sql": "SELECT goflow.approve(execution.id, 'ask')"},
		"work": {"type": "task", "queue": "mixture", "output": {"n": "int"}},
		"serve": {"type": "sql", "rows": "none", $again, "sql": "SELECT serve()"},
		"s": {"after": ["go"], ${\mark('signalled', 'go.n')}},
		"d": {"after": ["ask"], ${\mark('decided', '1')}},
		"t": {"after": ["work"], ${\mark('answered', 'work.n')}}));
	return;
}

# Those that are started by themselves.
sub mixture_names
{
	return ('torn', grep { !/^(child|booking)$/ } sort keys %expected);
}

sub mixture_start
{
	my ($node, $name, $n) = @_;

	start_many($node, $name, $n);
	$started{$name} += $n;
	$started{child} += $n if $name eq 'parent';
	$started{booking} += 4 * $n if $name eq 'trip';
	return;
}

# Every execution that was started is there and ended as it should, and has left every effect once.
sub mixture_is_right
{
	my ($node, $what) = @_;

	for my $name (sort grep { $started{$_} } keys %expected)
	{
		my $state = $name =~ /^(saga|trip)$/ ? 'failed' : 'completed';
		my $wanted = $expected{$name};
		my $list = join(' ', map { "$_:$wanted->{$_}" } sort keys %$wanted);

		is(query($node, qq{SELECT string_agg(DISTINCT state, ' '), count(*) FROM goflow.executions WHERE workflow = '$name'}),
			"$state|$started{$name}", "$name: every execution $state, $what");
		is(query($node, qq{
			SELECT count(*), coalesce(string_agg(DISTINCT list, ', ') FILTER (WHERE list <> '$list'), '') FROM (
				SELECT e.execution, (SELECT string_agg(what || ':' || CASE WHEN n = d THEN n::text ELSE d || ' but ' || n || ' times' END,
						' ' ORDER BY what COLLATE "C")
					FROM (SELECT what, count(*) AS n, count(DISTINCT n) AS d FROM mark m WHERE m.execution = e.execution GROUP BY what) w) AS list
				FROM goflow.executions e WHERE workflow = '$name') x}),
			"$started{$name}|", "$name: every effect exactly once, $what");
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
		($started{torn} || 0) . '|0|0|0', "torn: what sub-workflows did is undone once (all, not failed, not undone, wrong), $what");
	for my $table (qw(pending frame))
	{
		is(query($node, "SELECT count(*) FROM goflow.$table"), '0', "no row of $table is left, $what");
	}
	return;
}

1;
