# What waits for somebody outside: 10,000 tasks through four workers, crashes in
# the middle, leases that end, messages, and the examples of workers.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $seed = seed_random();
my $node = new_server('tasks', conf => "max_wal_size = 4GB\n");
my $examples = "$FindBin::RealBin/../../examples";

define_nodes($node, 'load', '"k": {"type": "task", "queue": "load", "payload": {"n": "input.n"}, "output": {"n": "int"}, "lease": "2 s"}',
	'"input": {"n": "int"}, "output": {"n": "k.n"}');

# A worker that claims in one transaction and answers in others, each with an
# effect of its own; a task that it does not hold any more is none of its.
query($node, q{
	CREATE TABLE lost (worker text, code text);
	CREATE PROCEDURE work(who text, queue text, batch int, lease interval DEFAULT NULL) LANGUAGE plpgsql AS $$
	DECLARE
		tasks record;
		code text;
	BEGIN
		WHILE EXISTS (SELECT FROM goflow.executions WHERE finished_at IS NULL) LOOP
			SELECT array_agg(c.task) AS ids, array_agg(c.execution) AS executions, array_agg(c.payload) AS payloads
			INTO tasks FROM goflow.claim(ARRAY[queue], who, batch, lease) c;
			COMMIT;
			FOR i IN 1 .. coalesce(cardinality(tasks.ids), 0) LOOP
				code := NULL;
				BEGIN
					INSERT INTO effect VALUES (tasks.executions[i], 'k');
					PERFORM goflow.complete(tasks.ids[i], tasks.payloads[i]);
				EXCEPTION WHEN OTHERS THEN
					code := SQLSTATE;
				END;
				INSERT INTO lost SELECT who, code WHERE code IS NOT NULL;
				COMMIT;
				RAISE DEBUG 'done %', tasks.executions[i];
			END LOOP;
			IF tasks.ids IS NULL THEN
				PERFORM pg_sleep(0.01);
			END IF;
		END LOOP;
	END $$});

sub start_load
{
	my ($n) = @_;

	query($node, "SELECT count(*) FROM goflow.start_many('load', ARRAY(SELECT jsonb_build_object('n', n) FROM generate_series(1, $n) n))");
}

# Starts a psql that runs a statement, or a file.
sub start_psql
{
	my (@args) = @_;
	my ($out, $err) = ('', '');

	return IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), @args ],
		'<', \undef, '>', \$out, '2>', \$err);
}

sub start_workers
{
	my ($lease) = @_;

	return map { start_psql('-c', "CALL work('w$_', 'load', 50, $lease)") } 1 .. 4;
}

sub results { return query($node, q{SELECT count(*), count(DISTINCT (output ->> 'n')::int), max((output ->> 'n')::int) FROM goflow.executions
	WHERE workflow = 'load' AND state = 'completed'}); }

# ---- 10,000 tasks, four workers ----

start_load(10_000);
my $took = seconds
{
	my @workers = start_workers(q{'1 hour'});

	wait_until_finished($node, '10,000 tasks');
	$_->finish for @workers;
};
note(sprintf('10,000 tasks in %.1f s', $took));
is(results(), '10000|10000|10000', 'each task has its own result');
is(query($node, q{SELECT count(*), count(DISTINCT execution) FROM effect}), '10000|10000', 'and was done once');
is(query($node, q{SELECT count(*) FROM lost}), '0', 'nobody lost one');
is(query($node, q{SELECT count(*) FROM goflow.task}), '0', 'no task is left');
is_exactly_once($node, '10,000 tasks');

# ---- kill -9 in the middle: of a worker of goflow, of one of the queue's, of the scheduler, of all ----

start_load(3_000);
my @workers = start_workers("NULL");
for my $kind ('worker', 'client', 'scheduler', 'immediate')
{
	my $left = query($node, q{SELECT count(*) FROM goflow.task});

	pause_up_to(150);
	if ($kind eq 'immediate') { $node->stop('immediate'); $node->start; }
	elsif ($kind eq 'client')
	{
		my (undef, $pid) = try_query($node, q{SELECT pid FROM pg_stat_activity WHERE query ~ '^CALL work' LIMIT 1});

		kill 'KILL', $pid if $pid;
	}
	else { kill_process($node, $kind, 'KILL'); }
	$_->finish for @workers;	# a crash ends them all
	ok(wait_for($node, 'SELECT value = 1 FROM goflow.health() WHERE name = $$launcher$$'), "the server is back ($kind, $left left)");
	@workers = start_workers("NULL");
}
wait_until_finished($node, 'crashes');
$_->finish for @workers;
is(query($node, q{SELECT count(*), count(DISTINCT execution) FROM effect}), '13000|13000', 'after crashes each task is done once');
is_exactly_once($node, 'crashes');
is(query($node, q{SELECT count(*) FROM goflow.task}), '0', 'no task is left after crashes');

# ---- signals and approvals over a crash ----

query($node, 'CREATE ROLE judges');
define_nodes($node, 'waits', '"s": {"type": "signal", "payload": {"n": "int"}}, ' . Goflow::effect_node('a', 's')
	  . ', "ask": {"type": "approval", "after": ["a"], "role": "judges"}, ' . Goflow::effect_node('b', 'ask'),
	'"output": {"n": "s.n", "said": "ask.decision"}');
start_many($node, 'waits', 200);
query($node, q{SELECT count(goflow.signal(execution, 's', '{"n": 1}')) FROM goflow.executions WHERE workflow = 'waits' AND finished_at IS NULL});
pause_up_to(50);
$node->stop('immediate');
$node->start;
ok(wait_for($node, q{SELECT count(*) = 200 FROM goflow.approvals}), 'signals of before a crash count, and once');
query($node, q{SELECT count(goflow.signal(execution, 's', '{"n": 2}')) FROM goflow.executions WHERE workflow = 'waits' AND finished_at IS NULL});
query($node, q{SELECT count(goflow.approve(execution, node)) FROM goflow.approvals});
pause_up_to(50);
kill_process($node, 'worker', 'KILL');
ok(wait_for($node, q{SELECT count(*) = 200 FROM goflow.executions WHERE workflow = 'waits' AND output = '{"n": 1, "said": "approved"}'}),
	'so do decisions');
is_exactly_once($node, 'signals and approvals');
ok(wait_for($node, q{SELECT (SELECT count(*) FROM goflow.signal) + (SELECT count(*) FROM goflow.approval) = 0}), 'nothing is left of them');

# ---- messages: of a new task, of a lease that ends, of approvals ----

# Waits until a psql that listens has printed something; it looks for messages after every statement.
sub listener
{
	my ($channel, $seconds) = @_;
	my $out = '';
	my $psql = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ],
		'<', \my $in, '>', \$out, IPC::Run::timer($Goflow::bound));

	$in = "LISTEN $channel; SELECT 'listens';\n";
	$psql->pump until $out =~ /listens/;
	return sub {
		my ($pattern) = @_;
		my $deadline = time() + $Goflow::bound;

		until ($out =~ $pattern || time() > $deadline)
		{
			$in .= "SELECT 1;\n";
			$psql->pump;
			usleep(10_000);
		}
		return ok($out =~ $pattern, "a message on $channel like $pattern") || diag($out);
	};
}
define_nodes($node, 'slow', '"k": {"type": "task", "queue": "slow"}');
my $heard = listener('goflow_tasks_slow');
my $execution = query($node, q{SELECT goflow.start('slow')});
$heard->(qr/"goflow_tasks_slow" .*received/);
$heard = listener('goflow_tasks_slow');
query($node, q{SELECT count(*) FROM goflow.claim('{slow}', lease => '1 s')});
is(query($node, q{SELECT state = 'claimed' OR lease_until < clock_timestamp() FROM goflow.tasks}), 't', 'nothing to do as long as it is held');
$heard->(qr/received/);
is(query($node, q{SELECT state, claims FROM goflow.tasks}), 'expired|1', 'the end of a lease is told');
is(query($node, q{SELECT count(goflow.complete(task)) FROM goflow.claim('{slow}')}), '1', 'another one has it');
is(query($node, "SELECT goflow.wait('$execution', '90 s')"), 'completed', 'and does it');

# and the end of a pause
$execution = query($node, q{SELECT goflow.start('slow')});
ok(wait_for($node, q{SELECT count(*) = 1 FROM goflow.tasks}), 'a task');
query($node, "SELECT goflow.pause('$execution')");
ok(wait_for($node, "SELECT state = 'paused' FROM goflow.status('$execution')"), 'its execution is paused');
$heard = listener('goflow_tasks_slow');
is(query($node, q{SELECT count(*) FROM goflow.claim('{slow}')}), '0', 'nothing to do');
query($node, "SELECT goflow.resume('$execution')");
$heard->(qr/received/);
is(query($node, q{SELECT count(goflow.complete(task)) FROM goflow.claim('{slow}')}), '1', 'it is given out again');
is(query($node, "SELECT goflow.wait('$execution', '90 s')"), 'completed', 'and done');

query($node, 'CREATE ROLE court');
define_nodes($node, 'reminds', '"a": {"type": "approval", "role": "judges", "remind": "200 ms", "escalate": {"role": "court", "after": "3 s"}}');
$heard = listener('goflow_approvals');
$execution = query($node, q{SELECT goflow.start('reminds')});
$heard->(qr/"approval_waiting","execution":"$execution","frame":0,"node":"a","role":"judges"/);
$heard->(qr/"approval_reminder","execution":"$execution","frame":0,"node":"a","role":"judges"/);
$heard->(qr/"approval_escalated","execution":"$execution","frame":0,"node":"a","role":"court"/);
$heard->(qr/"approval_reminder","execution":"$execution","frame":0,"node":"a","role":"court"/);
query($node, "SELECT goflow.reject('$execution', 'a')");
is(query($node, "SELECT goflow.wait('$execution', '90 s')"), 'completed', 'decided');

# ---- commits that wait for no disk, but for those of tasks ----

query($node, q{ALTER SYSTEM SET synchronous_commit = off; ALTER SYSTEM SET wal_writer_delay = '10 s'});
$node->restart;
query($node, 'TRUNCATE effect');
start_load(1_000);
my $told = '';
my $worker = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'),
		'-c', 'SET client_min_messages = debug1', '-c', q{CALL work('w', 'load', 5)} ], '<', \undef, '2>', \$told);
$worker->pump until (() = $told =~ /done /g) > 100;
$node->stop('immediate');
$worker->finish;
$node->start;
my $done = join ', ', map { "'$_'" } $told =~ /done ([0-9a-f-]{36})\n/g;
is(query($node, "SELECT count(*) > 100, count(*) - count(e) FROM unnest(ARRAY[$done]::uuid[]) u LEFT JOIN effect e ON execution = u"),
	't|0', 'what a worker was told is done is not lost in a crash');
query($node, q{CALL work('w', 'load', 50)});
wait_until_finished($node, 'synchronous_commit = off');
is(query($node, q{SELECT count(DISTINCT execution), count(*) FROM effect}), '1000|1000', 'nor is it done again');
query($node, q{ALTER SYSTEM RESET ALL});
$node->restart;

# ---- a copy does nobody's tasks ----

start_load(3);
$execution = query($node, q{SELECT goflow.start('waits')});
query($node, "SELECT goflow.signal('$execution', 's', '{\"n\": 1}')");
ok(wait_for($node, q{SELECT (SELECT count(*) FROM goflow.tasks) = 3 AND (SELECT count(*) FROM goflow.approvals) = 1}), 'some wait');
query($node, 'CREATE DATABASE copy TEMPLATE postgres');
is(query($node, q{SELECT count(*) FROM goflow.claim('{load}', "limit" => 9)}, 'copy'), '0', 'tasks of a copy are not given out');
like((try_query($node, "SELECT goflow.approve('$execution', 'ask')", 'copy'))[2], qr/belongs to another database/, 'nor are its approvals decided');
query($node, 'SELECT goflow.adopt()', 'copy');
is(query($node, q{SELECT count(goflow.complete(task, payload)) FROM goflow.claim('{load}', "limit" => 9)}, 'copy'), '3', 'until they are adopted');
query($node, "SELECT goflow.approve('$execution', 'ask')", 'copy');
wait_until_finished($node, 'the adopted copy', 'copy');
query($node, 'DROP DATABASE copy');
query($node, q{SELECT count(goflow.complete(task, payload)) FROM goflow.claim('{load}', "limit" => 9)});
query($node, "SELECT goflow.approve('$execution', 'ask')");
wait_until_finished($node, 'the original');

# ---- the examples ----

define_nodes($node, 'greets', '"k": {"type": "task", "queue": "hello", "payload": {"who": "input.who"}, "output": {"words": "text"}}',
	'"input": {"who": "text"}, "output": {"words": "k.words"}');
query($node, q{SELECT count(*) FROM goflow.start_many('greets', ARRAY(SELECT jsonb_build_object('who', w) FROM unnest('{ann,bob,""}'::text[]) w))});
my $psql = start_psql('-v', 'name=one', '-f', "$examples/worker.sql");
wait_until_finished($node, 'the worker in psql');
$psql->kill_kill;
is(query($node, q{SELECT string_agg(words || worker, ' ' ORDER BY who) FROM greeting}), 'Hello, ann!one Hello, bob!one', 'it worked');
is(query($node, q{SELECT string_agg(concat(state, ' ', output ->> 'words', error ->> 'code'), ', ' ORDER BY state, output ->> 'words')
	FROM goflow.executions WHERE workflow = 'greets'}), 'completed Hello, ann!, completed Hello, bob!, failed 22023', 'it answered');

my $dir = PostgreSQL::Test::Utils::tempdir();
my ($pg_config) = grep { -f (`$_ --includedir 2>/dev/null` =~ s/\s+$//r) . '/libpq-fe.h' }
	grep { defined && -x } $ENV{PG_CONFIG}, map { "$_/pg_config" } split /:/, $ENV{PATH};
my %config = map { $_ => $pg_config ? `$pg_config --$_` =~ s/\s+$//r : '' } qw(includedir libdir);
SKIP:
{
	skip "libpq's header is not installed", 10 unless $pg_config;
	ok(system('cc', '-Wall', '-Wextra', '-Werror', '-std=c11', '-o', "$dir/worker", "$examples/worker.c",
			"-I$config{includedir}", "-L$config{libdir}", '-lpq') == 0, 'the worker in C compiles');
	query($node, q{SELECT count(*) FROM goflow.start_many('greets', ARRAY(SELECT jsonb_build_object('who', w) FROM unnest('{cyd,dan,eve,fay}'::text[]) w))});
	my $command = q{read -r p; case $p in *cyd*) echo '{"words": "Hi"}';; *dan*) echo nobody there; exit 3;; *eve*) echo '{"words": 1, "x": 2}';; *) until [ -e "$GO" ]; do sleep 0.1; done; echo '{"words": "at last"}';; esac};
	my $log = '';
	local $ENV{GO} = "$dir/go";
	my @c = map { IPC::Run::start([ "$dir/worker", $node->connstr('postgres'), 'hello', $command ], '<', \undef, '2>>', \$log) } 1 .. 2;
	my $latest = q{(SELECT e.*, (goflow.texts(x.input))[1] AS who FROM goflow.executions e JOIN goflow.execution x ON x.execution_id = e.execution
		WHERE e.workflow = 'greets' ORDER BY e.created_at DESC LIMIT 4) e};

	ok(wait_for($node, "SELECT count(*) = 3 FROM $latest WHERE finished_at IS NOT NULL"), 'the worker in C works');
	like(query($node, "SELECT string_agg(concat_ws(' ', who, state, output ->> 'words', error ->> 'code', error ->> 'message'), ', ' ORDER BY who) FROM $latest"),
		qr/^cyd completed Hi, dan failed WF201 nobody there\s*, eve failed WF112 ERROR:  task "k" has no field "x".*, fay waiting$/s,
		'it completes and fails');
	is(query($node, q{SELECT worker ~ '^worker \d+$', lease_until > now() FROM goflow.tasks}), 't|t', 'and holds what takes long');
	# by notification: it looks on its own after half a minute only
	$took = seconds
	{
		$execution = query($node, q{SELECT goflow.start('greets', '{"who": "cyd"}')});
		is(query($node, "SELECT goflow.wait('$execution', '90 s')"), 'completed', 'a notification wakes the worker');
	};
	cmp_ok($took, '<', 25, sprintf('not by itself: %.2f s', $took));
	$_->signal('TERM') for @c;
	append_to_file("$dir/go", '');
	ok($_->finish, 'it ends after the task in hand') for @c;
	wait_until_finished($node, 'the worker in C');
	is(query($node, q{SELECT output FROM goflow.executions ORDER BY finished_at DESC LIMIT 1}), '{"words": "at last"}', 'with its answer');
}

is(query($node, q{SELECT count(*) FROM goflow.pending}), '0', 'nothing waits');
is_at_rest($node, 'tasks');
$node->stop;
done_testing();
