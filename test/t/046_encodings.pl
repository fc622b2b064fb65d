# Databases of other encodings: goflow is installed there, and what it sends is JSON
# in ASCII, which sessions of every client_encoding receive.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Goflow;
use Messages;
use Test::More;

my $node = new_server('encodings', extension => 0);

# encoding of the database; a name, as bytes of UTF8; how it arrives; in a session of which encoding
for my $case (
	[ 'latin1', "\xc3\xa4\xc3\x9f", '\u00e4\u00df', 'utf8' ],
	[ 'win1252', "\xe2\x82\xac", '\u20ac', 'utf8' ],
	[ 'euc_jp', "\xe6\x97\xa5\xe6\x9c\xac", '\u65e5\u672c', 'sjis' ],
	[ 'utf8', "\xf0\x9f\x98\x80", '\ud83d\ude00', 'latin1' ],
	[ 'sql_ascii', "\xc3\xa4", "\xc3\xa4", 'sql_ascii' ])    # bytes without a meaning: they stay
{
	my ($encoding, $name, $json, $client) = @$case;
	my $in_utf8 = "SET client_encoding = '" . ($encoding eq 'sql_ascii' ? 'sql_ascii' : 'utf8') . "';";

	query($node, "CREATE DATABASE $encoding ENCODING '$encoding' LOCALE 'C' TEMPLATE template0");
	query($node, "CREATE EXTENSION goflow; $in_utf8 SELECT goflow.define('$name', '{\"nodes\": {\"a\": {\"type\": \"condition\", \"if\": \"true\"}}}')", $encoding);
	my $session = $node->background_psql($encoding);
	$session->query_safe("SET client_encoding = '$client'");
	subscribe($session, q{types => '{execution_completed}'});
	query($node, "$in_utf8 SELECT goflow.start('$name')", $encoding);
	my ($message) = messages_until($session, qr/execution_completed/);
	like($message->[1], qr/"workflow":"\Q$json\E"/, "$encoding: the name of a workflow");
	$session->quit;
}

$node->stop;
done_testing();
