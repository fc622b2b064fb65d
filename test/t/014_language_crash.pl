# Crashes at random moments in the middle of loops, retries that wait, try with
# finally, compensation, sub-workflows and parallel branches.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use Mixture;
use Test::More;

my $seed = seed_random();
my $node = new_server('language_crash', conf => "goflow.max_workers = 6\nmax_wal_size = 4GB\nfsync = off\n");

mixture_define($node);

my $crashes = 0;
my $resumed = 0;

for my $round (1 .. 12)
{
	mixture_start($node, $_, 4) for grep { $_ ne 'long' } mixture_names();
	mixture_start($node, 'long', 1) if $round % 2;
	pause_up_to(400);
	$crashes++ if crash($node, $round % 3 ? 'worker' : 'immediate');
	$resumed += query($node, qq{SELECT count(*) FROM (SELECT FROM mark m JOIN goflow.executions e USING (execution)
		WHERE workflow = 'long' AND finished_at IS NULL GROUP BY execution HAVING count(*) < $Mixture::long) x});
	if ($round % 4 == 0)
	{
		wait_until_finished($node, "round $round, seed $seed");
		is_at_rest($node, "round $round, seed $seed");
	}
}

is($crashes, 12, 'every crash happened');
note("a long loop was interrupted $resumed times");
mixture_is_right($node, "seed $seed");

$node->stop;
done_testing();
