# What commits and what does not: the caller's transaction, and errors that a
# batch of nodes meets at its commit.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use Test::More;

my $node = new_server('transactions');

define_chain($node, 'chain', 3);

# ---- the caller's transaction ----

query($node, q{BEGIN; SELECT goflow.start('chain'); SELECT goflow.start('chain', key => 'k'); ROLLBACK});
is(query($node, 'SELECT count(*) FROM goflow.executions'), '0', 'a rollback leaves no execution');
is(query($node, 'SELECT count(*) FROM goflow.start_key'), '0', 'and no key');

query($node, q{
	BEGIN;
	SELECT goflow.start('chain', key => 'kept');
	SAVEPOINT a;
	SELECT goflow.start('chain', key => 'gone');
	SAVEPOINT b;
	SELECT goflow.start('chain', key => 'gone too');
	RELEASE b;
	ROLLBACK TO a;
	SELECT goflow.start('chain', key => 'kept, too');
	COMMIT});
wait_until_finished($node, 'savepoints');
is(query($node, 'SELECT key FROM goflow.start_key ORDER BY key'), "kept\nkept, too",
	'what was started in a savepoint goes with it');
is(query($node, 'SELECT count(*), count(DISTINCT execution) FROM effect'), '6|2', 'the others ran');

query($node, q{BEGIN; SELECT goflow.start('chain'); PREPARE TRANSACTION 'gone'});
query($node, q{BEGIN; SELECT goflow.start('chain'); PREPARE TRANSACTION 'kept'});
query($node, q{ROLLBACK PREPARED 'gone'});
is(query($node, 'SELECT count(*) FROM goflow.executions'), '2', 'a prepared transaction starts nothing');
query($node, q{COMMIT PREPARED 'kept'});
wait_until_finished($node, 'COMMIT PREPARED');
is(query($node, 'SELECT count(*), count(DISTINCT execution) FROM effect'), '9|3', 'COMMIT PREPARED starts it');

query($node, q{BEGIN; SELECT goflow.start('chain'); PREPARE TRANSACTION 'later'});
$node->restart;
query($node, q{COMMIT PREPARED 'later'});
wait_until_finished($node, 'COMMIT PREPARED after a restart');

# a cancel that is rolled back cancels nothing
define_held($node, 'held', 1);
my $execution = query($node, q{SELECT goflow.start('held')});
ok(wait_for($node, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'}), 'a node runs');
query($node, "BEGIN; SELECT goflow.cancel('$execution'); ROLLBACK");
let_go($node, 'held', 'a cancel that is rolled back');
is(query($node, "SELECT goflow.wait('$execution')"), 'completed', 'a cancel that is rolled back cancels nothing');
is_exactly_once($node, 'all of this');

# ---- errors at commit ----

query($node, q{
	CREATE TABLE picky (id int UNIQUE DEFERRABLE INITIALLY DEFERRED, ok boolean);
	CREATE TABLE strict (ok boolean);
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF NOT NEW.ok THEN RAISE 'refused' USING ERRCODE = 'XX777'; END IF;
		RETURN NULL;
	END $$;
	CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON strict DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION refuse()});
define_nodes($node, 'commit',
	Goflow::effect_node('first') . q{,
	"picky": {"type": "sql", "after": ["first"], "rows": "none",
		"sql": "INSERT INTO picky VALUES (input.id, input.ok)"},
	"strict": {"type": "sql", "after": ["picky"], "rows": "none",
		"sql": "INSERT INTO strict VALUES (input.ok)"}, } . Goflow::effect_node('last', 'strict'),
	'"input": {"id": "int", "ok": "boolean = true"}');

# all of its nodes become known as fast
query($node, q{SELECT count(*) FROM goflow.start_many('commit',
	(SELECT array_agg(jsonb_build_object('id', i)) FROM generate_series(1, 500) i))});
wait_until_finished($node, 'no error');
is(query($node, q{SELECT count(*) FROM goflow.executions WHERE workflow = 'commit' AND state = 'completed'}),
	'500', 'without errors all complete');

# every tenth is a duplicate (of another one each: duplicates of one key deadlock among themselves), every tenth is refused
query($node, q{SELECT count(*) FROM goflow.start_many('commit',
	(SELECT array_agg(jsonb_build_object('id', CASE i % 10 WHEN 0 THEN i / 10 ELSE 1000 + i END, 'ok', i % 10 <> 5))
	 FROM generate_series(1, 1000) i))});
wait_until_finished($node, 'errors at commit');
is(query($node, q{
		SELECT state, error->>'node', error->>'code', count(*) FROM goflow.executions
		WHERE workflow = 'commit' GROUP BY 1, 2, 3 ORDER BY 2}),
	"failed|picky|23505|100\nfailed|strict|XX777|100\ncompleted|||1300",
	'an error at commit fails the node that caused it, and no other');
is(query($node, 'SELECT count(*), count(DISTINCT id) FROM picky'), '1400|1400', 'what had succeeded stays');
is(query($node, 'SELECT count(*) FROM strict WHERE NOT ok'), '0', 'what failed is gone');
is_exactly_once($node, 'errors at commit');

# From now on those two run alone, so their transactions are their own; others share,
# but while the machine is so busy that they count as slow.
query($node, q{
	ALTER TABLE effect ADD xid xid8 DEFAULT pg_current_xact_id();
	ALTER TABLE picky ADD xid xid8 DEFAULT pg_current_xact_id()});
my $transactions;
for my $try (1 .. 10)
{
	query($node, q{
		TRUNCATE effect, picky;
		SELECT count(*) FROM goflow.start_many('commit',
			(SELECT array_agg(jsonb_build_object('id', i)) FROM generate_series(1, 500) i))});
	wait_until_finished($node, "again ($try)");
	$transactions = query($node, q{SELECT count(DISTINCT xid) FROM effect WHERE node = 'first'});
	last if $transactions < 250;
}
is(query($node, 'SELECT count(*), count(DISTINCT xid) FROM picky'), '500|500',
	'a node that failed at commit is never batched again');
cmp_ok($transactions, '<', 250, 'others are');

# A deadlock inside batches costs nobody anything but time.
query($node, 'CREATE TABLE stock (id int PRIMARY KEY, n int); INSERT INTO stock VALUES (1, 0), (2, 0)');
define_nodes($node, 'both', q{
	"a": {"type": "sql", "rows": "none", "sql": "UPDATE stock SET n = n + 1 WHERE id = input.first"},
	"b": {"type": "sql", "rows": "none", "after": ["a"], "sql": "UPDATE stock SET n = n + 1 WHERE id = 3 - input.first"}},
	'"input": {"first": "int"}');
query($node, q{SELECT count(*) FROM goflow.start_many('both',
	(SELECT array_agg(jsonb_build_object('first', 1 + i % 2)) FROM generate_series(1, 400) i))});
wait_until_finished($node, 'deadlocks');
is(query($node, q{SELECT state, count(*) FROM goflow.executions WHERE workflow = 'both' GROUP BY state}),
	'completed|400', 'deadlocks of batches fail nobody');
is(query($node, 'SELECT id, n FROM stock ORDER BY id'), "1|400\n2|400", 'every update once');

# Nor does one between two nodes that run on their own.
query($node, q{
	CREATE SEQUENCE crossing;
	CREATE FUNCTION cross_over(first int) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		UPDATE stock SET n = n + 1 WHERE id = first;
		PERFORM nextval('crossing');
		WHILE (SELECT last_value FROM crossing) < 2 LOOP PERFORM pg_sleep(0.01); END LOOP;
		UPDATE stock SET n = n + 1 WHERE id = 3 - first;
	END $$});
define_nodes($node, 'cross', q{"a": {"type": "sql", "rows": "none", "sql": "SELECT cross_over(input.first)"}},
	'"input": {"first": "int"}');
my $deadlocks = q{SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()};
my $before = query($node, $deadlocks);
query($node, q{SELECT goflow.start_many('cross', ARRAY['{"first": 1}', '{"first": 2}']::jsonb[])});
wait_until_finished($node, 'a deadlock of two nodes');
is(query($node, q{SELECT state, error->>'code', (SELECT max(attempt) FROM goflow.nodes(execution)), count(*) FROM goflow.executions
	WHERE workflow = 'cross' GROUP BY 1, 2, 3}), 'completed||1|2', 'the victim of a deadlock runs again');
is(query($node, 'SELECT id, n FROM stock ORDER BY id'), "1|402\n2|402", 'every update once more');
ok(wait_for($node, "SELECT ($deadlocks) > $before"), 'there was one');
is_at_rest($node, 'at the end');

$node->stop;
done_testing();
