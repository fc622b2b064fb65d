# inputs.pl SOCKET LOG SEED COUNT PROCESSES FILE…: damaged definitions and random
# calls (Inputs.pm) for a server that has been staged.  FILEs have definitions and
# the names of goflow's sources.  It takes at most MINUTES.  Prints what came of them, and what should not have.
use strict;
use warnings;
use File::Basename qw(basename);
use File::Temp qw(tempdir);
use Inputs;
use JSON::PP;
use Time::HiRes qw(time);

my ($socket, $log, $seed, $count, $processes, @files) = @ARGV;
my $json = JSON::PP->new->canonical->latin1;
my $directory = tempdir(CLEANUP => 1);
my $start = time();
my $staged = -s $log;
my $end = $start + 60 * ($ENV{MINUTES} || 100_000);    # at most
my $batch = 200;
my @texts = map { my $file = $_; open(my $in, '<:raw', $file) or die "$file: $!"; local $/; scalar <$in> } grep { /\.sql$/ } @files;
my $super = Wire->new($socket, user => 'fuzz_super', database => 'postgres', statement_timeout => 0);
my @definitions = Inputs::definitions($super, @texts);
my @scripts = Inputs::scripts($super, @texts);

STDOUT->autoflush(1);
printf "%d definitions, %d scripts to begin with\n", scalar @definitions, scalar @scripts;

sub work
{
	my ($process) = @_;
	my $fuzz = Inputs->new(socket => $socket, seed => $seed, name => $process, definitions => \@definitions, scripts => \@scripts,
		sources => [ map { basename($_) } grep { /\.c$/ } @files ]);
	my (@memory, $error);

	eval {
		my $pieces = 0;

		for (my $n = $process * $batch; $n < $count; $n += $processes * $batch)
		{
			$fuzz->batch($n .. ($n + $batch < $count ? $n + $batch : $count) - 1);
			last if time() > $end;
			next if $fuzz->{done} * 10 < $count / $processes * ($pieces + 1);
			$pieces++;
			push @memory, [ $n, @{ $fuzz->memory } ];
			printf "%d inputs, %.0f s\n", $n + $batch, time() - $start if $process == 0;
		}
		push @memory, [ $fuzz->{input}, @{ $fuzz->memory } ];
		1;
	} or $error = $@;
	open(my $out, '>:raw', "$directory/$process") or die;
	print $out $json->encode({ counts => $fuzz->{counts}, findings => $fuzz->{findings}, others => $fuzz->{others}, done => $fuzz->{done},
			slowest => $fuzz->{slowest}, memory => \@memory, called => $fuzz->{called}, functions => scalar @{ $fuzz->{functions} }, error => $error });
	close $out;
}

for my $process (0 .. $processes - 1)
{
	my $pid = fork();

	die "fork: $!" if !defined $pid;
	if (!$pid)
	{
		work($process);
		require POSIX;
		POSIX::_exit(0);
	}
}
1 while wait() != -1;

# ---- what came of it ----

my (%counts, %others, %called, @findings);
my $functions = 0;
my ($done, $slowest, $growth) = (0, 0, 0);

for my $process (0 .. $processes - 1)
{
	open(my $in, '<:raw', "$directory/$process") or do { push @findings, "process $process died"; next; };
	my $result = $json->decode(do { local $/; <$in> });

	for my $kind (keys %{ $result->{counts} })
	{
		$counts{$kind}{$_} += $result->{counts}{$kind}{$_} for keys %{ $result->{counts}{$kind} };
	}
	$others{$_} += $result->{others}{$_} for keys %{ $result->{others} };
	$called{$_} += $result->{called}{$_} for keys %{ $result->{called} };
	$functions = $result->{functions};
	push @findings, @{ $result->{findings} };
	push @findings, "process $process: $result->{error}" if $result->{error} && $result->{error} ne "too many\n";
	$done += $result->{done};
	$slowest = $result->{slowest} if $result->{slowest} > $slowest;
	my @memory = @{ $result->{memory} };
	if (@memory > 2)
	{
		printf "memory of a session: contexts %.1f MB after %d inputs, %.1f MB after %d; process %.1f MB, %.1f MB\n",
		  $memory[0][1] / 1e6, $memory[0][0], $memory[-1][1] / 1e6, $memory[-1][0], $memory[0][2] / 1e6, $memory[-1][2] / 1e6;
		$growth = $memory[-1][1] - $memory[1][1] if $memory[-1][1] - $memory[1][1] > $growth;
	}
}
push @findings, sprintf('a session has grown by %.1f MB', $growth / 1e6) if $growth > 30e6;
for my $kind (sort keys %counts)
{
	my (%classes, $n);

	for my $code (keys %{ $counts{$kind} })
	{
		$classes{ $code =~ /^(ok|lost)$/ ? $code : substr($code, 0, 2) } += $counts{$kind}{$code};
		$n += $counts{$kind}{$code};
	}
	printf "%-20s %8d: %s\n", $kind, $n, join(', ', map { "$_ $classes{$_}" } sort { $classes{$b} <=> $classes{$a} } keys %classes);
}
my %own = map { %$_ } values %counts;
printf "%d of %d functions were called\n", scalar(keys %called), $functions;
printf "codes of goflow that were seen: %s\n", join(' ', sort grep { /^WF/ } keys %own);
my %workers = map { $_->[0] => $_->[1] } @{ Wire->new($socket, user => 'fuzz_super', database => 'postgres', statement_timeout => 0)->query(
		q{SELECT coalesce(left(error ->> 'code', 2), 'ok'), count(*) FROM goflow.executions WHERE finished_at IS NOT NULL GROUP BY 1})->{rows} };
printf "executions: %s\n", join(', ', map { "$_ $workers{$_}" } sort keys %workers);
printf "an internal error of a node's SQL: %s (%d)\n", $_, $others{$_} for sort keys %others;

# What sessions have not been told.  The tests that were run before ask for damaged values.
open(my $in, '<:raw', $log) or die "$log: $!";
my %seen;
while (my $line = <$in>)
{
	my $is_bad = $line =~ /PANIC|TRAP:|terminated by signal|AddressSanitizer|runtime error:/ ||
	  ($line =~ /ERROR:  (XX|58)/ && tell($in) > $staged);

	push @findings, "the server's log: $line" if $is_bad && !$seen{$line}++;
}
print "FINDING $_\n" for @findings;
printf "%d inputs, %d findings, %.0f s, longest answer %.1f s\n", $done, scalar @findings, time() - $start, $slowest;
exit(@findings ? 1 : 0);
