# Everything at once, while processes are killed, terminated and cancelled, the
# server is stopped and settings change.  make chaos does a thousand faults;
# FAULTS says how many, GOFLOW_SEED repeats the choices of an earlier run.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use Mixture;
use IPC::Run;
use Test::More;

my $faults = $ENV{FAULTS} || 15;
my $seed = seed_random();
my $node = new_server('chaos', conf => "goflow.max_workers = 6\nmax_wal_size = 4GB\nfsync = off\n"
	  . "goflow.rescan_interval = 5s\ngoflow.scheduler_idle_timeout = 200ms\ngoflow.worker_idle_timeout = 500ms\nrestart_after_crash = on\n");

# A cancel from outside is an error of the node that runs, so all of them run again then.
mixture_define($node, '"retry": {"attempts": 100, "backoff": "1 ms", "factor": 1, "on": ["57014"]}');

my %done;

sub one_of { return $_[ int(rand(@_)) ]; }

# To one process of goflow, by the server's own functions.
sub ask
{
	my ($function) = @_;
	my ($done, $output) = try_query($node, "SELECT $function(pid) FROM pg_stat_activity"
		  . q{ WHERE backend_type = 'goflow worker' ORDER BY random() LIMIT 1});

	return $done && $output eq 't';
}

# A client that is killed takes the whole server with it.
sub kill_client
{
	my $client = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', 'SELECT goflow.wait(goflow.start($$waits$$)) FROM pg_sleep(30)' ],
		'>', \my $out, '2>', \my $err);
	my $pid = '';

	for my $try (1 .. 100)
	{
		(undef, $pid) = try_query($node, q{SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND backend_type = 'client backend'});
		last if $pid =~ /^\d+$/;
		pause_up_to(20);
	}
	my $killed = $pid =~ /^\d+$/ && kill('KILL', $pid);
	$client->finish;
	return $killed;
}

sub restart
{
	my ($mode) = @_;

	$node->stop($mode, fail_ok => 1);
	$node->start(fail_ok => 1) || $node->start;
	return 1;
}

sub settings
{
	my %new = (
		'goflow.max_workers' => one_of(1 .. 6),
		'goflow.batch_nodes' => one_of(1, 5, 50, 500),
		'goflow.batch_time' => one_of('1ms', '10ms', '100ms'),
		'goflow.fuse' => one_of('1ms', '10ms', '50ms'),
		'goflow.cancel_grace' => one_of('100ms', '10s'));
	my $name = one_of(sort keys %new);
	my ($done) = try_query($node, "ALTER SYSTEM SET $name = '$new{$name}'");

	return $done && (try_query($node, 'SELECT pg_reload_conf()'))[0];
}

my %fault = (
	(map { my $kind = $_; ("kill $kind" => sub { kill_process($node, $kind, 'KILL') }) } qw(worker helper scheduler launcher)),
	(map { my $kind = $_; ("term $kind" => sub { kill_process($node, $kind, 'TERM') }) } qw(worker helper scheduler launcher)),
	'kill client' => \&kill_client,
	'terminate' => sub { ask('pg_terminate_backend') },
	'cancel' => sub { ask('pg_cancel_backend') },
	'stop immediate' => sub { restart('immediate') },
	'stop fast' => sub { restart('fast') },
	'settings' => \&settings);

sub server_is_up
{
	return wait_for($node, q{SELECT value = 1 FROM goflow.health() WHERE kind = 'server' AND name = 'launcher'}, 'the server is back');
}

my $total = 0;

while ($total < $faults)
{
	my @history;

	for my $i (1 .. 5)
	{
		server_is_up() or BAIL_OUT('the server does not come back');
		mixture_start($node, one_of(grep { $_ ne 'long' } mixture_names()), 4) for 1 .. 4;
		mixture_start($node, 'long', 1) if rand() < 0.1;
		pause_up_to(300);

		my $kind = one_of(sort keys %fault);

		for my $try (1 .. 20)
		{
			last if $fault{$kind}->() && ++$done{$kind} && ++$total && push @history, $kind;
			pause_up_to(20);
			$kind = one_of(sort keys %fault);
		}
	}
	server_is_up() or BAIL_OUT('the server does not come back');
	wait_until_finished($node, join(', ', @history) . ", seed $seed") or last;
	is_at_rest($node, "seed $seed");
}

cmp_ok($total, '>=', $faults, 'faults: ' . join(', ', map { "$done{$_} $_" } sort keys %done));
mixture_is_right($node, "seed $seed");
is(query($node, q{SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE backend_type ~ 'goflow' AND locktype = 'advisory'}),
	'0', 'no lock is left');

$node->stop;
done_testing();
