# A server without goflow in shared_preload_libraries.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use Test::More;

my $node = new_server('preload');
my ($out, $err);

define_chain($node, 'chain', 2);
my $execution = query($node, q{SELECT goflow.start('chain')});
query($node, "SELECT goflow.wait('$execution')");

# without the library our settings are unknown, and the rest of the server is as ever
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$node->restart;
for my $call ("start('chain')", "start_many('chain', '{}')", "run('chain')", "wait('$execution')", "result('$execution')",
	"cancel('$execution')", "progress('$execution')", "nodes('$execution')", "variables('$execution')",
	"follow('$execution')", "status('$execution')", 'health()', "define('w', '{}')", "validate('{}')", "drop('chain')",
	"grant_usage('postgres')", "grant_start('chain', 'postgres')", "definition('chain')")
{
	$node->psql('postgres', "SELECT goflow.$call", stdout => \$out, stderr => \$err,
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	like($err, qr/WF109: +goflow is not loaded.*\nHINT: .*shared_preload_libraries = 'goflow'/s, "$call says so");
}
is(query($node, 'SELECT count(*) FROM goflow.executions'), '1', 'the views can be read');
$node->psql('postgres', 'CREATE DATABASE other');
$node->psql('other', 'CREATE EXTENSION goflow', stderr => \$err, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
like($err, qr/WF109: .*\nHINT: /s, 'CREATE EXTENSION says so');
is(query($node, q{SELECT count(*) FROM pg_namespace WHERE nspname = 'goflow'}, 'other'), '0', 'and leaves nothing');
query($node, q{LOAD 'goflow'; SELECT 1});
query($node, 'DROP DATABASE other');

# the settings are known where it is preloaded
query($node, q{ALTER SYSTEM SET shared_preload_libraries = 'goflow'});
$node->restart;
$execution = query($node, q{SELECT goflow.start('chain')});
is(query($node, "SELECT goflow.wait('$execution')"), 'completed', 'with the library it works again');
query($node, q{ALTER SYSTEM SET goflow.fuse = '20ms'});
$node->psql('postgres', q{ALTER SYSTEM SET goflow.fuse = '-1'}, stderr => \$err);
like($err, qr/outside the valid range/, 'settings are checked');
$node->psql('postgres', q{ALTER SYSTEM SET goflow.nonsense = 1}, stderr => \$err);
like($err, qr/unrecognized configuration parameter|invalid configuration parameter name/, 'and unknown ones refused');
$node->psql('postgres', q{SET goflow.max_workers = 1}, stderr => \$err);
like($err, qr/cannot be changed now/, 'a session cannot change them');
query($node, 'ALTER SYSTEM RESET ALL');

# goflow can be dropped where it is not loaded
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$node->restart;
query($node, 'DROP EXTENSION goflow');
is(query($node, q{SELECT count(*) FROM pg_namespace WHERE nspname = 'goflow'}), '0', 'DROP EXTENSION needs no library');


# a schema of that name is not taken over
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'goflow'\n");
$node->restart;
query($node, 'CREATE SCHEMA goflow');
$node->psql('postgres', 'CREATE EXTENSION goflow', stderr => \$err);
like($err, qr/schema "goflow" already exists/, 'a schema that is there is refused');
query($node, 'DROP SCHEMA goflow; CREATE EXTENSION goflow');
define_chain($node, 'chain', 2);
$execution = query($node, q{SELECT goflow.start('chain')});
is(query($node, "SELECT goflow.wait('$execution')"), 'completed', 'and made otherwise');

$node->stop;
done_testing();
