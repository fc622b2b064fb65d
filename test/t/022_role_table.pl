# The table of doc/roles.md: who may do what.  Every cell is tried.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('role_table');
my %login = map { $_ => $_ eq 'superuser' ? 'boss' : $_ } qw(owner starter grantee member superuser admin monitor stranger nobody);

query($node, "CREATE ROLE $login{$_} LOGIN") for sort keys %login;
query($node, q{
	ALTER ROLE boss SUPERUSER; GRANT starter TO member; GRANT pg_monitor TO monitor;
	SELECT goflow.grant_usage(r) FROM unnest('{owner,starter,grantee,stranger}'::regrole[]) r;
	SELECT goflow.grant_admin('admin')});

my $waits = '"go": {"type": "signal", "name": "go"}';
query_as($node, 'owner', "SELECT goflow.define('plain', '{\"nodes\": {$waits}}'); SELECT goflow.define('short', '{\"nodes\": {\"a\": {\"type\": \"notify\", \"channel\": \"c\"}}}');"
	  . " SELECT goflow.define('definer', '{\"security\": \"definer\", \"nodes\": {$waits}}');"
	  . " SELECT goflow.define('definers', '{\"security\": \"definer\", \"nodes\": {\"a\": {\"type\": \"notify\", \"channel\": \"c\"}}}');"
	  . " SELECT goflow.define('asks', '{\"nodes\": {\"work\": {\"type\": \"task\", \"queue\": \"q\"}, \"ask\": {\"type\": \"approval\", \"role\": \"grantee\"}}}');"
	  . " SELECT goflow.define('fails', '{\"nodes\": {\"a\": {\"type\": \"raise\", \"code\": \"P0001\", \"message\": \"''no''\"}}}');"
	  . " SELECT goflow.grant_start(w, r) FROM unnest('{plain,short,definer,definers,fails,asks}'::text[]) w, unnest('{starter,grantee}'::regrole[]) r");
my ($plain, $short, $fails, $definer, $asks) = map { query_as($node, 'starter', "SELECT goflow.start('$_')") } qw(plain short fails definer asks);
query_as($node, 'starter', "SELECT goflow.wait('$_')") for $short, $fails;
ok(wait_for($node, qq{SELECT count(*) = 3 FROM goflow.executions WHERE state = 'waiting'}), 'executions wait');

my %action = (
	'see the workflow' => q{SELECT 1 / count(*) FROM goflow.workflows WHERE workflow = 'plain'},
	'see its definition' => q{SELECT goflow.definition('plain'), goflow.diagram('plain')},
	'define a version' => q{SELECT goflow.define('short', '{"nodes": {"a": {"type": "notify", "channel": "d"}}}')},
	'drop the workflow' => q{SELECT goflow.drop('short')},
	'grant start' => q{SELECT goflow.grant_start('plain', 'stranger')},
	'start it' => q{SELECT goflow.start('plain')},
	'run it inline' => q{SELECT goflow.run('short')},
	'see the execution' => qq{SELECT 1 / count(*) FROM goflow.executions JOIN goflow.status('$plain') USING (execution)},
	'see its nodes' => qq{SELECT goflow.nodes('$plain'), goflow.variables('$plain'), goflow.progress('$plain'), goflow.signals('$plain')},
	'see its figures' => qq{SELECT goflow.timeline('$plain'), goflow.metrics('$plain'), goflow.gantt('$plain'), goflow.diagram('$plain'::uuid),
		goflow.progress_json('$plain'), goflow.progress_message('$plain'), goflow.estimated_time_remaining('$plain')},
	'see its result' => qq{SELECT goflow.result('$short')},
	'wait for it' => qq{SELECT goflow.wait('$short')},
	'cancel it' => qq{SELECT goflow.cancel('$plain')},
	'pause it' => qq{SELECT goflow.pause('$plain'), goflow.resume('$plain')},
	'signal it' => qq{SELECT goflow.signal('$plain', 'go')},
	'set its priority' => qq{SELECT goflow.set_priority('$plain', 5)},
	'retry it' => qq{SELECT goflow.retry('$fails')},
	'cancel all of the workflow' => q{SELECT 1 / goflow.cancel_all('plain')},
	'signal all of the workflow' => q{SELECT 1 / goflow.signal_all('plain', 'go')},
	'see its tasks' => q{SELECT 1 / count(*) FROM goflow.tasks},
	'claim its tasks' => q{SELECT 1 / count(*) FROM goflow.claim('{q}')},
	'see its approvals, for which grantees are asked' => q{SELECT 1 / count(*) FROM goflow.approvals},
	'decide them' => qq{SELECT goflow.approve('$asks', 'ask')},
	q{start the definer's} => q{SELECT goflow.start('definer')},
	q{run the definer's inline} => q{SELECT goflow.run('definers')},
	q{see the definer's execution} => qq{SELECT goflow.status('$definer'), goflow.nodes('$definer')},
	q{cancel the definer's execution} => qq{SELECT goflow.cancel('$definer')},
	'read health()' => 'SELECT count(*) FROM goflow.health()',
	'read workers, queue, waiting, tracker, messages' => 'SELECT (SELECT count(*) FROM goflow.workers), (SELECT count(*) FROM goflow.queue),
		(SELECT 1 / count(*) FROM goflow.waiting), (SELECT used FROM goflow.tracker), (SELECT sent FROM goflow.messages)',
	'adopt()' => 'SELECT goflow.adopt()',
	'grant_usage()' => q{SELECT goflow.grant_usage('nobody')},
	'grant_admin()' => q{SELECT goflow.grant_admin('nobody')},
	'reassign() from starter to owner' => q{SELECT goflow.reassign('starter', 'owner')},
	q{read goflow's tables} => 'SELECT count(*) FROM goflow.execution');

# Undone each time.  Nothing to be seen (a division by zero) is as good as a refusal.
query($node, q{
	CREATE FUNCTION attempt(sql text) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		EXECUTE sql;
		RAISE EXCEPTION 'undo' USING ERRCODE = 'UNDO1';
	EXCEPTION
		WHEN SQLSTATE 'UNDO1' THEN RETURN 'yes';
		WHEN insufficient_privilege OR division_by_zero OR SQLSTATE 'WF101' OR SQLSTATE 'WF102' OR SQLSTATE 'WF113' THEN RETURN '–';
		WHEN OTHERS THEN RETURN SQLSTATE || ' ' || SQLERRM;
	END $$});

my (@who, @rows, %found);
for my $line (split /\n/, slurp_file("$FindBin::RealBin/../../doc/roles.md"))
{
	my @cells = $line =~ /^\|/ ? map { s/^\s+|\s+$//gr } split /\|/, substr($line, 1) : ();

	if (@cells > 9 && $cells[0] eq '') { @who = @cells[ 1 .. $#cells ]; }
	elsif (@who && @cells > 9 && $cells[0] !~ /^-+$/) { push @rows, \@cells; }
}
is(join(', ', sort map { $_->[0] } @rows), join(', ', sort keys %action), 'the table has everything');
for my $who (@who)
{
	my @answers = split /\n/, query_as($node, $login{$who}, join(' ', map { "SELECT attempt(\$a\$$action{$_->[0]}\$a\$);" } @rows));
	$found{$who}{ $rows[$_][0] } = $answers[$_] for 0 .. $#rows;
}
for my $row (@rows)
{
	my ($what, @cells) = @$row;
	is(join(', ', map { "$_ $found{$_}{$what}" } @who), join(', ', map { "$who[$_] $cells[$_]" } 0 .. $#who), $what);
}

# Rights are those of the role that calls.
is(query_as($node, 'member', "SET ROLE starter; SELECT attempt(\$\$SELECT goflow.cancel('$plain')\$\$)"), 'yes', 'SET ROLE counts');
query($node, q{REVOKE starter FROM member});
is(query_as($node, 'member', "SELECT attempt(\$\$SELECT goflow.cancel('$plain')\$\$)"), '–', 'membership that has gone does not');
query($node, q{ALTER ROLE member NOINHERIT; GRANT starter TO member});
is(query_as($node, 'member', "SELECT attempt(\$\$SELECT goflow.cancel('$plain')\$\$)"), '–', 'nor one that is not inherited');
query($node, q{SELECT goflow.revoke_admin('admin')});
is(query_as($node, 'admin', "SELECT attempt(\$\$SELECT goflow.cancel('$plain')\$\$) || attempt('SELECT goflow.adopt()') || attempt('SELECT count(*) FROM goflow.workflows')"),
	'––yes', 'revoke_admin()');
query($node, q{SELECT goflow.revoke_usage('stranger'); DROP OWNED BY admin; DROP ROLE admin});

# An administrator sees what there is, and steers it; it still runs as its role.
query($node, q{CREATE ROLE ops NOLOGIN; CREATE ROLE ann LOGIN IN ROLE ops; SELECT goflow.grant_admin('ops')});
is(query_as($node, 'ann', 'SELECT count(*) FROM goflow.executions'), '5', 'a member of an administrator sees everything');
is(query_as($node, 'ann', "SELECT goflow.signal_all('plain', 'go')"), '1', 'and can steer it');
is(query_as($node, 'ann', "SELECT goflow.wait('$plain', '90 s')"), 'completed', 'effectively');
is(query($node, "SELECT run_as FROM goflow.status('$plain')"), 'starter', 'it ran as its role');

$node->stop;
done_testing();
