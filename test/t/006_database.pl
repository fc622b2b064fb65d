# Statements that need the database to themselves, and shutdowns, while nodes run.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use Test::More;

my $node = new_server('database', conf => "goflow.max_workers = 6\nmax_prepared_transactions = 5\n");
my $sleeping = q{SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep'};
my ($err, $took);

sub new_database
{
	my ($name) = @_;

	query($node, "CREATE DATABASE $name");
	query($node, 'CREATE EXTENSION goflow', $name);
	create_effects($node, $name);
	define_chain($node, 'chain', 3, $name);
	define_held($node, 'slow', 2, $name);
}

# ---- DROP, RENAME, TEMPLATE ----

new_database('doomed');
start_many($node, 'chain', 50, 'doomed');
wait_until_finished($node, 'a database', 'doomed');
is(query($node, q{SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = 'doomed' AND backend_type ~ 'goflow'}),
	't', 'processes are connected');
$took = seconds { query($node, 'DROP DATABASE doomed') };
note(sprintf('DROP DATABASE right after use takes %.2f s', $took));

new_database('doomed');
start_many($node, 'slow', 4, 'doomed');
ok(wait_for($node, $sleeping), 'a node runs');
$took = seconds { query($node, 'DROP DATABASE doomed') };
note(sprintf('DROP DATABASE while nodes run that would not end takes %.2f s', $took));

new_database('original');
start_many($node, 'slow', 4, 'original');
ok(wait_for($node, $sleeping), 'a node runs');
query($node, 'BEGIN; ALTER DATABASE original RENAME TO elsewhere; ROLLBACK');
ok(wait_for($node, $sleeping), 'after a RENAME that was rolled back nodes go on');
query($node, 'ALTER DATABASE original RENAME TO renamed');
ok(wait_for($node, $sleeping), 'after RENAME nodes go on');
query($node, 'CREATE DATABASE copy TEMPLATE renamed');
let_go($node, 'slow', 'after RENAME and TEMPLATE', 'renamed');
is_exactly_once($node, 'after RENAME and TEMPLATE', 'renamed');
start_many($node, 'chain', 10, 'copy');
ok(wait_for($node, q{SELECT count(*) = 10 FROM goflow.executions WHERE workflow = 'chain' AND state = 'completed'},
		undef, 'copy'), 'the copy works, too');
is_exactly_once($node, 'the copy', 'copy');
query($node, 'ALTER DATABASE copy SET TABLESPACE pg_default');
query($node, 'DROP DATABASE copy');

# a statement that fails holds nobody up for long
$node->psql('postgres', 'DROP DATABASE nowhere', stderr => \$err);
like($err, qr/does not exist/, 'no such database');
my $session = $node->background_psql('renamed');
$session->query_safe('SELECT 1');
start_many($node, 'slow', 2, 'renamed');
$node->psql('postgres', 'DROP DATABASE renamed', stderr => \$err);
like($err, qr/being accessed by other users/, 'a client keeps its database');
like($err, qr/There is 1 other session/, 'and only the client does');
let_go($node, 'slow', 'after a DROP DATABASE that failed', 'renamed');
is_exactly_once($node, 'after a DROP DATABASE that failed', 'renamed');
$session->quit;

# nobody without the right to do it stops anything
query($node, 'CREATE ROLE eve LOGIN');
start_many($node, 'slow', 1, 'renamed');
ok(wait_for($node, $sleeping), 'a node runs');
my $worker = q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'goflow worker' AND query ~ '^node "s1"' AND state = 'active'};
my $running = query($node, $worker);
like($running, qr/^\d+$/, 'in one worker');
$node->psql('postgres', 'DROP DATABASE renamed', stderr => \$err, extra_params => [ '-U', 'eve' ]);
like($err, qr/must be owner/, "another's DROP DATABASE is refused");
is(query($node, $worker), $running, 'and stops no process');
let_go($node, 'slow', 'not stopped', 'renamed');

# ---- DROP EXTENSION ----

start_many($node, 'slow', 4, 'renamed');
ok(wait_for($node, $sleeping), 'a node runs');
query($node, 'BEGIN; DROP EXTENSION goflow CASCADE; ROLLBACK', 'renamed');
let_go($node, 'slow', 'after a DROP EXTENSION that was rolled back', 'renamed');
is_exactly_once($node, 'after a DROP EXTENSION that was rolled back', 'renamed');

start_many($node, 'slow', 4, 'renamed');
ok(wait_for($node, $sleeping), 'a node runs');
$took = seconds { query($node, 'DROP EXTENSION goflow', 'renamed') };
note(sprintf('DROP EXTENSION while nodes run that would not end takes %.2f s', $took));
ok(wait_for($node, q{SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'renamed' AND backend_type ~ 'goflow'}),
	'nobody stays where goflow is not');
is_at_rest($node, 'after DROP EXTENSION');
query($node, 'TRUNCATE effect; CREATE EXTENSION goflow', 'renamed');
# the numbers of workflows begin again, the definitions are others
define_chain($node, 'other', 4, 'renamed');
define_chain($node, 'chain', 5, 'renamed');
start_many($node, 'other', 20, 'renamed');
start_many($node, 'chain', 20, 'renamed');
wait_until_finished($node, 'after CREATE EXTENSION', 'renamed');
is(query($node, 'SELECT count(*), count(DISTINCT (execution, node)) FROM effect', 'renamed'), '180|180',
	'goflow works again');

# all in one session, where everything is cached
is(query($node, q{
		SELECT goflow.define('w', '{"nodes": {"a": {"type": "transform", "value": {"x": "1"}}}, "output": {"x": "a.x"}}');
		SELECT goflow.run('w');
		DROP EXTENSION goflow; CREATE EXTENSION goflow;
		SELECT goflow.define('w', '{"nodes": {"a": {"type": "transform", "value": {"y": "2"}}}, "output": {"y": "a.y"}}');
		SELECT goflow.run('w');
		SELECT goflow.start('w') \gset
		SELECT goflow.wait(:'start')}, 'renamed'),
	"1\n{\"x\": 1}\n1\n{\"y\": 2}\ncompleted", 'nothing old is used');
query($node, 'BEGIN; DROP EXTENSION goflow; CREATE EXTENSION goflow; COMMIT', 'renamed');
define_chain($node, 'chain', 2, 'renamed');
start_many($node, 'chain', 5, 'renamed');
wait_until_finished($node, 'DROP and CREATE in one transaction', 'renamed');

# ---- two-phase commit ----

# a hold ends with its process's transaction, so what needs one is not prepared
start_many($node, 'chain', 5, 'renamed');
for my $statement ('DROP EXTENSION goflow', 'ALTER EXTENSION goflow UPDATE', 'SAVEPOINT s; DROP EXTENSION goflow; ROLLBACK TO s')
{
	$node->psql('renamed', "BEGIN; $statement; PREPARE TRANSACTION 'x'", stderr => \$err);
	like($err, qr/cannot PREPARE a transaction that has dropped or altered goflow.*COMMIT instead/s, "$statement is not prepared");
}
is(query($node, 'SELECT count(*) FROM pg_prepared_xacts'), '0', 'none is left');
start_many($node, 'chain', 5, 'renamed');
wait_until_finished($node, 'after PREPARE was refused', 'renamed');
query($node, 'DROP EXTENSION goflow', 'renamed');
query($node, q{BEGIN; CREATE EXTENSION goflow; PREPARE TRANSACTION 'undone'}, 'renamed');
query($node, q{ROLLBACK PREPARED 'undone'}, 'renamed');
is(query($node, q{SELECT count(*) FROM pg_namespace WHERE nspname = 'goflow'}, 'renamed'), '0', 'CREATE EXTENSION is undone with ROLLBACK PREPARED');
query($node, q{BEGIN; CREATE EXTENSION goflow; SELECT goflow.define('w', '{"nodes": {"d": {"type": "delay", "for": "interval ''10 ms''"}}}');
	SELECT goflow.start('w'); PREPARE TRANSACTION 'done'}, 'renamed');
query($node, q{COMMIT PREPARED 'done'}, 'renamed');
ok(wait_for($node, q{SELECT bool_and(state = 'completed') FROM goflow.executions}, undef, 'renamed'), 'and there, with what it started, after COMMIT PREPARED');
query($node, 'DROP DATABASE renamed');

# ---- shutdown ----

define_chain($node, 'chain', 3);
define_nodes($node, 'long', Goflow::effect_node('a', undef, 'pg_sleep(0.2)') . ', '
	  . Goflow::effect_node('b', 'a', 'pg_sleep(CASE WHEN current_setting($$my.long$$, true) = $$on$$ THEN 3600 ELSE 0.1 END)'));
$node->append_conf('postgresql.conf', "my.long = on\n");
$node->reload;
for my $mode (qw(smart fast immediate))
{
	start_many($node, 'long', 3);
	ok(wait_for($node, q{SELECT count(*) >= 3 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query ~ '3600'
			AND query_start < now() - interval '50 ms'}), 'nodes run for an hour');
	start_many($node, 'chain', 300);
	$took = seconds { $node->stop($mode) };
	cmp_ok($took, '<', 600, sprintf('%s shutdown takes %.2f s', $mode, $took));
	$node->start;
}
$node->append_conf('postgresql.conf', "my.long = off\n");
$node->reload;
query($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'goflow worker'});
wait_until_finished($node, 'after three shutdowns');
is(query($node, q{SELECT state, count(*) FROM goflow.executions GROUP BY 1}), 'completed|909',
	'all that was interrupted completes');
is_exactly_once($node, 'after three shutdowns');
is_at_rest($node, 'after three shutdowns');

$node->stop;
done_testing();
