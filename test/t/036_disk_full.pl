# No file can grow for a while: what goflow has to write waits for room, and is
# there once; a statement that needs room fails as any other does.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use OsFaults;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = with_os_faults
{
	new_server('disk_full', conf => "goflow.max_workers = 2\nallow_in_place_tablespaces = on\nfsync = off\n");
};
my $insert = qq("type": "sql", "rows": "none", "sql": "INSERT INTO wide SELECT execution.id, noise() FROM generate_series(1, 20)");
my $input = '"input": {"pause": "interval"}';
my $delay = '"d": {"type": "delay", "for": "input.pause"}';
my $again = qq("retry": {"attempts": 1000, "backoff": "10 ms", "factor": 1, "on": "53100"});

move_to_tablespace($node, 'postgres');
query($node, q{
	CREATE TABLE wide (execution uuid, filler text);
	CREATE FUNCTION noise() RETURNS text LANGUAGE sql VOLATILE AS $$SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 200)$$});

# Has something not been written?  That is in the log, or an attempt of a statement failed.
sub is_full
{
	my ($execution, $seen) = @_;

	for my $try (1 .. $Goflow::bound * 50)
	{
		return 1 if slurp_file($node->logfile, $seen) =~ /No space left on device/;
		return 1 if query($node, "SELECT bool_or(error ->> 'code' = '53100') FROM goflow.nodes('$execution')") eq 't';
		usleep(20_000);
	}
	return 0;
}

# Starts a workflow, and fills the disk while it is in its delay, which is longer
# the next time if it was too short.
sub start_and_fill
{
	my ($name) = @_;
	my ($execution, $seen, $waits);

	for my $pause (0.3, 1, 3, 10, 30)
	{
		$execution = query($node, qq(SELECT goflow.start('$name', '{"pause": "$pause seconds"}')));
		$seen = -s $node->logfile;
		wait_for($node, "SELECT state NOT IN ('queued', 'running') FROM goflow.status('$execution')");
		fill_disk();
		$waits = query($node, "SELECT state = 'waiting' FROM goflow.status('$execution')") eq 't';
		last if $waits;
		free_disk();
	}
	ok($waits, "$name: it waits");
	ok(is_full($execution, $seen), "$name: the disk is full");
	return $execution;
}

# What only goflow writes, or what no policy is for.
my %flows = (
	'items' => [ qq($delay, "l": {"type": "loop", "after": "d", "for": "SELECT i, noise() AS x FROM generate_series(1, 40) i",
		"body": {"nodes": {"s": {"type": "sql", "rows": "none", "sql": "INSERT INTO effect SELECT execution.id, 'l' || item.i", $again}}}}), 'completed', 40 ],
	'results' => [ qq($delay, "l": {"type": "loop", "after": "d", "repeat": 40, "collect": "noise()",
		"body": {"nodes": {"s": {"type": "sql", "rows": "none", "sql": "INSERT INTO effect SELECT execution.id, 'l' || loop.index", $again}}}}), 'completed', 40 ],
	'transform' => [ qq($delay, "t": {"type": "transform", "after": "d", "value": {"x": "(SELECT string_agg(noise(), ',') FROM generate_series(1, 20))"}},
		"e": {"type": "sql", "rows": "none", "after": "t", "sql": "INSERT INTO effect SELECT execution.id, 'e'", $again}), 'completed', 1 ],
	'undo' => [ qq("a": {"type": "transform", "value": {"x": "1"}, "compensate": "WITH w AS (INSERT INTO wide SELECT execution.id, noise() FROM generate_series(1, 20) RETURNING 1) INSERT INTO effect SELECT execution.id, 'undo' FROM w LIMIT 1"},
		"d": {"type": "delay", "after": "a", "for": "input.pause"}, "r": {"type": "raise", "after": "d", "message": "'no'"}), 'failed', 1 ]);

for my $name (sort keys %flows)
{
	my ($nodes, $end, $effects) = @{ $flows{$name} };

	define_nodes($node, $name, $nodes, $input);
	my $execution = start_and_fill($name);
	is(query($node, "SELECT finished_at FROM goflow.status('$execution')"), '', "$name: nothing has failed");
	free_disk();
	is(query($node, "SELECT goflow.wait('$execution')"), $end, "$name: it goes on when there is room");
	is(query($node, "SELECT count(*), count(DISTINCT node) FROM effect WHERE execution = '$execution'"), "$effects|$effects",
		"$name: every effect exactly once");
	is(query($node, "SELECT error -> 'undo_errors' FROM goflow.status('$execution')"), '', "$name: all is undone");
}

# a statement of the workflow, without a policy and with one; its rows are its own, too
define_nodes($node, 'fails', qq($delay, "s": {"after": "d", $insert}), $input);
my $execution = start_and_fill('fails');
free_disk();
is(query($node, "SELECT goflow.wait('$execution')"), 'failed', 'a statement that needs room fails');
is(query($node, "SELECT error ->> 'code' FROM goflow.status('$execution')"), '53100', 'and says why');
define_nodes($node, 'again', qq($delay, "s": {"after": "d", $again, $insert},
	"m": {"type": "sql", "after": "d", "rows": "many", $again, "sql": "SELECT i, noise() AS x FROM generate_series(1, 40) i"},
	"n": {"type": "sql", "after": "m", "sql": "SELECT count(*) AS n FROM m"}), qq($input, "output": {"n": "n.n"}));
$execution = start_and_fill('again');
free_disk();
is(query($node, "SELECT goflow.wait('$execution')"), 'completed', 'or is tried again');
is(query($node, "SELECT goflow.result('$execution')"), '{"n": 40}', 'its rows are there');
is(query($node, "SELECT count(*) FROM wide WHERE execution = '$execution'"), '20', 'and its effect, exactly once');
is_at_rest($node, 'at the end');

$node->stop;
done_testing();
