# Workflows of every kind whose effects are known beforehand: for tests that
# disturb the server while they run.
package Mixture;

use strict;
use warnings;

use Exporter 'import';
use Goflow;
use Test::More;

our @EXPORT = qw(mixture_define mixture_names mixture_start mixture_start_sql mixture_is_right mixture_forget);

# iterations of the long loop
our $long = 20_000;

# Errors that come from outside: a cancel, a full disk.  What failed of them runs again.
my $passing = '"57014", "53100"';

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
	data => { doubled => 6, kept => 2, sum74 => 1, serial => 1 },
	ordered => { order => 1 },
	waits => { signalled => 1, decided => 1, answered => 1 });

# $name => 'failed' of those that do not complete
our %ends = (saga => 'failed', trip => 'failed', torn => 'failed');

sub mixture_define
{
	my ($node) = @_;
	my $define = sub
	{
		my ($name, $nodes, $more) = @_;

		define_nodes($node, $name, $nodes,
			join(', ', grep { $_ } $more, qq("retry": {"attempts": 1000, "backoff": "1 ms", "factor": 1.5, "max_delay": "100 ms", "on": [$passing]})));
	};

	# without a unique constraint: a second effect must be seen, not prevented; started: what clients
	# started, written in their transactions
	query($node, q{
		CREATE TABLE mark (execution uuid, what text, n bigint);
		CREATE TABLE started (workflow text, execution uuid);
		CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY)});
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

	$define->('data', qq("numbers": {"type": "sql", "rows": "many", "sql": "SELECT i FROM generate_series(1, 6) AS i"},
		"double": {"type": "map", "after": ["numbers"], "over": "numbers", "as": "x", "value": {"n": "x.i * 2"}},
		"even": {"type": "filter", "after": ["numbers"], "over": "numbers", "as": "x", "where": "x.i % 2 = 0"},
		"sum": {"type": "reduce", "after": ["numbers"], "over": "numbers", "as": "x", "initial": "0", "value": "acc.value + x.i"},
		"parts": {"type": "split", "after": ["numbers"], "over": "numbers", "as": "x", "size": 2},
		"merged": {"type": "merge", "mode": "arrays", "of": ["even.items", "parts.parts"], "after": ["even", "parts"]},
		"way": {"type": "switch", "after": ["sum"], "on": "sum.value", "cases": [{"port": "right", "when": "21"}]},
		"total": {"type": "transform", "after": ["way:right", "merged", "double"],
			"value": {"n": "sum.value + 3 * jsonb_array_length(merged.value) + 10 * even.count + parts.count + 2"}},
		"tell": {"type": "notify", "channel": "mixture", "payload": "total.n", "after": ["total"]},
		"once": {"after": ["tell"], "type": "sql", "rows": "none", "sql": "INSERT INTO mark SELECT execution.id, 'sum' || total.n, 1"},
		"each": {"type": "loop", "for": "double.items", "as": "d", "after": ["double"], "body": {"nodes": {
			"m": {${\mark('doubled', 'loop.index')}},
			"next": {"type": "continue", "after": ["m"], "if": "loop.index % 3 > 0"},
			"k": {"after": ["next"], ${\mark('kept', 'loop.index')}}}}},
		"serial": {"isolation": "serializable", "after": ["each"], ${\mark('serial', '1')}}));
	$define->('ordered', qq("placed": {"type": "trigger", "table": "orders", "events": ["insert"], "input": {"id": "NEW.id"}},
		"m": {"after": ["placed"], ${\mark('order', 'input.id')}}), '"input": {"id": "bigint"}');

	# whoever comes too early, or too late as the clock was set forward, comes again; the tasks of one execution may be done by another
	query($node, q{
		CREATE FUNCTION serve() RETURNS void LANGUAGE plpgsql AS $$
		DECLARE t uuid;
		BEGIN
			SELECT task INTO t FROM goflow.claim('{mixture}', 'mixture', "limit" => 1);
			IF t IS NULL THEN RAISE 'no task' USING ERRCODE = 'MX001'; END IF;
			PERFORM goflow.complete(t, '{"n": 1}');
		END $$});
	my $again = '"retry": {"attempts": 1000, "backoff": "5 ms", "factor": 1, "on": ["WF113", "WF115", "MX001", ' . $passing . ']}';
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

# A statement that starts n executions, and notes them.
sub mixture_start_sql
{
	my ($name, $n) = @_;

	return "INSERT INTO orders SELECT FROM generate_series(1, $n)" if $name eq 'ordered';
	return "INSERT INTO started SELECT '$name', e FROM goflow.start_many('$name', array_fill('{}'::jsonb, ARRAY[$n])) e";
}

sub mixture_start
{
	my ($node, $name, $n) = @_;

	query($node, mixture_start_sql($name, $n));
	return;
}

# Every execution that was started is there and ended as it should, and has left
# every effect once; there are no others.  A line for each thing that is wrong.
my $wrong = q{
	WITH expected (workflow, ending, wanted) AS (VALUES %s),
	number (workflow, n) AS (
		SELECT workflow, count(*) FROM started GROUP BY workflow
		UNION ALL SELECT 'child', count(*) FROM started WHERE workflow = 'parent' HAVING count(*) > 0
		UNION ALL SELECT 'booking', 4 * count(*) FROM started WHERE workflow = 'trip' HAVING count(*) > 0
		UNION ALL SELECT 'ordered', count(*) FROM orders HAVING count(*) > 0),
	effects AS MATERIALIZED (
		SELECT execution, string_agg(what || ':' || CASE WHEN n = d THEN n::text ELSE d || ' but ' || n || ' times' END, ' ' ORDER BY what COLLATE "C") AS list
		FROM (SELECT execution, what, count(*) AS n, count(DISTINCT n) AS d FROM mark GROUP BY execution, what) w GROUP BY execution),
	found AS MATERIALIZED (
		SELECT e.execution, e.workflow, e.state, e.parent, e.finished_at, coalesce(f.list, 'nothing') AS list, e.error
		FROM goflow.executions e LEFT JOIN effects f USING (execution)),
	pieces AS (
		SELECT c.parent, count(*) FILTER (WHERE what = 'piece') AS done, count(*) FILTER (WHERE what = 'unpiece') AS undone,
			count(*) - count(DISTINCT (m.execution, m.what, m.n)) AS doubled
		FROM found c JOIN mark m USING (execution) WHERE c.workflow = 'piece' GROUP BY c.parent)
	SELECT format('%%s: %%s were started, there are %%s', workflow, coalesce(n, 0), coalesce(m, 0))
		FROM number FULL JOIN (SELECT workflow, count(*) AS m FROM found WHERE workflow <> 'piece' GROUP BY workflow) x USING (workflow) WHERE n IS DISTINCT FROM m
	UNION ALL SELECT format('%%s: %%s was started and is not there', workflow, execution)
		FROM started WHERE NOT EXISTS (SELECT FROM found f WHERE f.execution = started.execution)
	UNION ALL SELECT format('%%s: %%s is %%s and left %%s: %%s', workflow, execution, state, list, error)
		FROM found JOIN expected USING (workflow) WHERE (state, list) <> (ending, wanted)
	UNION ALL SELECT format('%%s effects of unknown executions', count(*))
		FROM mark WHERE NOT EXISTS (SELECT FROM found f WHERE f.execution = mark.execution) HAVING count(*) > 0
	UNION ALL SELECT format('order %%s has %%s effects', coalesce(id, n), m)
		FROM orders FULL JOIN (SELECT n, count(*) AS m FROM mark WHERE what = 'order' GROUP BY n) x ON n = id WHERE m IS DISTINCT FROM 1
	UNION ALL SELECT format('torn: %%s is %%s, %%s done, %%s undone, %%s undone as a whole, %%s twice', t.execution, t.state, done, undone, whole, doubled)
		FROM found t LEFT JOIN pieces p ON p.parent = t.execution,
			LATERAL (SELECT count(*) AS whole, count(DISTINCT n) AS distinct_whole FROM mark m WHERE m.execution = t.execution AND what = 'unwhole') u
		WHERE t.workflow = 'torn' AND (t.state <> 'failed' OR coalesce(done, 0) <> coalesce(undone, 0) + whole OR coalesce(doubled, 0) + whole <> distinct_whole
			OR EXISTS (SELECT FROM found c WHERE c.parent = t.execution AND c.finished_at IS NULL))};

sub mixture_is_right
{
	my ($node, $what) = @_;
	my @values = map
	{
		my $wanted = $expected{$_};
		"('$_', '" . ($ends{$_} || 'completed') . "', '" . join(' ', map { "$_:$wanted->{$_}" } sort keys %$wanted) . "')"
	} sort keys %expected;

	cmp_ok(query($node, 'SELECT count(*) FROM mark'), '>', 0, "something was done, $what");
	return is(query($node, sprintf($wrong, join(', ', @values)) . ' LIMIT 10'), '', "every execution ended as it should, every effect is there once, $what");
}

# Deletes all that has been, so that what is left behind can be seen.
sub mixture_forget
{
	my ($node) = @_;

	query($node, q{SELECT goflow.purge('0'); TRUNCATE mark, started, orders});
	return;
}

1;
