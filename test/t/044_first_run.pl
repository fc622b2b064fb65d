# What nobody has run yet: a batch tries it if a rollback would undo all of it,
# else its first run is in node mode.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use Test::More;

my $node = new_server('first_run', conf => "goflow.max_workers = 1\ngoflow.fuse = 10s\ngoflow.batch_time = 10s\n");
my $number = 0;

query($node, q{
	CREATE FUNCTION f(x int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN x; END';
	CREATE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
	CREATE OPERATOR ### (FUNCTION = f, RIGHTARG = int);
	CREATE DOMAIN small AS int CHECK (value < 10);
	CREATE TABLE parent (id serial PRIMARY KEY, x int, at timestamptz DEFAULT now(), CHECK (x < 1000));
	CREATE TABLE child (id int REFERENCES parent, x int);
	CREATE TABLE cascading (id int PRIMARY KEY);
	CREATE TABLE cascaded (id int REFERENCES cascading ON DELETE CASCADE);
	CREATE TABLE deferred (id int REFERENCES cascading DEFERRABLE INITIALLY DEFERRED);
	CREATE TABLE triggered (x int);
	CREATE TRIGGER t BEFORE INSERT ON triggered FOR EACH ROW EXECUTE FUNCTION t();
	CREATE TABLE checked (x int CHECK (f(x) > 0));
	CREATE TABLE indexed (x int);
	CREATE INDEX ON indexed (f(x));
	CREATE TABLE guarded (x small);
	CREATE TABLE guarded_by_rows (x int);
	ALTER TABLE guarded_by_rows ENABLE ROW LEVEL SECURITY;
	ALTER TABLE guarded_by_rows FORCE ROW LEVEL SECURITY;
	CREATE POLICY p ON guarded_by_rows USING (f(x) > 0);
	CREATE TABLE partitioned (x int) PARTITION BY LIST (x);
	CREATE TABLE part PARTITION OF partitioned DEFAULT;
	CREATE VIEW plain_view AS SELECT x FROM parent;
	CREATE VIEW calling_view AS SELECT f(x) AS x FROM parent;
	INSERT INTO parent (x) SELECT g FROM generate_series(1, 3) g;
	INSERT INTO child VALUES (1, 1);
	INSERT INTO cascading VALUES (1);
	GRANT ALL ON guarded_by_rows TO PUBLIC;
});

# Runs a statement and another node after it: is the journal in the execution's row, of one batch?
sub is_tried
{
	my ($sql, $role) = @_;
	my $workflow = 'first_' . ++$number;
	my $execution;

	$role = defined $role ? "SET ROLE $role;" : '';
	query($node, qq{$role SELECT goflow.define('$workflow', \$goflow\${"nodes": {
		"a": {"type": "sql", "sql": "$sql", "rows": "none"},
		"b": {"type": "transform", "after": "a", "value": {"x": "1"}}}}\$goflow\$)});
	$execution = query($node, "$role SELECT goflow.start('$workflow')");
	is(query($node, "SELECT goflow.wait('$execution')"), 'completed', "completes: $sql");
	return query($node, "SELECT journal IS NOT NULL FROM goflow.execution WHERE execution_id = '$execution'") eq 't';
}

ok(is_tried($_), "in a batch: $_") for (
	'INSERT INTO parent (x) VALUES (length(now()::text))',
	'INSERT INTO parent (x) SELECT x FROM plain_view',
	'INSERT INTO child VALUES (2, 2)',
	'INSERT INTO child VALUES (3, 3) ON CONFLICT DO NOTHING',
	'UPDATE parent SET x = x + 1 WHERE id = (SELECT max(id) FROM child)',
	'DELETE FROM child WHERE id = 1',
	'WITH gone AS (DELETE FROM child WHERE id = 2 RETURNING *) INSERT INTO child SELECT * FROM gone',
	'SELECT sum(x) OVER () FROM plain_view ORDER BY random()',
	'SELECT FROM parent TABLESAMPLE system (10) FOR UPDATE');
ok(!is_tried($_), "not in a batch: $_") for (
	'SELECT f(1)',
	'SELECT ### 1',
	'SELECT pg_sleep(0)',
	"SELECT pg_notify('x', 'y')",
	'SELECT pg_stat_get_backend_pid(1)',
	'SELECT x FROM calling_view',
	'SELECT x::small FROM plain_view WHERE x < 5',
	'WITH a AS (INSERT INTO triggered VALUES (1) RETURNING x) SELECT x FROM a',
	'INSERT INTO triggered VALUES (1)',
	'INSERT INTO checked VALUES (1)',
	'INSERT INTO indexed VALUES (1)',
	'INSERT INTO guarded VALUES (1)',
	'INSERT INTO partitioned VALUES (1)',
	'INSERT INTO deferred VALUES (1)',
	'DELETE FROM cascading WHERE id = 2');

# row security is of those whom it binds
{
	my $sql = 'SELECT count(*) FROM guarded_by_rows';

	query($node, q{CREATE ROLE bound LOGIN; SELECT goflow.grant_usage('bound'); GRANT SELECT ON guarded_by_rows TO bound});
	ok(is_tried($sql), "in a batch of a superuser: $sql");
	ok(!is_tried($sql, 'bound'), "not in a batch of another role: $sql");
}

# ---- what takes long is stopped by the fuse, and runs once ----

$node->append_conf('postgresql.conf', 'goflow.fuse = 50ms');
$node->reload;
query($node, 'CREATE TABLE sums (n bigint); CREATE TABLE other (n int)');
define_nodes($node, 'long', '"a": {"type": "sql", "rows": "none", "sql": "INSERT INTO sums SELECT count(*) FROM generate_series(1, 3000000)"}');
define_nodes($node, 'beside', '"a": {"type": "sql", "rows": "none", "sql": "INSERT INTO other VALUES (1)"}');
my @executions = split /\n/, query($node, q{SELECT goflow.start('beside') FROM generate_series(1, 3) UNION ALL
	SELECT goflow.start('long') UNION ALL SELECT goflow.start('beside') FROM generate_series(1, 3)});
query($node, "SELECT goflow.wait('$_')") for @executions;
is(query($node, 'SELECT count(*), sum(n) FROM sums'), '1|3000000', 'a long one has its effect once');
is(query($node, 'SELECT count(*) FROM other'), '6', 'and so have those beside it');
is(query($node, "SELECT count(*) FROM goflow.nodes('$executions[3]') WHERE attempt = 1 AND state = 'completed'"), '1', 'it was one attempt');

$node->stop;
done_testing();
