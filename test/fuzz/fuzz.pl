# fuzz.pl FIRST COUNT: compares that many seeds on the server of the environment.
use strict;
use warnings;
use File::Temp;
use Fuzz;
use Time::HiRes qw(time);

my ($first, $count) = @ARGV;
my ($agreed, $ambiguous, $start) = (0, 0, time());
my $query = sub {
	my ($sql) = @_;
	my $file = File::Temp->new;

	print $file "SET client_min_messages = error;\n$sql";
	close $file;
	my $output = qx('$ENV{PSQL}' -XAtq -v ON_ERROR_STOP=1 -f '$file' 2>&1);
	die $output if $?;
	chomp $output;
	return $output;
};

$query->($Fuzz::tables);
for (my $seed = $first; $seed < $first + $count; $seed += 50)
{
	my $last = $seed + 49 < $first + $count ? $seed + 49 : $first + $count - 1;
	my ($good, $vague, $messages) = eval { Fuzz::check($query, $seed .. $last) };

	print "seeds $seed to $last: $@\n" if $@;
	next if $@;
	$agreed += $good;
	$ambiguous += $vague;
	print @$messages;
}
printf "%d of %d seeds agreed (%d of them without a prediction), %.0f s\n", $agreed, $count, $ambiguous, time() - $start;
exit($agreed == $count ? 0 : 1);
