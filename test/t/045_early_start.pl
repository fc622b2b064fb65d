# Executions that begin while the commit that started them is flushed: which
# commits are seen before, that none is answered before, and what a crash leaves;
# and start_and_wait(), which has the end flushed alone.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use IPC::Run;
use OsFaults;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = with_os_faults { new_server('early_start', conf => "fsync = on\nsynchronous_commit = on\nmax_wal_size = 4GB\n"
	  . "checkpoint_timeout = 1h\nwal_writer_delay = 10s\nwal_level = replica\nmax_wal_senders = 2\n") };

define_chain($node, 'one', 1);
query($node, 'CREATE TABLE item (k int)');

my $script = PostgreSQL::Test::Utils::tempdir() . '/script';
my $flushes = "wait_event ILIKE ANY ('{WALSync,WALWrite}')";
my $held = "FROM pg_stat_activity WHERE application_name = 'held'";

# Runs statements in a session of their own.
sub begin_session
{
	my ($sql) = @_;
	my ($out, $err) = ('', '');
	local $ENV{PGAPPNAME} = 'held';

	open(my $file, '>', $script) or die "$script: $!";
	print $file $sql;
	close($file);
	return { out => \$out, err => \$err,
		run => IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $script ],
			'<', \undef, '>', \$out, '2>', \$err) };
}

# The same while no flush comes back, up to the moment when it waits for one.
sub begin_held
{
	my ($sql) = @_;

	hold_flushes();
	my $session = begin_session($sql);
	ok(wait_for($node, "SELECT EXISTS (SELECT $held AND $flushes)"), "waits for the disk: $sql");
	return $session;
}

sub end_session
{
	my ($session) = @_;

	release_flushes();
	IPC::Run::finish($session->{run});
	return ${ $session->{out} };
}

sub executions { return query($node, 'SELECT count(*) FROM goflow.executions'); }

sub all_is_well
{
	my ($what) = @_;

	wait_until_finished($node, $what);
	is_exactly_once($node, $what);
	return is_at_rest($node, $what);
}

# ---- the worker has run before the client has its answer, and nobody sees what it did ----

my $session = begin_held(q{SELECT goflow.start('one') IS NOT NULL});
is(executions(), 1, 'others see the execution');
ok(wait_for($node, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'goflow worker' AND $flushes)"),
	'a worker has run it, and flushes');
is(query($node, "SELECT count(*) FROM effect"), 0, 'nobody sees what it did');
is(query($node, "SELECT count(*) $held AND state = 'active'"), 1, 'who started it has no answer');
is(end_session($session), "t\n", 'he has it then');
all_is_well('one execution');

# ---- which commits others see early ----

my $start = q{SELECT goflow.start('one') IS NOT NULL};
for my $case (
	[ 1, "SET synchronous_commit = local; $start; SHOW synchronous_commit", "t\nlocal\n" ],
	[ 1, "BEGIN; SET LOCAL synchronous_commit = local; $start; COMMIT; SHOW synchronous_commit", "t\non\n" ],
	[ 1, "BEGIN; SET synchronous_commit = local; $start; COMMIT; SHOW synchronous_commit", "t\nlocal\n" ],
	[ 2, "BEGIN; $start; SAVEPOINT a; $start; COMMIT", "t\nt\n" ],
	[ 3, q{SELECT count(*) FROM goflow.start_many('one', array_fill('{}'::jsonb, ARRAY[3]))}, "3\n" ],
	[ 0, "BEGIN; INSERT INTO item VALUES (1); $start; COMMIT", "t\n" ],
	[ 0, "BEGIN; $start; INSERT INTO item VALUES (1); COMMIT", "t\n" ],
	[ 0, "BEGIN; $start; INSERT INTO item VALUES (1); $start; COMMIT", "t\nt\n" ],
	[ 0, "BEGIN; $start; SAVEPOINT a; $start; ROLLBACK TO a; COMMIT", "t\nt\n" ],
	[ 0, q{SELECT goflow.start('one', key => 'k') IS NOT NULL}, "t\n" ],
	[ 0, "SET goflow.early_start = off; $start", "t\n" ])
{
	my ($early, $sql, $answer) = @$case;
	my $before = executions();

	$session = begin_held($sql);
	is(executions() - $before, $early, "$early seen early");
	is(end_session($session), $answer, 'and answered as ever');
}
all_is_well('all kinds of commits');

# ---- who does not wait for the disk is answered at once ----

hold_flushes();
$session = begin_session("SET synchronous_commit = off; $start");
IPC::Run::finish($session->{run});
is(${ $session->{out} }, "t\n", 'without synchronous_commit it does not wait');
release_flushes();
all_is_well('without synchronous_commit');

# ---- a synchronous standby: nobody sees what it does not have ----

my $before = executions();
setting($node, 'synchronous_standby_names', 'nobody');
$session = begin_session($start);
ok(wait_for($node, "SELECT EXISTS (SELECT $held AND wait_event = 'SyncRep')"), 'it waits for the standby');
is(executions(), $before, 'and is not seen before');
setting($node, 'synchronous_standby_names', '');
is(end_session($session), "t\n", 'it is answered when there is none any more');
all_is_well('with a standby');

# ---- a commit that fails at its very end: of two that cannot be put in an order the second ----

$before = executions();
my $other = begin_session(q{
	SELECT pg_advisory_lock(1);
	DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;
	BEGIN ISOLATION LEVEL SERIALIZABLE;
	SELECT FROM goflow.executions;
	INSERT INTO item VALUES (1);
	COMMIT;});
ok(wait_for($node, q{SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory')}), 'one is about to begin');
$session = begin_session(qq{
	\\set ON_ERROR_STOP 0
	BEGIN ISOLATION LEVEL SERIALIZABLE;
	SELECT FROM item;
	$start;
	SELECT pg_advisory_lock(1) IS NULL;
	COMMIT;
	SHOW synchronous_commit;});
end_session($other);
like(end_session($session), qr/t\nf\non\n$/, 'the setting is as it was');
like(${ $session->{err} }, qr/could not serialize access/, 'the commit fails');
is(executions(), $before, 'and has started nothing');
is(query($node, $start), 't', 'the next one goes on');
all_is_well('after a commit that failed');

# ---- who waits for the end has one flush to wait for, that of the end ----

my $call = "CALL goflow.start_and_wait('one')";
my $works = "FROM pg_stat_activity WHERE backend_type = 'goflow worker' AND $flushes";
for my $case ([ $call, 1 ], [ "SET goflow.early_start = off; $call", 0 ], [ "CALL goflow.start_and_wait('one', key => 'w')", 0 ])
{
	my ($sql, $early) = @$case;

	hold_flushes();
	$session = begin_session($sql);
	ok(wait_for($node, 'SELECT EXISTS (SELECT ' . ($early ? $works : "$held AND $flushes") . ')'), "the disk: $sql");
	is(query($node, "SELECT count(*) $held AND $flushes"), 1 - $early, $early ? 'who called does not wait for it' : 'who called waits for it');
	is(query($node, "SELECT count(*) $held AND state = 'active'"), 1, 'and has no answer');
	like(end_session($session), qr/\|completed\|\|$/, 'he has it when the end is on disk');
}
hold_flushes();
$session = begin_session("SET goflow.early_start = on; CALL goflow.start_and_wait('one', timeout => '0')");
ok(wait_for($node, "SELECT EXISTS (SELECT $held AND $flushes)"), 'who is answered before the end waits for the disk');
like(end_session($session), qr/\|(queued|running|completed)\|\|$/, 'the state of the moment');
all_is_well('start_and_wait()');

# ---- who commits is terminated, or killed ----

$session = begin_held($start);
query($node, "SELECT pg_terminate_backend(pid) $held");
is(end_session($session), "t\n", 'who is terminated has committed, and says so');
all_is_well('terminated');

for my $victim ("SELECT pid $held", "SELECT pid FROM pg_stat_activity WHERE backend_type = 'goflow worker' AND $flushes")
{
	my ($launcher) = processes($node, 'launcher');

	$session = begin_held($start);
	ok(wait_for($node, "SELECT EXISTS ($victim)"), 'there is somebody to kill');
	kill('KILL', query($node, $victim));
	release_flushes();
	ok(wait_for($node, "SELECT pid <> $launcher FROM pg_stat_activity WHERE backend_type = 'goflow launcher'"), 'the server is back');
	end_session($session);
	all_is_well('killed');
}

# ---- a crash takes all of what nobody was told, or nothing ----

{
	my ($launcher) = processes($node, 'launcher');

	hold_flushes();
	$session = begin_session($call);
	ok(wait_for($node, "SELECT EXISTS (SELECT $works)"), 'its end is not on disk');
	kill('KILL', query($node, "SELECT pid $held"));
	release_flushes();
	ok(wait_for($node, "SELECT pid <> $launcher FROM pg_stat_activity WHERE backend_type = 'goflow launcher'"), 'the server is back');
	end_session($session);
	is(${ $session->{out} }, '', 'nobody was answered');
	all_is_well('killed in start_and_wait()');
}

$node->stop;
done_testing();
