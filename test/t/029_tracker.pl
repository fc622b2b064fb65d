# What the tracker shows of work that is not committed, is rolled back, or was
# there before a crash.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use IPC::Run;
use Test::More;

my $node = new_server('tracker', conf => "goflow.max_workers = 2\ngoflow.fuse = 1min\ngoflow.batch_time = 10s\nfsync = off\n");

query($node, 'CREATE TABLE taken (n int PRIMARY KEY); CREATE TABLE seen (n serial, percent numeric, completed int, total int)');
define_nodes($node, 'steps', q{
	"a": {"type": "sql", "rows": "none", "sql": "INSERT INTO effect SELECT execution.id, 'a'"},
	"b": {"type": "sql", "after": "a", "rows": "none", "sql": "INSERT INTO taken VALUES (input.n)"},
	"c": {"type": "sql", "after": "b", "rows": "none", "sql": "INSERT INTO effect SELECT execution.id, 'c'"},
	"d": {"type": "sql", "after": "c", "rows": "none", "sql": "INSERT INTO effect SELECT execution.id, 'd'"}},
	'"input": {"n": "int"}');
# how fast they are is learned
query($node, q{SELECT goflow.start('steps', jsonb_build_object('n', n)) FROM generate_series(1001, 1010) n});
wait_until_finished($node, 'learning');

# looks at progress until an execution has ended, in one session
sub watch
{
	my ($e) = @_;

	return IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', qq{DO \$\$
		DECLARE p record; last record;
		BEGIN
			LOOP
				SELECT percent, completed, total INTO p FROM goflow.progress('$e');
				IF p.percent IS NOT NULL AND p IS DISTINCT FROM last THEN
					INSERT INTO seen (percent, completed, total) VALUES (p.percent, p.completed, p.total);
					last := p;
				END IF;
				EXIT WHEN p.percent = 100;
				PERFORM goflow.wait('$e', '5 ms');
			END LOOP;
		END \$\$} ], '>', \my $out);
}

sub never_falls
{
	my ($what) = @_;

	return is(query($node, q{SELECT count(*) FILTER (WHERE percent < before), bool_and(percent <= 100), max(percent) FROM (
		SELECT percent, lag(percent) OVER (ORDER BY n) AS before FROM seen) s}), '0|t|100.00',
		"$what: the percentage never falls, nor passes 100");
}

# ---- inside a batch that has not committed ----

my $other = $node->background_psql('postgres');
$other->query_safe('BEGIN; INSERT INTO taken VALUES (1)');
my $e = query($node, q{SELECT goflow.start('steps', '{"n": 1}')});
my $watch = watch($e);
ok(wait_for($node, "SELECT completed = 1 AND current_node = 'b' AND percent = 25 FROM goflow.progress('$e')"),
	'what was done is shown before it is committed');
is(query($node, "SELECT count(*) FROM effect WHERE execution = '$e'"), '0', 'nobody sees its effect');
is(query($node, "SELECT count(*) FROM goflow.node_state WHERE execution_id = '$e'"), '0', 'nor the journal');
$other->query_safe('ROLLBACK');
$watch->finish;
never_falls('one batch');
is_exactly_once($node, 'one batch');

# ---- a batch that is rolled back, since its fuse burnt ----

setting($node, 'goflow.fuse', '1s');
query($node, q{SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE backend_type = 'goflow worker'});
query($node, 'TRUNCATE seen');
$other->query_safe('BEGIN; INSERT INTO taken VALUES (2)');
$e = query($node, q{SELECT goflow.start('steps', '{"n": 2}')});
$watch = watch($e);
ok(wait_for($node, "SELECT completed = 1 AND current_node = 'b' FROM goflow.progress('$e')"), 'a batch waits');
ok(wait_for($node, "SELECT count(*) = 1 FROM goflow.node_state WHERE execution_id = '$e'"), 'it is rolled back, and what comes before the slow node is committed');
$other->query_safe('ROLLBACK');
$watch->finish;
never_falls('a batch that was rolled back');
is_exactly_once($node, 'a batch that was rolled back');

# ---- after a crash: from the tables, the same ----

query($node, 'TRUNCATE seen');
$e = query($node, q{SELECT goflow.start('steps', '{"n": 3}') FROM (SELECT pg_sleep(0)) x});
query($node, "SELECT goflow.wait('$e')");
define_nodes($node, 'loops', q{"each": {"type": "loop", "repeat": 6, "body": {"nodes": {
	"s": {"type": "signal", "name": "go"}, "e": {"type": "sql", "after": "s", "rows": "none", "sql": "INSERT INTO effect SELECT execution.id, 'e'"}}}},
	"last": {"type": "transform", "after": "each", "value": {"x": "1"}}});
my $l = query($node, q{SELECT goflow.start('loops')});
for my $n (0 .. 5)
{
	ok(wait_for($node, "SELECT (total, completed) = (14, @{[2 * $n]}) AND (goflow.status('$l')).state = 'waiting' FROM goflow.progress('$l')"),
		"after $n of 6 iterations");
	query($node, "INSERT INTO seen (percent, completed, total) SELECT percent, completed, total FROM goflow.progress('$l')");
	if ($n == 2)
	{
		$node->stop('immediate');
		$node->start;
	}
	$node->restart if $n == 4;
	ok(wait_for($node, "SELECT (total, completed) = (14, @{[2 * $n]}) FROM goflow.progress('$l')"), "the same after a restart, at $n") if $n == 2 || $n == 4;
	query($node, "SELECT goflow.signal('$l', 'go')");
}
query($node, "SELECT goflow.wait('$l', '60 s')");
query($node, "INSERT INTO seen (percent, completed, total) SELECT percent, completed, total FROM goflow.progress('$l')");
never_falls('a loop across restarts');
is(query($node, "SELECT total || ' ' || completed FROM goflow.progress('$l')"), '14 14', 'all of it is counted');
is(query($node, "SELECT (goflow.progress('$e')).completed"), '4', 'what had finished before is as it was');
is_at_rest($node, 'at the end');

$node->stop;
done_testing();
