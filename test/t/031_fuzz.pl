# Damaged definitions and random calls by every kind of role (test/fuzz/Inputs.pm):
# results or errors that goflow or the server's parser means, but no crash, no
# hang, no internal error.  INPUTS says how many, GOFLOW_SEED repeats an earlier run;
# make fuzz does it with what all tests define.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin, "$FindBin::RealBin/../fuzz";
use Goflow;
use Inputs;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $inputs = $ENV{INPUTS} || 2000;
my $seed = seed_random();
my $node = new_server('fuzz', conf => "fsync = off\nlog_min_messages = error\nlog_error_verbosity = verbose\n");
my @files = (map({ "sql/$_.sql" } qw(define_errors define_language define_sql validate)), 'examples/order_saga.sql', 'examples/etl_files.sql');
my ($least, $seconds) = (400, $ENV{INPUTS} ? 86400 : 15);    # so many at least, more for so long at most

# One file of examples is executed; the others have definitions in their texts.
$node->psql('postgres', slurp_file('examples/order_saga.sql'));
Inputs::stage(sub { $node->safe_psql($_[1] || 'postgres', $_[0]); });
my $socket = $node->host . '/.s.PGSQL.' . $node->port;
my $super = Wire->new($socket, user => 'fuzz_super', database => 'postgres', statement_timeout => 0);
my @texts = map { slurp_file($_) } @files;
my @definitions = Inputs::definitions($super, @texts);
my @scripts = Inputs::scripts($super, @texts);
my $fuzz = Inputs->new(socket => $socket, seed => $seed, name => 0, definitions => \@definitions, scripts => \@scripts,
	sources => [qw(define.c start.c query.c signal.c task.c approval.c steer.c owner.c inline.c analyze.c analyze_node.c attempt.c settings.c types.c report.c)]);

cmp_ok(scalar(@definitions), '>', 200, 'there are definitions: ' . @definitions);
cmp_ok(scalar(@scripts), '>', 3, 'and builder statements: ' . @scripts);
is(scalar(@{ $fuzz->{functions} }), query($node, "SELECT count(*) FROM pg_proc WHERE pronamespace = 'goflow'::regnamespace"), 'every function is called');
my $deadline = time() + $seconds;
while ($fuzz->{done} < $inputs && ($fuzz->{done} < $least || time() < $deadline))
{
	last if !eval { $fuzz->batch($fuzz->{done} .. $fuzz->{done} + 199); 1; } && ($@ eq "too many\n" || die $@);
}
is(join("\n", @{ $fuzz->{findings} }), '', "$fuzz->{done} inputs, seed $seed");
is(join("\n", (grep { /PANIC|TRAP:|terminated by signal|Sanitizer|runtime error:|ERROR:  (XX|58)/ } split /\n/, slurp_file($node->logfile))[ 0 .. 5 ]) =~ s/\n+$//r,
	'', 'nothing in the log');
my %codes = map { %$_ } values %{ $fuzz->{counts} };
cmp_ok(scalar(grep { /^WF/ } keys %codes), '>', 5, "goflow's own errors were seen");
cmp_ok($fuzz->{counts}{'run()'}{ok} || 0, '>', 0, 'workflows were run');
cmp_ok(scalar(keys %{ $fuzz->{called} }), '>=', $fuzz->{done} < 1900 ? 0 : @{ $fuzz->{functions} } - 10, 'nearly every function was called');
note(join("\n", map { my $kind = $_; "$kind: " . join(', ', map { "$_ $fuzz->{counts}{$kind}{$_}" } sort keys %{ $fuzz->{counts}{$kind} }) } sort keys %{ $fuzz->{counts} }));

$node->stop('immediate');
done_testing();
