# Nodes that take the server down, eat its memory or disk, or never end: they
# fail, and their neighbours go on.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('poison', conf => "temp_file_limit = '2MB'\nwork_mem = '64kB'\nlog_min_messages = log\n");
my ($execution, $log);

# The parent of the shell is the backend.
query($node, q{
	CREATE TABLE crash (yes bool); INSERT INTO crash VALUES (false);
	CREATE FUNCTION crash() RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		EXECUTE 'COPY (SELECT 1) TO PROGRAM ''kill -9 $PPID''';
		PERFORM pg_sleep(60);
		RETURN 1;
	END $$;
	CREATE FUNCTION maybe_crash() RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		IF (SELECT yes FROM crash) THEN RETURN crash(); END IF;
		RETURN 0;
	END $$});

# One execution among others, all at once, since the server may be gone right after it.
sub start_with
{
	my ($workflow, $chains) = @_;
	try_query($node, "BEGIN; SELECT goflow.start('$workflow');"
		  . " SELECT count(*) FROM goflow.start_many('chain', array_fill('{}'::jsonb, ARRAY[$chains])); COMMIT");
	wait_until_finished($node, "$workflow among others");
	return query($node, "SELECT execution FROM goflow.executions WHERE workflow = '$workflow' ORDER BY execution DESC LIMIT 1");
}

sub crashes { my $n = () = slurp_file($node->logfile) =~ /was terminated by signal 9/g; return $n; }

# ---- a node that kills its own process ----

define_chain($node, "chain", 4);
define_slow($node, 'slow', 2, 1);
define_held($node, 'held', 1);
define_nodes($node, 'poison', Goflow::effect_node('a') . ', "bad": {"type": "sql", "after": "a", "sql": "SELECT crash() AS x"}');
start_many($node, 'slow', 2);
$execution = start_with('poison', 200);
is(query($node, "SELECT state, error->>'code', error->>'message' FROM goflow.status('$execution')"),
	'failed|WF208|the server has crashed 3 times while node "bad" of workflow "poison" ran', 'it fails');
is(crashes(), 3, 'after three crashes');
is(query($node, q{SELECT count(*) FROM goflow.executions WHERE workflow IN ('chain', 'slow') AND state <> 'completed'}), '0',
	'its neighbours completed, also those that ran at each crash');
is_exactly_once($node, 'after three crashes');
is_at_rest($node, 'after three crashes');
like(slurp_file($node->logfile), qr/the server has crashed 3 times while node "bad" of workflow "poison" ran.*\n.*Execution $execution/,
	'the log names it');

# a retry does not crash the server again
define_nodes($node, 'again', '"bad": {"type": "sql", "sql": "SELECT crash() AS x", "retry": {"attempts": 3, "backoff": "10 ms"}}');
$execution = start_with('again', 1);
is(query($node, "SELECT state, error->>'code' FROM goflow.status('$execution')"), 'failed|WF208', 'it fails');
is(crashes(), 6, 'after three crashes');

# ---- one that was known to be fast, in a batch with others ----

define_nodes($node, 'harmless', '"h": {"type": "sql", "sql": "SELECT maybe_crash() AS x"}, ' . Goflow::effect_node('b', 'h'));
start_many($node, 'harmless', 50);
wait_until_finished($node, 'harmless at first');
query($node, 'UPDATE crash SET yes = true');
$execution = start_with('harmless', 200);
is(query($node, "SELECT state, error->>'code' FROM goflow.status('$execution')"), 'failed|WF208', 'it fails');
is(crashes(), 9, 'after three crashes');
is_exactly_once($node, 'a batch with a poisoned node');

# ---- at the commit of a batch ----

query($node, q{
	UPDATE crash SET yes = false;
	CREATE TABLE late (id int);
	CREATE FUNCTION crash_late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM maybe_crash(); RETURN NULL; END $$;
	CREATE CONSTRAINT TRIGGER late AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION crash_late()});
define_nodes($node, 'late', Goflow::effect_node('a') . ', "bad": {"type": "sql", "after": "a", "rows": "none", "sql": "INSERT INTO late VALUES (1)"}');
start_many($node, 'late', 50);
wait_until_finished($node, 'harmless at first');
query($node, 'UPDATE crash SET yes = true');
$execution = start_with('late', 100);
is(query($node, "SELECT state, error->>'code', error->>'node' FROM goflow.status('$execution')"), 'failed|WF208|bad', 'the node is found');
cmp_ok(crashes(), '<=', 9 + 4, 'after four crashes at most');
is_exactly_once($node, 'a crash at commit');
query($node, 'UPDATE crash SET yes = false');

# ---- crashes of others do not count ----

my $before = crashes();
$execution = query($node, q{SELECT goflow.start('held')});
for my $i (1 .. 4)
{
	ok(wait_for($node, q{SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'goflow worker' AND wait_event = 'PgSleep'}), 'it runs');
	try_query($node, 'SELECT crash()');
	ok(wait_for($node, 'SELECT true', undef, undef, 't'), 'the server is back');
}
is(crashes(), $before + 4, 'four crashes of a client');
let_go($node, 'held', 'crashes of others');
is(query($node, "SELECT state FROM goflow.status('$execution')"), 'completed', 'the node is not to blame');

# ---- also when the server is started anew each time ----

$node->append_conf('postgresql.conf', 'restart_after_crash = off');
$node->reload;
try_query($node, q{SELECT goflow.start('poison')});
for my $i (1 .. 3)
{
	ok(wait_for_stop(), "crash $i ends the server");
	# it may be gone again before anybody sees that it is there
	PostgreSQL::Test::Utils::system_log('pg_ctl', '-w', '-D', $node->data_dir, '-l', $node->logfile, 'start');
}
wait_until_finished($node, 'three starts');
$node->_update_pid(1);
is(query($node, q{SELECT DISTINCT state, error->>'code' FROM goflow.executions WHERE workflow = 'poison'}), 'failed|WF208', 'it fails');

sub wait_for_stop
{
	my $deadline = time() + $Goflow::bound;

	while (time() < $deadline)
	{
		return 1 unless -e $node->data_dir . '/postmaster.pid';
		Time::HiRes::usleep(20_000);
	}
	return 0;
}

# ---- memory, disk, time ----

query($node, q{
	CREATE FUNCTION deep() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN deep(); END $$;
	CREATE FUNCTION endless() RETURNS int LANGUAGE plpgsql AS $$ BEGIN LOOP NULL; END LOOP; END $$});
define_nodes($node, 'memory', '"bad": {"type": "sql", "sql": "SELECT length(x || x) AS x FROM repeat(repeat(\'x\', 1000000), 600) x"}');
define_nodes($node, 'disk', '"bad": {"type": "sql", "sql": "SELECT count(*) FROM (SELECT g, random() AS r FROM generate_series(1, 1000000) g ORDER BY r) x"}');
define_nodes($node, 'endless', '"bad": {"type": "sql", "sql": "SELECT endless() AS x", "timeout": "1 s"}');
define_nodes($node, 'deep', '"bad": {"type": "sql", "sql": "SELECT deep() AS x"}');
query($node, q{BEGIN; SELECT goflow.start(w) FROM unnest('{memory,disk,endless,deep}'::text[]) w;
	SELECT count(*) FROM goflow.start_many('chain', array_fill('{}'::jsonb, ARRAY[200])); COMMIT});
wait_until_finished($node, 'nodes that want too much');
is(query($node, q{SELECT workflow, state, error->>'code' FROM goflow.executions WHERE workflow IN ('memory', 'disk', 'endless', 'deep') ORDER BY 1}),
	"deep|failed|54001\ndisk|failed|53400\nendless|failed|WF203\nmemory|failed|XX000", 'they fail, each with its code');
is(query($node, q{SELECT count(*) FROM goflow.executions WHERE workflow = 'chain' AND state <> 'completed'}), '0', 'the others completed');
is_exactly_once($node, 'at the end');
is_at_rest($node, 'at the end');

$node->stop;
done_testing();
