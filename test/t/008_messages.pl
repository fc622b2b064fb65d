# LISTEN: what arrives, what does not, and that nobody waits for a listener.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use Test::More;

my $node = new_server('messages');
my ($execution, $out);
my $uuid = qr/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/;

define_chain($node, 'chain', 3);
define_slow($node, 'slow', 3, 0.1);
define_nodes($node, 'secret', q{"a": {"type": "sql", "sql": "SELECT 'the secret'::text AS x"},
	"b": {"type": "sql", "after": ["a"], "sql": "SELECT 1 / 0 AS y, a.x FROM (SELECT 1) z"}}, '"input": {"word": "text"}');

# Messages that a session has got by now.
sub messages
{
	my ($session) = @_;
	my @messages = ();
	my $answer = $session->query('SELECT pg_sleep(0.02)');

	while ($answer =~ /Asynchronous notification "([^"]*)" with payload "(.*)" received/g)
	{
		push @messages, "$1 $2";
	}
	return @messages;
}

# Collects messages until one matches, with a bound.
sub messages_until
{
	my ($session, $pattern) = @_;
	my @all;
	my $deadline = time() + $Goflow::bound;

	while (time() < $deadline)
	{
		push @all, messages($session);
		return @all if grep { $_ =~ $pattern } @all;
	}
	return @all;
}

my $public = $node->background_psql('postgres');
$public->query_safe('LISTEN goflow');

# ---- lifecycle ----

$execution = query($node, q{SELECT goflow.start('slow')});
my @got = messages_until($public, qr/execution_completed/);
is(scalar(@got), 2, 'two messages of an execution on the public channel');
like($got[0], qr/^goflow \{"execution":"$execution","event":"execution_started","state":"[a-z]+",.*"total":3/, 'it started');
like($got[1], qr/^goflow \{"execution":"$execution","event":"execution_completed","state":"completed",.*"percent":100\.00/,
	'it completed');
is(query($node, "SELECT state FROM goflow.status('$execution')"), 'completed', 'a message comes after the commit');

$execution = query($node, q{SELECT goflow.start('secret', '{"word": "the secret word"}')});
@got = messages_until($public, qr/execution_failed/);
is(scalar(@got), 2, 'two of one that fails');
unlike(join(' ', @got), qr/secret|zero|postgres/, 'ids, states and numbers only');
for my $message (@got)
{
	like($message, qr/^goflow \{"execution":"$uuid","event":"[a-z_]+","state":"[a-z]+","seq":\d+,(?:"(?:total|completed|failed|skipped)":\d+,){4}"percent":\d+\.\d\d,"at":"[-0-9T:.+]+"\}$/,
		'nothing else');
}

# a rollback tells nobody
query($node, q{BEGIN; SELECT goflow.start('chain'); ROLLBACK});

# ---- one execution's own channel ----

my $own = $node->background_psql('postgres');
$execution = query($node, q{BEGIN; SELECT goflow.start('slow') \gset
	SELECT 'goflow_' || replace(:'start', '-', ''), :'start'; PREPARE TRANSACTION 'start'});
my $channel;
($channel, $execution) = split /\|/, $execution;
$own->query_safe("LISTEN $channel");
query($node, q{COMMIT PREPARED 'start'});
@got = messages_until($own, qr/execution_completed/);
cmp_ok(scalar(@got), '>=', 4, 'its own channel tells more');
is(scalar(grep { !/^$channel .*"execution":"$execution"/ } @got), 0, 'of this execution only');
my @percents = map { /"percent":([0-9.]+)/ } @got;
is(join(' ', @percents), join(' ', sort { $a <=> $b } @percents), 'the percentage never goes down');
is(scalar(grep { /progress_update.*"completed":1/ } @got), 1, 'each change once');
$own->query_safe('UNLISTEN *');
@got = messages_until($public, qr/execution_completed/);
is(scalar(@got), 2, 'of the one that was rolled back there was no message');

# ---- silence ----

$node->append_conf('postgresql.conf', "goflow.public_events = off\n");
$node->reload;
ok(wait_for($node, q{SELECT current_setting('goflow.public_events') = 'off'}), 'public_events = off');
query($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type ~ 'goflow (worker|scheduler)'});
start_many($node, 'chain', 10);
wait_until_finished($node, 'silenced');
$node->append_conf('postgresql.conf', "goflow.public_events = on\n");
$node->reload;
ok(wait_for($node, q{SELECT current_setting('goflow.public_events') = 'on'}), 'public_events = on');
query($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type ~ 'goflow (worker|scheduler)'});
$execution = query($node, q{SELECT goflow.start('chain')});
@got = messages_until($public, qr/$execution.*execution_completed/);
is(scalar(grep { !/$execution/ } @got), 0, 'public_events = off silences');

# ---- nobody listens; a listener does not read ----

# (a message is counted after the commit that sends it)
$public->query_safe('UNLISTEN goflow');
query($node, q{SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE backend_type = 'goflow scheduler'});
my $sent = query($node, q{SELECT value FROM goflow.health() WHERE kind = 'messages' AND name = 'sent'});
start_many($node, 'chain', 500);
wait_until_finished($node, 'nobody listens');
is(query($node, q{SELECT value FROM goflow.health() WHERE kind = 'messages' AND name = 'sent'}), $sent,
	'nothing is sent when nobody listens');

$own->query_safe('LISTEN goflow');
$own->query_safe('BEGIN; SELECT 1');
start_many($node, 'chain', 2000);
wait_until_finished($node, 'a listener that does not read');
ok(wait_for($node, "SELECT value > $sent FROM goflow.health() WHERE kind = 'messages' AND name = 'sent'"), 'it is sent to, though');
like($own->query_safe('COMMIT'), qr/execution_completed/, 'and gets its messages when it reads');
is_exactly_once($node, 'with listeners');
is_at_rest($node, 'with listeners');

$public->quit;
$own->quit;
$node->stop;
done_testing();
