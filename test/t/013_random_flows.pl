# Random workflows: model, run() and workers come to the same (test/fuzz).
# GOFLOW_SEED and GOFLOW_SEEDS choose others than the first 1000; make fuzz runs any number.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin, "$FindBin::RealBin/../fuzz";
use Fuzz;
use Goflow;
use Test::More;
use Time::HiRes qw(time);

my $first = $ENV{GOFLOW_SEED} || 1;
my $wanted = $ENV{GOFLOW_SEEDS} || 1000;
my ($least, $seconds) = (200, 60);    # so many at least, more for so long at most
my $node = new_server('random_flows', conf => "fsync = off\nlog_min_messages = error\n");
my $query = sub { return query($node, "SET client_min_messages = error;\n$_[0]"); };
my ($count, $agreed, $ambiguous, $start) = (0, 0, 0, time());

$query->($Fuzz::tables);
while ($count < $wanted && ($count < $least || time() < $start + $seconds))
{
	my @seeds = map { $first + $count + $_ } 0 .. 49;
	my ($good, $vague, $messages) = Fuzz::check($query, @seeds);

	$count += @seeds;
	$agreed += $good;
	$ambiguous += $vague;
	diag($_) for @$messages;
	last if @$messages > 5;
}
is($agreed, $count, 'model, run() and workers agree: ' . $count . ' seeds from ' . $first);
cmp_ok($ambiguous, '<', $count / 10, 'most of them can be predicted');
is_at_rest($node, 'random flows');

$node->stop;
done_testing();
