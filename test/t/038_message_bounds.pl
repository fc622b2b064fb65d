# What bounds messages: their rate, a NOTIFY that can't be done, a sender that is
# terminated, a crash.  No execution pays for it, and nothing is lost uncounted.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use IPC::Run;
use Messages;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('message_bounds', conf => "goflow.max_message_rate = 200\nsynchronous_commit = local\nsynchronous_standby_names = nobody\nwal_level = replica\nmax_wal_senders = 2\n");

my $all = q{types => '{execution_started,execution_completed,execution_failed,node_started,node_completed,node_failed,loop_started,loop_iteration,loop_completed}', variables => true};

# Of the only subscription: what was sent, what was dropped.
sub counts { return split /\|/, query($node, 'SELECT sent, dropped FROM goflow.subscriptions'); }

# Events of those types of all executions of a workflow.
sub events_of
{
	return query($node, qq{SELECT count(*) FROM goflow.executions x,
		goflow.events(x.execution) e WHERE x.workflow = '$_[0]' AND e.event <> 'progress_update'});
}

# ---- more happens than may be told ----

define_nodes($node, 'many', q{"l": {"type": "loop", "repeat": 1000, "body": {"nodes": {"t": {"type": "transform", "value": {"x": "1"}}}}}});
define_chain($node, 'chain', 10);
my $session = $node->background_psql('postgres');
subscribe($session, "workflow => 'many', $all");
my $execution = query($node, q{SELECT goflow.start('many')});
my @got = messages_until($session, qr/execution_completed/);
is(scalar(grep { $_->[1] =~ /execution_completed/ } @got), 1, 'the end is told though the steps are too many');
# (a message is counted after the commit that sends it)
my $events = events_of('many');
ok(wait_for($node, "SELECT sent + dropped = $events FROM goflow.subscriptions"), 'all are counted');
my ($sent, $dropped) = counts();
cmp_ok($dropped, '>', 0, "and $dropped of $events dropped");
cmp_ok(query($node, q{SELECT value FROM goflow.health() WHERE kind = 'messages' AND name = 'dropped'}), '>=', $dropped, 'health() shows it');
keep_messages($node, @got);
like(differences($node, $execution), qr/^\d+\|0\|0$/, 'those that are told are right');
$session->query_safe('UNLISTEN *');
subscribe($session, "workflow => 'chain', $all");
start_many($node, 'chain', 30);
@got = messages_until($session, qr/execution_completed/);
my $deadline = time() + $Goflow::bound;
push @got, messages($session) while grep({ $_->[1] =~ /execution_completed/ } @got) < 30 && time() < $deadline;
is(scalar(grep { $_->[1] =~ /execution_completed/ } @got), 30, 'some are always left for ends');
$session->query_safe('UNLISTEN *');

# what is rolled back has not happened
query($node, q{CREATE TABLE parent (i int PRIMARY KEY); INSERT INTO parent SELECT generate_series(1, 299);
	CREATE TABLE child (i int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)});
define_nodes($node, 'late', q{"a": {"type": "transform", "value": {"x": "1"}},
	"b": {"type": "sql", "after": "a", "rows": "none", "sql": "INSERT INTO child VALUES (input.i)"}}, '"input": {"i": "int"}');
subscribe($session, "workflow => 'late', $all");
query($node, q{SELECT count(*) FROM goflow.start_many('late', ARRAY(SELECT jsonb_build_object('i', i) FROM generate_series(1, 300) i))});
wait_until_finished($node, 'a batch is rolled back');
like(slurp_file($node->logfile), qr/a batch of nodes was rolled back/, 'and in the log');
is(query($node, q{SELECT count(*) FILTER (WHERE state = 'completed'), count(*) FILTER (WHERE state = 'failed') FROM goflow.executions WHERE workflow = 'late'}),
	'299|1', 'one has failed');
$events = events_of('late');
ok(wait_for($node, "SELECT sent + dropped = $events FROM goflow.subscriptions"), 'each event is counted once') or diag("$events events, " . join(' ', counts()));
cmp_ok((counts())[1], '>', $events / 2, 'most are dropped');
$session->quit;

# ---- no bound ----

$node->append_conf('postgresql.conf', "goflow.max_message_rate = 0\n");
$node->restart;
$session = $node->background_psql('postgres');
subscribe($session, "workflow => 'many', $all");
subscribe($session, q{workflow => 'many', types => '{progress_update}'});
$execution = query($node, q{SELECT goflow.start('many')});
keep_messages($node, messages_until($session, qr/execution_completed/));
my $progress = query($node, q{WITH gone AS (DELETE FROM got WHERE payload->>'event' = 'progress_update' RETURNING payload)
	SELECT count(*), count(DISTINCT payload->'data'->>'completed') FROM gone});
like(differences($node, $execution), qr/^0\|0\|0$/, 'without a bound all is told');
my ($told, $different) = split /\|/, $progress;
is($told, $different, 'of the progress only changes');
cmp_ok($told, '<=', query($node, "SELECT count(DISTINCT xmin::text) FROM goflow.journal WHERE execution_id = '$execution'"),
	'and no more than one per commit');
$session->query_safe('UNLISTEN *');

# ---- who notifies can't commit, and holds the lock that all need who notify ----

define_nodes($node, 'nap', q{"nap": {"type": "delay", "for": "'20 ms'"}, "b": {"type": "transform", "after": "nap", "value": {"x": "1"}}});
define_nodes($node, 'ask', q{"a": {"type": "approval", "role": "postgres"}});
my $channel = subscribe($session, "workflow => 'nap', $all");
$session->query_safe('LISTEN goflow_approvals');
my ($out, $err) = ('', '');
my $holder = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c',
		"SET synchronous_commit = on; SET application_name = 'holder'; CREATE TABLE written (); NOTIFY whatever" ], '>', \$out, '2>', \$err);
ok(wait_for($node, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'holder' AND wait_event = 'SyncRep'}),
	'a NOTIFY waits for its standby');
my $asking = query($node, q{SELECT goflow.start('ask')});
start_many($node, 'nap', 50);
ok(wait_for($node, q{SELECT count(*) = 0 FROM goflow.executions WHERE workflow = 'nap' AND finished_at IS NULL}), 'delays end meanwhile');
ok(wait_for($node, "SELECT count(*) = 1 FROM goflow.approvals WHERE execution = '$asking'"), 'an approval waits');
query($node, "SELECT goflow.approve('$asking', 'a')");
is(query($node, "SELECT goflow.wait('$asking', '60 s')"), 'completed', 'and is given');

# the sender is terminated while it tries
my $kill = q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'goflow scheduler' AND wait_event_type = 'Lock'};
my $killed = 0;
$deadline = time() + $Goflow::bound;
while (!$killed && time() < $deadline)
{
	start_many($node, 'nap', 1);
	$killed = query($node, qq{SELECT count(*) FROM ($kill) k});
}
ok($killed, 'the sender is terminated while it sends');
wait_until_finished($node, 'after that');
$events = events_of('nap');
ok(wait_for($node, "SELECT sent + dropped = $events FROM goflow.subscriptions"), 'what was not sent is counted')
  or diag("$events events, " . join(' ', counts()));
is((counts())[0], '0', 'nothing could be sent');
query($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'holder'});
$holder->finish;
my $sent_again = 0;
$deadline = time() + $Goflow::bound;
while (!$sent_again && time() < $deadline)
{
	start_many($node, 'nap', 1);
	wait_until_finished($node, 'afterwards');
	($sent_again) = counts();
}
ok($sent_again, 'afterwards messages are sent again');
$session->quit;

# ---- numbers that were told are those that a crash leaves ----

define_nodes($node, 'busy', q{"l": {"type": "loop", "repeat": "2000", "parallel": 4, "body": {"nodes": {
	"a": {"type": "sql", "rows": "none", "sql": "INSERT INTO effect SELECT execution.id, 'a' || loop.index"},
	"b": {"type": "set", "after": "a", "set": {"v": "vars.v + 1"}},
	"c": {"type": "sql", "after": "b", "sql": "SELECT pg_sleep(0.001)::text AS x"}}}}}, '"variables": {"v": "int = 0"}');
my @told;
my @crashed = map { query($node, q{SELECT goflow.start('busy')}) } 1 .. 2;
for my $round (1 .. 2)
{
	$session = $node->background_psql('postgres', on_error_stop => 0);
	subscribe($session, q{workflow => 'busy', variables => true});
	push @told, messages_until($session, qr/loop_iteration/);
	$deadline = time() + $Goflow::bound;
	push @told, messages($session) while @told < 300 * $round && time() < $deadline;
	ok(crash($node, $round == 2 ? 'worker' : 'scheduler worker'), 'a crash');
	eval { $session->quit };
}
query($node, "SELECT goflow.cancel('$_'), goflow.wait('$_', '60 s')") for @crashed;
keep_messages($node, @told);
cmp_ok(query($node, 'SELECT count(*) FROM got'), '>', 500, 'much was told before the crashes');
like(differences($node, $_), qr/^\d+\|0\|0$/, 'each event has the number under which it was told, and its content') for @crashed;

$node->stop;
done_testing();
