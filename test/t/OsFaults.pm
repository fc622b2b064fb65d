# What the operating system does to the servers of a test: the clock is set, the
# disk of the tablespaces is full, that of the log takes its time.  os_faults.c is
# preloaded into them.
package OsFaults;

use strict;
use warnings;

use Exporter 'import';
use FindBin;
use Goflow;
use PostgreSQL::Test::Utils;

our @EXPORT = qw(with_os_faults clock_jumps clock_offset clock_waits fill_disk free_disk hold_flushes release_flushes move_to_tablespace);

my $dir = PostgreSQL::Test::Utils::tempdir();
my $state = "$dir/state";
my $library = "$dir/os_faults.so";
my ($offset, $full, $waits, $held) = (0, 0, 0, 0);

sub apply
{
	open(my $file, '+<', $state) or die "$state: $!";
	binmode($file);
	syswrite($file, pack('qqqq', $offset * 1_000_000, $full, $waits, $held)) == 32 or die "$state: $!";
	close($file);
	return 1;
}

# Servers that are started in the block obey what follows.
sub with_os_faults(&)
{
	my ($code) = @_;

	unless (-e $library)
	{
		my $pg_config = $ENV{PG_CONFIG} || 'pg_config';
		my $compiler = `$pg_config --cc`;

		chomp $compiler;
		system_or_bail(split(' ', $compiler), qw(-O2 -shared -fPIC -o), $library, "$FindBin::RealBin/os_faults.c", '-ldl');
		open(my $file, '>', $state) or die "$state: $!";
		syswrite($file, pack('qqqq', 0, 0, 0, 0));
		close($file);
	}
	local $ENV{GOFLOW_OS_FAULTS} = $state;
	local $ENV{LD_PRELOAD} = join(' ', $library, grep { $_ } $ENV{LD_PRELOAD});
	return $code->();
}

# Seconds, forward or (negative) backward.
sub clock_jumps
{
	my ($seconds) = @_;

	$offset += $seconds;
	return apply();
}

sub clock_offset { return $offset; }

# Who looks at the clock waits so many microseconds before he sees it.
sub clock_waits
{
	($waits) = @_;

	return apply();
}

# No file in a tablespace can grow, until free_disk().
sub fill_disk { $full = 1; return apply(); }
sub free_disk { $full = 0; return apply(); }

# No commit of this process (of any, without one) comes back, until release_flushes().
sub hold_flushes { $held = $_[0] // -1; return apply(); }
sub release_flushes { $held = 0; return apply(); }

# Gives a database a tablespace of its own.  It is a directory below pg_tblspc, so
# that a standby on this machine can have it, too; this wants allow_in_place_tablespaces.
sub move_to_tablespace
{
	my ($node, $database) = @_;

	$node->safe_psql('template1', "CREATE TABLESPACE disk LOCATION ''; ALTER DATABASE $database SET TABLESPACE disk");
	return;
}

1;
