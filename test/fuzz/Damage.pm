# Damage to definitions: to the JSON as text, by the places of its values, and to
# the SQL in its strings.  What comes out need not be JSON, nor text of any encoding.
package Damage;

use strict;
use warnings;
use Exporter 'import';

our @EXPORT_OK = qw(one_of odd_text damage_definition damage_sql damage_bytes quoted);

sub one_of { return $_[ int(rand(@_)) ]; }

# ---- what is put in ----

my @odd_keys = ('', ' ', 'a', 'A b', 'nodes', 'type', 'sql', 'after', 'body', 'input', 'variables', 'output', 'catch', 'finally', 'branches', 'value',
	'set', 'if', 'for', 'while', 'repeat', 'over', 'as', 'where', 'settings', 'retry', 'on_error', 'compensate', 'timeout', 'join', 'aggregate',
	'cancel_rest', 'select', 'vars', 'loop', 'error', 'execution', 'new', 'x' x 63, 'x' x 64, 'x' x 70_000, '\u0000', '\u00e4', "\xc3\xa4", '__proto__');
my @odd_values = ('null', 'true', 'false', '0', '-0', '-1', '1', '2', '1.5', '1e9', '1e400', '-1e-400', '99999999999999999999', '0.1' . '0' x 2000 . '1',
	'""', '" "', '"a"', '"all"', '"any"', '"many"', '"none"', '"late"', '"continue"', '"skip"', '"1 s"', '"-1 s"', '"infinity"', '"1000000 years"',
	'[]', '{}', '[[]]', '[null]', '[""]', '["a", "a"]', '{"": ""}', '{"a": null}', '{"nodes": {}}', '"\u0000"', '"\ud800"', '"\udc00\ud800"', '"\ud83d\ude00"',
	'"\u202e\ufeff"', '"\/\b\f\n\r\t"', '"\x"', "\"\xff\xfe\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\t\"", 'nul', '01', "'a'", '');
my @statements = ('SELECT 1', 'SELECT', 'SELECT 1; SELECT 2', ';', '', '-- ', '/* ', '/* /* */', 'SELECT 1 AS x, 2 AS x', 'SELECT', 'TABLE pg_class', 'VALUES (1), (2)',
	'SELECT * FROM input', 'SELECT input', 'SELECT vars', 'SELECT execution', 'SELECT $1', 'SELECT $1::int + $2', 'SELECT :x', 'SELECT row(1, 2)', "SELECT 'x'", 'SELECT NULL',
	'SELECT generate_series(1, 3)', 'SELECT count(*) OVER ()', 'WITH RECURSIVE r AS (SELECT 1 UNION ALL SELECT * FROM r) SELECT count(*) FROM r',
	'WITH x AS (DELETE FROM fuzz_table RETURNING *) SELECT * FROM x', 'INSERT INTO fuzz_table VALUES (1) ON CONFLICT DO NOTHING RETURNING *',
	'MERGE INTO fuzz_table t USING (SELECT 1 AS a) s ON t.a = s.a WHEN MATCHED THEN DELETE', 'UPDATE fuzz_table SET a = DEFAULT', 'SELECT * FROM fuzz_table FOR UPDATE',
	'BEGIN', 'COMMIT', 'ROLLBACK', 'SAVEPOINT a', 'ROLLBACK TO a', 'PREPARE TRANSACTION \'x\'', 'PREPARE p AS SELECT 1', 'EXECUTE p', 'DEALLOCATE ALL', 'DISCARD ALL',
	'LISTEN a', 'NOTIFY a', 'UNLISTEN *', 'COPY fuzz_table TO STDOUT', 'COPY fuzz_table FROM STDIN', 'SET ROLE NONE', 'RESET SESSION AUTHORIZATION', 'SET search_path = \'\'',
	'SET statement_timeout = 0', 'SET client_encoding = latin1', 'LOAD \'goflow\'', 'CREATE TABLE ft AS SELECT 1', 'CREATE TEMP TABLE tt (a int) ON COMMIT DROP', 'DROP EXTENSION goflow',
	'CREATE SCHEMA goflow', 'VACUUM', 'CHECKPOINT', 'EXPLAIN SELECT 1', 'EXPLAIN ANALYZE SELECT 1', 'CALL x()', 'DO $$BEGIN COMMIT; END$$', 'DO $$BEGIN RAISE; END$$',
	'DECLARE c CURSOR FOR SELECT 1', 'FETCH c', 'CLOSE ALL', 'LOCK fuzz_table', 'TRUNCATE fuzz_table', 'SHOW ALL', 'CREATE FUNCTION goflow.x() RETURNS int LANGUAGE sql RETURN 1',
	"SELECT goflow.define('fuzz_inner', '{}')", "SELECT goflow.start('fuzz_0')", "SELECT goflow.run('fuzz_0')", 'SELECT goflow.cancel(execution.id)', 'SELECT goflow.wait(execution.id)',
	"SELECT goflow.pause(execution.id)", 'SELECT pg_cancel_backend(pg_backend_pid())', 'SELECT pg_advisory_lock(1)',
	'SELECT pg_advisory_xact_lock(1)', 'SELECT repeat(\'x\', 1000000)', 'SELECT 1 / 0 AS x', 'SELECT ARRAY[[1], [2]]', 'SELECT $$', 'SELECT $a$ $b$', "SELECT 'a", 'SELECT "a',
	"SELECT E'\\'", "SELECT U&'\\d800'", 'SELECT 1 AS "A b"', 'SELECT 1 AS "' . 'x' x 100 . '"', 'SELECT xmlparse(document \'<a/>\')', 'SELECT current_setting(\'x.y\')',
	'SELECT set_config(\'role\', \'none\', false)', 'SELECT nextval(\'nothing\')', 'SELECT a.*, b.* FROM a, b', 'SELECT (a).x', 'SELECT (input).n', 'SELECT input.n.n', 'SELECT vars.v[1]',
	'SELECT ' . join(', ', 1 .. 1700));
my @pieces = ('::text', '::int', '::int[]', '::nothing', '::jsonb', '::void', '::cstring', '::record', '::regclass', '::xid', '::"char"', ' COLLATE "C"', ' AT TIME ZONE \'x\'', 'a.x', 'input.n',
	'vars.v', 'input.*', 'vars.*', 'loop.index', 'item.value', 'item.*', 'error.code', 'NEW.id', 'OLD.*', 'trigger.table', 'execution.id', 'acc.value', 'NULL', 'DEFAULT', '$1', '$0', '$99999',
	'generate_series(1, 3)', 'count(*)', 'sum(1) OVER ()', 'grouping(1)', 'array_agg(1)', 'string_agg(\'a\', \'b\')', 'unnest(ARRAY[1, 2])', 'random()', '(SELECT 1)', '(SELECT 1, 2)',
	'(SELECT generate_series(1, 9))', 'row()', 'row(1, NULL)', 'ARRAY[]', 'ARRAY[]::int[]', '1 / 0', '-9223372036854775808', '1e400', '\'NaN\'::float8', '\'a\'::int', '\'{\'::jsonb', 'B\'1\'',
	'X\'zz\'', 'interval \'1 y\'', 'now()', 'current_user', '; SELECT 1', '--', '/*', '*/', '$$', '$a$', '\'', '"', '\\', 'E\'\\', '(', ')', '()', '[', ']', ',', '.', '*', ' FROM ', ' WHERE ', ' AS ',
	' INTO x ', ' FOR UPDATE', ' LIMIT -1', ' ORDER BY 9', ' GROUP BY ()', ' UNION SELECT 1', ' RETURNING *', ' IS NULL', ' = ANY (', ' BETWEEN 1 AND ', ' CASE WHEN ', ' END', ' OVER (', ' => ',
	' VARIADIC ', ' LATERAL ', ' TABLESAMPLE system (1)', ' WITH ORDINALITY', 'goflow.', 'pg_temp.', 'pg_catalog.', "\xc3\xa4", "\xf0\x9f\x98\x80", "\xff", "\x01", "\x7f", "\xe2\x80\xae");

sub quoted
{
	my ($text) = @_;

	$text =~ s/(["\\])/\\$1/g;
	$text =~ s/\n/\\n/g;
	$text =~ s/\t/\\t/g;
	$text =~ s/([\x01-\x1f])/sprintf('\\u%04x', ord $1)/ge;
	$text =~ s/\0/\\u0000/g;
	return "\"$text\"";
}

sub odd_text { return one_of(one_of(@statements), one_of(@pieces), one_of(@odd_keys)); }

# ---- SQL ----

my $token = qr/\s+|--[^\n]*|\/\*.*?\*\/|\$(\w*)\$.*?\$\1\$|'[^']*+'|"[^"]*+"|\d+(?:\.\d+)?|[A-Za-z_]\w*|::|[<>=!|&+\-*\/]+|./s;

sub tokens
{
	my ($sql) = @_;
	my @tokens;

	push @tokens, $& while $sql =~ /$token/g;
	return @tokens;
}

# other: SQL from which pieces may be taken.
sub damage_sql
{
	my ($sql, $other) = @_;
	my $what = rand();

	return one_of(@statements) if $what < 0.08;
	if ($what < 0.1)
	{
		my $long = one_of(20, 200, 2000, 20_000);

		return $sql . ' + 1' x $long if rand() < 0.3;
		return '(' x $long . $sql . ')' x $long if rand() < 0.5;
		return 'coalesce(' x $long . $sql . ')' x $long if rand() < 0.3;
		return $sql . ' ' . one_of(@pieces) x $long;
	}
	return "($sql)" . one_of('::text', '::int', '::jsonb', '::boolean', '::interval', '::numeric', '::nothing', '[1]', '.x', '::text[]', ' IS NULL') if $what < 0.16;
	return "$sql; $sql" if $what < 0.17;
	my @tokens = tokens($sql);
	return one_of(@pieces) if !@tokens;
	for (0 .. int(-log(rand() + 1e-9)))
	{
		my $i = int(rand(@tokens));

		$what = rand();
		if ($what < 0.25) { $tokens[$i] = ''; }
		elsif ($what < 0.35)
		{
			my $j = int(rand(@tokens));

			@tokens[ $i, $j ] = @tokens[ $j, $i ];
		}
		elsif ($what < 0.4) { $tokens[$i] x= 2; }
		elsif ($what < 0.6) { $tokens[$i] = one_of(grep { /\S/ } tokens($other), 'x'); }
		elsif ($what < 0.85) { $tokens[$i] .= one_of(@pieces); }
		elsif ($what < 0.9) { $tokens[$i] = one_of(@pieces); }
		elsif ($what < 0.94) { $#tokens = $i; }
		elsif ($what < 0.96) { splice(@tokens, 0, $i); @tokens = ('') if !@tokens; }
		else
		{
			my $at = int(rand(length($tokens[$i]) + 1));

			substr($tokens[$i], $at, $at < length $tokens[$i] ? one_of(0, 1) : 0) = chr(int(rand(255)) + 1);
		}
	}
	return join '', @tokens;
}

# ---- JSON ----

my $string = qr/"[^"\\]*+(?:\\.[^"\\]*+)*+"/s;

# The values of a JSON text: [start, end, kind, start of its member or element].
# kind: { [ " k (a key) 0 (all else).  A text that is damaged gives what can be found.
sub values_of
{
	my ($text) = @_;
	my (@values, @open);
	my $start = 0;

	while ($text =~ /\G[\s,:]*+(?:($string)(\s*+:)?+|([{\[])|([}\]])|([^\s,:{}\[\]"]++)|.)/gcs)
	{
		my $is_key = defined $1 && defined $2;
		my $i = defined $1 ? 1 : defined $3 ? 3 : defined $4 ? 4 : defined $5 ? 5 : next;

		if ($i == 4)
		{
			$values[ pop @open ][1] = $+[4] if @open;
			next;
		}
		$start = $-[$i] if $is_key || !@open || $values[ $open[-1] ][2] eq '[';
		push @values, [ $-[$i], $i == 3 ? length $text : $+[$i], $is_key ? 'k' : $i == 1 ? '"' : $i == 3 ? $3 : '0', $start ];
		push @open, $#values if $i == 3;
	}
	return \@values;
}

my %scanned;    # what it is for the texts that values are taken from

# One change of a definition's text; others: texts from which values may be taken.
sub damage_json
{
	my ($text, $others) = @_;
	my $values = $scanned{$text} || values_of($text);

	return one_of(@odd_values) if !@$values;
	my $value = one_of(@$values);
	my ($start, $end, $kind, $member) = @$value;
	my $length = $end - $start;
	my $old = substr($text, $start, $length);
	my $new;
	my $what = rand();

	if ($kind eq '"' && $what < 0.6)
	{
		my $sql = $old =~ s/\\n/\n/gr =~ s/\\t/\t/gr =~ s/\\(["\\\/])/$1/gr;
		my $other = one_of(@$others);
		my ($piece) = substr($other, int(rand(length $other))) =~ /($string)/;

		$new = quoted(damage_sql(substr($sql, 1, -1), defined $piece ? substr($piece, 1, -1) : 'SELECT 1 AS x'));
	}
	elsif ($kind eq 'k')
	{
		$new = $what < 0.5 ? quoted(one_of(@odd_keys)) : do {
			my @keys = grep { $_->[2] eq 'k' } @$values;
			my $key = one_of(@keys);

			substr($text, $key->[0], $key->[1] - $key->[0]);
		};
	}
	elsif ($what < 0.15)
	{
		# without the member; the comma beside it goes, too, or not
		my $tail = substr($text, $end);

		$tail =~ s/^\s*,\s*// or rand() < 0.9 && (substr($text, 0, $member) =~ /,\s*$/ and $member = $-[0]);
		return substr($text, 0, $member) . $tail;
	}
	elsif ($what < 0.2) { $new = $old . ', ' . substr($text, $member, $end - $member); }
	elsif ($what < 0.28) { $new = one_of("[$old]", "[$old, $old]", "{\"a\": $old}", quoted($old), "{\"nodes\": $old}", "{\"body\": $old}"); }
	elsif ($what < 0.32)
	{
		my $deep = rand() < 0.1 ? one_of(7000, 100_000) : one_of(5, 60, 70, 300);

		$new = rand() < 0.5 ? '[' x $deep . $old . ']' x $deep
		  : '{"nodes": {"n": {"type": "loop", "repeat": 1, "body": ' x $deep . $old . '}}}' x $deep;
	}
	elsif ($what < 0.325)
	{
		my $many = one_of(1001, 10_001, 50_000);

		$new = one_of(quoted('x' x ($many * 20)), '[' . join(', ', ($old) x ($length < 100 ? $many : 50)) . ']', '9' x $many,
			'{' . join(', ', map { "\"k$_\": " . ($length < 100 ? $old : 1) } 1 .. $many) . '}');
	}
	elsif ($what < 0.6) { $new = one_of(@odd_values); }
	else
	{
		# a value of the same or another kind, of this definition or another
		my $from = rand() < 0.4 ? $text : one_of(@$others);
		my $all = $scanned{$from} ||= values_of($from);
		my @fit = grep { $_->[2] eq $kind || $what > 0.95 && $_->[2] ne 'k' } @$all;
		my $other = @fit ? one_of(@fit) : undef;

		$new = $other ? substr($from, $other->[0], $other->[1] - $other->[0]) : one_of(@odd_values);
	}
	return substr($text, 0, $start) . $new . substr($text, $end);
}

# Bytes, without regard to what they mean.
sub damage_bytes
{
	my ($text) = @_;

	for (0 .. int(rand(3)))
	{
		my $at = int(rand(length($text) + 1));

		substr($text, $at, $at < length $text ? one_of(0, 1, 1) : 0) =
		  one_of("\0", "\xff", "\xc3", "\xe2\x82", "\xf0\x9f", "\xc0\xaf", "\xed\xa0\x80", "\x80", '\\', '"', chr(int(rand(256))), '\u00', '\ud83d', "\x1b[2J");
	}
	return $text;
}

sub damage_definition
{
	my ($text, $others) = @_;

	$scanned{$text} ||= values_of($text);
	for (0 .. int(-log(rand() + 1e-9) * 0.8))
	{
		$text = damage_json($text, $others);
		last if length $text > 100_000;
	}
	$text = damage_bytes($text) if rand() < 0.03;
	return $text;
}

1;
