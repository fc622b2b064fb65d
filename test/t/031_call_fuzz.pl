# Random calls of every function by several roles (test/fuzz/CallFuzz.pm): results
# or errors, but no crash and no internal error.  CALLS says how many, GOFLOW_SEED
# repeats an earlier run.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin, "$FindBin::RealBin/../fuzz";
use CallFuzz;
use Goflow;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $calls = $ENV{CALLS} || 3000;
my $seed = seed_random();
my $node = new_server('call_fuzz', conf => "fsync = off\nlog_min_messages = warning\nlog_error_verbosity = verbose\n");
my $postmaster = query($node, 'SELECT pg_postmaster_start_time()');
my (%codes, @internal);
my $done = 0;
my $deadline = time() + ($ENV{CALLS} ? 86400 : 40);

binmode(STDOUT, ':utf8');
query($node, CallFuzz::stage());
my @functions = grep { !/^(wait|follow|adopt|reassign|purge)\|/ } split /\n/, query($node, $CallFuzz::functions);
cmp_ok(scalar(@functions), '>', 40, 'there are functions: ' . @functions);

while ($done < $calls && time() < $deadline)
{
	my $sql = CallFuzz::calls(\@functions, 50);
	my ($status, $out, $err) = (0, '', '');

	utf8::encode($sql);
	$node->psql('postgres', $sql, on_error_stop => 0, on_error_die => 0, stdout => \$out, stderr => \$err, timeout => 180);
	for my $line (split /\n/, $err)
	{
		my ($code) = $line =~ /ERROR:\s+(\w{5})$/;

		$codes{$code}++ if $code;
		push @internal, $line if ($code && $code =~ /^(XX|58)/) || $line =~ /server closed|FATAL|PANIC/;
	}
	$done += 50;
	last if @internal > 20 || $err =~ /server closed/;
}
is(query($node, 'SELECT pg_postmaster_start_time()'), $postmaster, 'the server is still the same') if !@internal;
is(join("\n", @internal), '', "no internal error, no crash in $done calls, seed $seed");
my $log = slurp_file($node->logfile);
is(join("\n", (grep { /signal \d+|ERROR:  XX/ } split /\n/, $log)[ 0 .. 5 ]) =~ s/\n+$//r, '', 'nor in the background');
cmp_ok(scalar(grep { /^WF/ } keys %codes), '>', 5, "goflow's own errors were seen");
note(join(', ', map { "$_ $codes{$_}" } sort keys %codes));

$node->stop('immediate');
done_testing();
