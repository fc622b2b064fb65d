# Subscriptions: what arrives is what events() tells, nobody sees another's data,
# and no execution pays for who listens.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use Messages;
use Test::More;

# what bounds their rate is in 038_message_bounds.pl
my $node = new_server('subscriptions', conf => "goflow.max_message_rate = 0\n");
my $private = qr/goflow_private_[0-9a-f]{40}/;

# ---- live, it is what events() tells later ----

query($node, q{CREATE FUNCTION slow(x anyelement) RETURNS anyelement LANGUAGE plpgsql AS
	$$ BEGIN PERFORM pg_sleep(0.01); RETURN x; END $$});
define_nodes($node, 'everything', q{
	"look": {"type": "sql", "sql": "SELECT slow(input.n) AS v"},
	"big":  {"type": "condition", "after": "look", "if": "look.v > 1"},
	"low":  {"type": "transform", "after": "big:false", "value": {"x": "1"}},
	"keep": {"type": "set", "after": "big:true", "set": {"best": "slow(look.v)", "note": "'big'"}},
	"each": {"type": "loop", "after": "keep", "for": "ARRAY[3, 4, 5, 6, 7, 8]", "as": "i", "parallel": 3, "body": {"nodes": {
	           "s": {"type": "sql", "sql": "SELECT slow(i.value) AS x"},
	           "c": {"type": "continue", "after": "s", "if": "i.value = 5"},
	           "t": {"type": "set", "after": "c", "set": {"best": "vars.best + s.x"}}}}},
	"nil":  {"type": "loop", "after": "each", "for": "SELECT 1 AS x WHERE false", "as": "r", "body": {"nodes": {
	           "x": {"type": "transform", "value": {"y": "1"}}}}},
	"try":  {"type": "try", "after": "nil", "body": {"nodes": {
	           "bad": {"type": "sql", "sql": "SELECT 1 / (look.v - look.v) AS y", "retry": {"attempts": 2, "backoff": "20 ms"}}}},
	         "catch": [{"body": {"nodes": {"mend": {"type": "set", "set": {"note": "error.code"}}}}}]},
	"rows": {"type": "sql", "after": "try", "rows": "many", "sql": "SELECT g AS a, 'row ' || g AS b FROM generate_series(1, 3) g"},
	"wide": {"type": "loop", "after": "rows", "for": "rows", "as": "m", "body": {"nodes": {
	           "deep": {"type": "loop", "for": "rows", "as": "w", "body": {"nodes": {
	              "x": {"type": "transform", "value": {"y": "m.a * w.a"}}}}}}}},
	"nap":  {"type": "delay", "after": "wide", "for": "'20 ms'"},
	"z":    {"type": "sql", "after": "nap", "sql": "SELECT 1 / input.d AS z"}},
	'"input": {"n": "int", "d": "int = 1"}, "variables": {"best": "int = 0", "note": "text"}, "output": {"best": "vars.best"}');

my $session = $node->background_psql('postgres');
my $channel = subscribe($session, 'variables => true');
like($channel, qr/^$private$/, 'a private channel');
my $execution = query($node, q{SELECT goflow.start('everything', '{"n": 7}')});
my @got = messages_until($session, qr/execution_completed/);
is(scalar(grep { $_->[0] ne $channel } @got), 0, 'all on that channel');
keep_messages($node, @got);
is(differences($node, $execution), '0|0|0', 'live events are those of events(): none missing, none other, in order');
cmp_ok(query($node, q{SELECT count(*) FROM got WHERE payload->>'event' = 'progress_update'}), '>', 5, 'progress is told');
is(query($node, q{SELECT count(*) FROM (SELECT payload->'data'->>'completed' AS c, lag(payload->'data'->>'completed') OVER (ORDER BY n) AS b,
	payload->'data'->>'skipped' AS s, lag(payload->'data'->>'skipped') OVER (ORDER BY n) AS t,
	payload->'data'->>'failed' AS f, lag(payload->'data'->>'failed') OVER (ORDER BY n) AS g
	FROM got WHERE payload->>'event' = 'progress_update') x WHERE (c, s, f) = (b, t, g)}), '0', 'only on change');

my $failing = query($node, q{SELECT goflow.start('everything', '{"n": 7, "d": 0}')});
my @failed = messages_until($session, qr/execution_failed/);
keep_messages($node, @failed);
is(differences($node, $failing), '0|0|0', 'the same of one that fails');
define_nodes($node, 'sleeper', q{"nap": {"type": "delay", "for": "'1 hour'"}, "z": {"type": "notify", "channel": "c", "after": "nap"}});
my $sleeper = query($node, q{SELECT goflow.start('sleeper')});
push @failed, messages_until($session, qr/node_started.*"nap"/);
query($node, "SELECT goflow.cancel('$sleeper')");
push @failed, messages_until($session, qr/execution_cancelled/);
keep_messages($node, @got, @failed);
is(differences($node, $sleeper), '0|0|0', 'and of one that is cancelled');
is(query($node, q{SELECT count(DISTINCT payload->>'event') FROM got}), '14', 'all 14 types');

# what is rolled back is not told of: a node that fails takes a batch with it, and runs again
define_nodes($node, 'batch', join(', ', (map { Goflow::effect_node("s$_", $_ > 1 ? 's' . ($_ - 1) : undef) } 1 .. 5),
	q{"bad": {"type": "sql", "after": ["s5"], "sql": "SELECT 1 / input.d AS x"}}), '"input": {"d": "int"}');
query($node, q{SELECT count(*) FROM goflow.start_many('batch', array_fill('{"d": 1}'::jsonb, ARRAY[50]))});
wait_until_finished($node, 'nodes that are known to be fast');
my $rolled = query($node, q{SELECT goflow.start('batch', '{"d": 0}')});
keep_messages($node, messages_until($session, qr/"event":"execution_failed".*$rolled/));
is(differences($node, $rolled), '0|0|0', 'each event once, though a batch was rolled back');

# ---- filters, where events are made ----

$session->query_safe("UNLISTEN *");
my $one = subscribe($session, q{types => '{loop_iteration,node_failed}', nodes => '{wide,try/bad}'});
my $other = subscribe($session, q{workflow => 'sleeper'});
$execution = query($node, q{SELECT goflow.start('everything', '{"n": 7}')});
@got = messages_until($session, qr/"iteration":3/);
keep_messages($node, @got, messages($session));
is(query($node, q{SELECT payload->>'event', payload->>'node', count(*) FROM got GROUP BY 1, 2 ORDER BY 1}),
	"loop_iteration|wide|3\nnode_failed|try/bad|2", 'types and nodes');
is(query($node, "SELECT sent FROM goflow.subscriptions WHERE workflow = 'sleeper'"), '0', 'another workflow');
ok(wait_for($node, 'SELECT sent = 5 AND dropped = 0 FROM goflow.subscriptions WHERE workflow IS NULL'), 'sent is counted');
wait_until_finished($node, 'filters');

# ---- after closes gaps, also while it runs ----

define_nodes($node, 'busy', q{"l": {"type": "loop", "repeat": "60", "parallel": 4, "body": {"nodes": {
	"a": {"type": "sql", "sql": "SELECT slow(loop.index) AS x"},
	"b": {"type": "set", "after": "a", "set": {"v": "slow(vars.v) + 1"}},
	"c": {"type": "transform", "after": "b", "value": {"y": "1"}}}}}}, '"variables": {"v": "int = 0"}');
$execution = query($node, q{SELECT goflow.start('busy')});
query($node, q{CREATE TABLE polled (seq bigint, event text, at timestamptz, data jsonb);
	CREATE PROCEDURE poll(e uuid) LANGUAGE plpgsql AS $$
	DECLARE last bigint := 0; n int := 0;
	BEGIN
		LOOP
			INSERT INTO polled SELECT seq, event, at, data FROM goflow.events(e, after => last);
			EXIT WHEN EXISTS (SELECT FROM polled WHERE event = 'execution_completed') OR n > 20000;
			last := coalesce((SELECT max(seq) FROM polled), 0);
			n := n + 1;
			COMMIT;
		END LOOP;
	END $$});
query($node, "CALL poll('$execution')");
is(query($node, "SELECT (SELECT count(*) FROM (SELECT seq, event, at, data FROM goflow.events('$execution') EXCEPT SELECT * FROM polled) x),"
	  . " (SELECT count(*) FROM polled) - (SELECT count(*) FROM goflow.events('$execution'))"), '0|0',
	'whoever asks again and again misses nothing and gets nothing twice');
cmp_ok(query($node, 'SELECT count(*) FROM polled'), '>', 60 * 8, 'a long history');
is(query($node, q{SELECT count(*) FROM goflow.executions x, LATERAL (SELECT array_agg(v::text ORDER BY seq) AS a, max(seq) AS last
	FROM goflow.events(x.execution) v) whole, generate_series(0, 1, 0.04) part
	WHERE x.workflow IN ('everything', 'busy') AND (SELECT array_agg(v::text ORDER BY seq) FROM goflow.events(x.execution, after => (part * last)::int) v)
		IS DISTINCT FROM (SELECT array_agg(v::text ORDER BY seq) FROM goflow.events(x.execution) v WHERE seq > (part * last)::int)}), '0',
	'what comes after a number is that part of the whole');

# ---- data that are too long ----

define_nodes($node, 'long', q{"s": {"type": "set", "set": {"v": "repeat('x', 9000)", "w": "'short'"}}},
	'"variables": {"v": "text = \'before\'", "w": "text"}');
subscribe($session, q{workflow => 'long', types => '{variable_changed,execution_completed}', variables => true});
$execution = query($node, q{SELECT goflow.start('long')});
@got = messages_until($session, qr/execution_completed/);
is((sort { $b <=> $a } map { length $_->[1] } @got)[0] < 8000, 1, 'no payload is longer than the server takes');
keep_messages($node, @got);
is(query($node, q{SELECT payload->'data'->>'variable', payload->'data' ? 'new', payload->'data'->>'old', payload->'cut' FROM got
	WHERE payload->>'node' = 's' ORDER BY n}), qq{v|f|before|["variables", "new"]\nw|t||["variables"]}, 'it is cut, and says so');
is(query($node, "SELECT length(data->>'new') FROM goflow.events('$execution', '{variable_changed}', '{s}') LIMIT 1"), '9000',
	'events() has all of it');

# ---- who may see what ----

query($node, q{CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN; GRANT CREATE ON SCHEMA public TO alice;
	SELECT goflow.grant_usage('alice'), goflow.grant_usage('bob')});
sub as
{
	my ($role, $sql) = @_;
	my ($out, $err) = ('', '');

	$node->psql('postgres', $sql, stdout => \$out, stderr => \$err, extra_params => [ '-U', $role ]);
	return $out . $err;
}
as('alice', q{SELECT goflow.define('secret', '{"input": {"word": "text"}, "variables": {"v": "text"}, "nodes": {
	"hidden": {"type": "set", "set": {"v": "input.word"}}, "wait": {"type": "signal", "after": "hidden"},
	"fails": {"type": "raise", "after": "wait", "message": "vars.v"}}}')});
my $alice = $node->background_psql('postgres', extra_params => [ '-U', 'alice' ]);
my $bob = $node->background_psql('postgres', extra_params => [ '-U', 'bob' ]);
my $hers = subscribe($alice, '');
subscribe($bob, '');
$execution = as('alice', q{SELECT goflow.start('secret', '{"word": "sesame"}')});
(my $hex = $execution) =~ s/-//g;
$bob->query_safe(qq{LISTEN goflow; LISTEN goflow_$hex; LISTEN goflow_workflow_secret; LISTEN goflow_private_} . '0' x 40);
as('alice', "SELECT goflow.signal('$execution', 'wait')");
@got = messages_until($alice, qr/execution_failed/);
like(join(' ', map { $_->[1] } @got), qr/variable_changed.*sesame.*"message": "sesame"/s, 'alice gets her data');
my @bobs = messages_until($bob, qr/execution_failed/);
is(scalar(grep { $_->[0] =~ /private/ } @bobs), 0, 'bob gets none on his channel, nor on one that he guessed');
unlike(join(' ', map { $_->[1] } @bobs), qr/sesame|hidden|fails|"v"|alice/, 'and ids, states and numbers on the public ones');
is(join(' ', sort keys %{ { map { $_->[0] => 1 } grep { $_->[1] =~ /execution_failed/ } @bobs } }),
	"goflow goflow_$hex goflow_workflow_secret", 'of which there are three');
like(join(' ', map { $_->[1] } grep { $_->[0] eq "goflow_$hex" } @bobs), qr/"event":"node_failed","state":"failed","seq":\d+,"frame":0,"attempt":1/,
	'an execution\'s own has all types');
is(scalar(grep { $_->[0] eq 'goflow_workflow_secret' && $_->[1] !~ /"event":"(execution_|progress_)/ } @bobs), 0,
	'a workflow\'s has what happens to executions, and progress');
like(as('bob', "SELECT * FROM goflow.events('$execution')"), qr/does not exist/, 'events() of another');
like(as('bob', "SELECT goflow.subscribe('$execution')"), qr/does not exist/, 'subscribe() to another\'s execution');
like(as('bob', q{SELECT goflow.subscribe(workflow => 'secret')}), qr/does not exist/, 'and to a workflow');
like(as('bob', "SELECT goflow.unsubscribe('$hers')"), qr/^f$/, 'unsubscribe() of another\'s channel');
is(as('bob', "SELECT count(*) FROM goflow.subscriptions WHERE role <> 'bob'::regrole"), '0', 'the view shows his own');
unlike(as('bob', 'SELECT * FROM pg_stat_activity'), qr/$hers/, 'the name is nowhere to be read');
query($node, 'GRANT alice TO bob');
$execution = as('alice', q{SELECT goflow.start('secret', '{"word": "shared"}')});
as('alice', "SELECT goflow.signal('$execution', 'wait')");
like(join(' ', map { $_->[1] } messages_until($bob, qr/"event":"execution_failed".*"data"/)), qr/shared/, 'a member of the role sees it');
query($node, 'REVOKE alice FROM bob');
$execution = as('alice', q{SELECT goflow.start('secret', '{"word": "mine again"}')});
as('alice', "SELECT goflow.signal('$execution', 'wait')");
messages_until($alice, qr/execution_failed/);
messages_until($bob, qr/"execution":"$execution".*execution_failed|execution_failed.*/);
unlike(join(' ', map { $_->[1] } messages($bob)), qr/mine again/, 'until it is none any more');

# ---- the end of a role ----

define_nodes($node, 'snooze', q{"nap": {"type": "signal"}, "z": {"type": "notify", "channel": "c", "after": "nap"}});
query($node, q{CREATE ROLE carol LOGIN; SELECT goflow.grant_usage('carol'), goflow.grant_start('snooze', 'carol')});
$session->query_safe('UNLISTEN *; LISTEN goflow');
subscribe($session, q{types => '{execution_failed}'});
$execution = as('carol', q{SELECT goflow.start('snooze')});
ok(wait_for($node, "SELECT state = 'waiting' FROM goflow.status('$execution')"), 'carol\'s waits');
query($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'carol'});
query($node, q{SELECT goflow.revoke_usage('carol'), goflow.revoke_start('snooze', 'carol'); DROP ROLE carol});
query($node, "SELECT goflow.signal('$execution', 'nap')");
@got = messages_until($session, qr/"event":"execution_failed".*"data"/);
like(join(' ', map { "@$_" } @got), qr/^goflow .*"execution":"$execution","event":"execution_failed".*"code": "WF206"/s,
	'who listens hears of an execution whose role was dropped');
is(query($node, "SELECT event, data->'error'->>'code' FROM goflow.events('$execution') ORDER BY seq DESC LIMIT 1"),
	'execution_failed|WF206', 'and events() tells it');

is(query($node, q{SELECT count(*) FROM goflow.subscriptions WHERE role::text IN ('alice', 'bob')}), '2', 'alice and bob subscribe');
query($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IN ('alice', 'bob')});
ok(wait_for($node, q{SELECT count(*) = 0 FROM goflow.subscriptions WHERE role::text IN ('alice', 'bob')}), 'until their sessions end');

# ---- a subscriber that is stopped, under load ----

define_chain($node, 'chain', 5);
start_many($node, 'chain', 500);
wait_until_finished($node, 'warm');
$session->query_safe('UNLISTEN *');
my $stalled = $node->background_psql('postgres');
my ($pid) = $stalled->query_safe('SELECT pg_backend_pid()') =~ /(\d+)/;
my $stalled_channel = subscribe($stalled, q{workflow => 'chain', types => '{node_completed}'});
kill 'STOP', $pid;
start_many($node, 'chain', 1500);
wait_until_finished($node, 'with a stopped subscriber');
ok(wait_for($node, "SELECT sent + dropped = 7500 FROM goflow.subscriptions WHERE channel = '$stalled_channel'"),
	'every event was sent or dropped, and counted');
my ($sent, $dropped) = split /\|/, query($node, "SELECT sent, dropped FROM goflow.subscriptions WHERE channel = '$stalled_channel'");
note("sent $sent, dropped $dropped");
kill 'CONT', $pid;
my $arrived = 0;
my $deadline = time() + $Goflow::bound;
$arrived += scalar(messages($stalled)) while $arrived < $sent && time() < $deadline;
is($arrived, $sent, 'what was sent arrives when it goes on');
is_exactly_once($node, 'with a stopped subscriber');

# ---- what is due does not wait until there are no more messages ----

my $flooded = $node->background_psql('postgres');
my ($reader) = $flooded->query_safe('SELECT pg_backend_pid()') =~ /(\d+)/;
subscribe($flooded, q{workflow => 'chain'}) for 1 .. 10;
define_nodes($node, 'due', q{"nap": {"type": "delay", "for": "'20 ms'"}});
my $due = query($node, q{SELECT goflow.start('due', priority => 100) FROM (
	SELECT count(*) FROM goflow.start_many('chain', array_fill('{}'::jsonb, ARRAY[4000]))) x});
wait_until_finished($node, 'with many messages');
is(query($node, qq{SELECT finished_at < (SELECT max(finished_at) FROM goflow.executions WHERE workflow = 'chain')
	FROM goflow.executions WHERE execution = '$due'}), 't', 'a delay ends though messages keep coming');
query($node, "SELECT pg_terminate_backend($reader)");

# ---- a notification queue that fills ----

$node->append_conf('postgresql.conf', "goflow.notification_queue_limit = 0.005\n");
$node->reload;
ok(wait_for($node, q{SELECT current_setting('goflow.notification_queue_limit') = '0.005'}), 'a small limit');
$stalled->query_safe('LISTEN filler; BEGIN; SELECT 1');
query($node, q{SELECT count(pg_notify('filler', g || repeat('x', 7900))) FROM generate_series(1, 7000) g});
cmp_ok(query($node, 'SELECT pg_notification_queue_usage()'), '>', 0.005, 'the queue is filled');
my $before = query($node, "SELECT dropped FROM goflow.subscriptions WHERE channel = '$stalled_channel'");
start_many($node, 'chain', 300);
wait_until_finished($node, 'with a full queue');
ok(wait_for($node, "SELECT dropped = $before + 1500 FROM goflow.subscriptions WHERE channel = '$stalled_channel'"),
	'all is dropped, and counted');
cmp_ok(query($node, q{SELECT value FROM goflow.health() WHERE kind = 'messages' AND name = 'dropped'}), '>=', 1500, 'health() shows it');
is(query($node, q{SELECT count(*) FROM (SELECT execution FROM goflow.executions WHERE workflow = 'chain'
	ORDER BY execution DESC LIMIT 300) x, goflow.events(x.execution, '{node_completed}')}), '1500', 'events() has it all');
is_exactly_once($node, 'with a full queue');
query($node, "SELECT pg_terminate_backend($pid)");
query($node, "SELECT pg_notify('filler', 'the end')");
ok(wait_for($node, 'SELECT pg_notification_queue_usage() < 0.005'), 'the queue drains');
$channel = subscribe($session, q{workflow => 'chain', types => '{execution_completed}'});
start_many($node, 'chain', 1);
is(scalar(messages_until($session, qr/execution_completed/)), 1, 'and messages go on');

# ---- what goflow sends is ASCII: a session whose encoding lacks a character goes on ----

my $latin = $node->background_psql('postgres');
query($node, qq{CREATE ROLE "b\xc3\xb6ss \xf0\x9f\x98\x80"; SELECT goflow.define('\xf0\x9f\x98\x80', '{"variables": {"face": "text = ''\xf0\x9f\x98\x80''"},
	"nodes": {"a": {"type": "set", "set": {"face": "''\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\xe2\x80\xa8'' || vars.face"}}}, "output": {"face": "vars.face"}}')});
define_nodes($node, 'ask_boss', qq{"a": {"type": "approval", "role": "b\xc3\xb6ss \xf0\x9f\x98\x80"}});
$latin->query_safe('SET client_encoding = latin1; LISTEN goflow_approvals');
$channel = subscribe($latin, 'variables => true');
$execution = query($node, qq{SELECT goflow.start('\xf0\x9f\x98\x80')});
@got = messages_until($latin, qr/execution_completed/);
keep_messages($node, @got);
is(differences($node, $execution), '0|0|0', 'the same as events(), in ASCII');
is(scalar(grep { $_->[1] =~ /[^ -~]/ } @got), 0, 'nothing but ASCII');
like($got[-1][1], qr/"workflow":"\\ud83d\\ude00".*\\u00e4\\u20ac\\ud83d\\ude00\\u2028\\ud83d\\ude00/, 'the name, and the value');
my $asked = query($node, q{SELECT goflow.start('ask_boss')});
my ($approval) = grep { $_->[0] eq 'goflow_approvals' } messages_until($latin, qr/approval_waiting/);
like($approval->[1], qr/"role":"b\\u00f6ss \\ud83d\\ude00"/, 'approvals, too');
query($node, qq{SELECT goflow.cancel('$asked')});
query($node, qq{SELECT goflow.define('\xf0\x9f\x98\x80', '{"variables": {"face": "text = repeat(''\xc3\xa4'', 2000)"}, "nodes": {"a": {"type": "set", "set": {"face": "vars.face"}}}}')});
query($node, qq{SELECT goflow.start('\xf0\x9f\x98\x80')});
like((messages_until($latin, qr/execution_completed/))[-1][1], qr/"cut":\["variables"\]/, 'what is too long in ASCII is cut');
$latin->quit;

# ---- a subscription ends with its session ----

is(query($node, 'SELECT count(*) FROM goflow.subscriptions'), '1', 'those of sessions that were terminated have ended');
my ($mine) = $session->query_safe('SELECT pg_backend_pid()') =~ /(\d+)/;
kill 'KILL', $mine;
ok(wait_for($node, 'SELECT count(*) = 0 FROM goflow.subscriptions'), 'and those of one that was killed, with the server');
start_many($node, 'chain', 10);
wait_until_finished($node, 'after a crash');
is_at_rest($node, 'after a crash');

$node->stop('immediate');
done_testing();
