# Random calls of goflow's functions with every kind of argument, and what else can
# be done to its objects.
package CallFuzz;

use strict;
use warnings;
use Damage qw(one_of odd_text damage_definition);
use JSON::PP;

my $json = JSON::PP->new->canonical->allow_nonref;
our @executions;    # those that calls can be about

# Sound definitions of every type of node, "fuzz_0" and so on.
my @definitions = (
	{ input => { n => 'int = 1', t => "text = 'x'" }, variables => { v => 'numeric = 0' },
		nodes => { a => { type => 'sql', sql => 'SELECT input.n AS x, count(*) AS c FROM pg_class' },
			b => { type => 'condition', after => ['a'], if => 'a.x > 0' },
			c => { type => 'set', after => ['b:true'], set => { v => 'vars.v + a.x' } },
			d => { type => 'transform', after => [ 'b:false', 'c' ], join => 'any', value => { y => 'a.c::text || input.t' } } },
		output => { y => 'd.y' }, timeout => '1 min', on_error => 'continue' },
	{ nodes => { l => { type => 'loop', for => 'SELECT i FROM generate_series(1, 5) i', as => 'r', parallel => 2, collect => 'r.i * 2',
				body => { nodes => { s => { type => 'sql', sql => 'SELECT r.i / (r.i - 9) AS q', retry => { attempts => 2, backoff => '1 ms' } },
						k => { type => 'break', after => ['s'], if => 'loop.index > 3' } } } },
			t => { type => 'try', after => ['l'], body => { nodes => { r => { type => 'raise', code => 'UX001', message => "'no'" } } },
				catch => [ { on => ['UX'], body => { nodes => { m => { type => 'transform', value => { e => 'error.message' } } } } } ],
				finally => { nodes => { f => { type => 'notify', channel => 'c', payload => "'p'" } } } } } },
	{ nodes => { p => { type => 'parallel', join => 'any', cancel_rest => JSON::PP::true, aggregate => 'first',
				branches => { x => { nodes => { d => { type => 'delay', for => "interval '1 ms'" } } },
					y => { nodes => { w => { type => 'switch', on => '1', cases => [ { port => 'one', when => '1' } ] } } } } },
			m => { type => 'map', after => ['p'], over => "'[1,2]'::jsonb", as => 'i', value => 'i.value' },
			f => { type => 'filter', after => ['m'], over => 'm.items', as => 'i', where => 'true' },
			g => { type => 'reduce', after => ['f'], over => 'f.items', as => 'i', initial => '0', value => 'acc.value + 1' },
			h => { type => 'split', after => ['g'], over => 'm.items', size => 1 },
			z => { type => 'merge', after => ['h'], of => [ 'm.items', 'f.items' ], mode => 'arrays' } } },
	{ nodes => { s => { type => 'signal', payload => { n => 'int' }, timeout => '10 ms', on_error => 'continue' },
			q => { type => 'approval', role => 'fuzz_user', form => { b => 'boolean' }, timeout => '10 ms', on_error => 'continue' },
			t => { type => 'task', queue => 'fuzz', output => { x => 'int' }, timeout => '10 ms', on_error => 'continue' },
			w => { type => 'workflow', workflow => 'fuzz_1', input => { n => '1' } } } });

my @texts = map { $json->encode($_) } @definitions;

my @words = ('', ' ', 'a', 'fuzz_0', 'fuzz_1', 'fuzz_2', 'fuzz_3', 'fuzz_user', 'A b"c', "it's", 'select', 'x' x 63, 'x' x 64, 'x' x 5000, "\xc3\xa4\xe6\xbc\xa2\xf0\x9f\x98\x80",
	'%s%n', '\\', '$1', 'null', '-1', '1 day', '-1 day', 'infinity', '99999999999', '1e400', '{}', '[]', '{a}', '{{1}}', 'pg_catalog', 'goflow', "a\tb\nc",
	'node_failed', 'completed', 'mermaid', 'dot', 'queued', 'execution_started', 'all', 'any', 'l', 's', 'q', 't', 'merge');
my @numbers = (0, 1, -1, 2, 7, 100, 32767, -32768, 2147483647, -2147483648);

sub quote
{
	my ($text) = @_;

	$text =~ s/'/''/g;
	$text =~ s/\\/\\\\/g;
	return "E'$text'";
}

sub definition
{
	my $text = $json->encode(one_of(@definitions));

	return rand() < 0.3 ? $text : damage_definition($text, \@texts);
}

# An interesting value of a type, as SQL.
sub argument
{
	my ($type) = @_;

	return 'NULL' if rand() < 0.07;
	return one_of((map { "'$_'" } @executions ? one_of(@executions) : ()), 'gen_random_uuid()', "'00000000-0000-0000-0000-000000000000'",
		"(SELECT task FROM goflow.claim('{fuzz}') LIMIT 1)") . '::uuid' if $type eq 'uuid';
	return quote(rand() < 0.5 ? definition() : $json->encode(one_of({}, { n => 1 }, { n => 'x' }, [], 'a', 7, undef, { b => JSON::PP::true, x => 1 }))) . '::jsonb'
	  if $type eq 'jsonb';
	return 'ARRAY[' . join(', ', map { argument('jsonb') } 1 .. int(rand(4))) . ']::jsonb[]' if $type eq 'jsonb[]';
	return 'ARRAY[' . join(', ', map { argument('text') } 1 .. int(rand(4))) . ']::text[]' if $type eq 'text[]';
	return one_of(@numbers) . "::$type" if $type =~ /^(integer|bigint|smallint)$/;
	return one_of(@numbers, "'NaN'", "'infinity'", '1e-300') . '::numeric' if $type eq 'numeric';
	return one_of('true', 'false') if $type eq 'boolean';
	return one_of(map { "'$_'" } '0', '1 ms', '-1 day', '1000 years') . '::interval' if $type eq 'interval';
	return one_of(map { "'$_'" } '(,)', 'empty', '[2020-01-01,)', '(,infinity]', '[-infinity,2100-01-01)') . '::tstzrange' if $type eq 'tstzrange';
	return one_of("'fuzz_user'", "'fuzz_stranger'", '0', '999999', '2147483648', 'NULL') . '::regrole' if $type eq 'regrole';
	return quote(one_of(@words, rand() < 0.3 ? odd_text() : 'a')) . "::$type" if $type eq 'text';
	return one_of(quote(one_of(@words)) . '::text', argument('jsonb'), argument('text[]'), argument('integer'), '1.5', "'a'", 'NULL', "B'1'", 'row(1)') if $type =~ /^any/;
	return "NULL::$type";
}

# SQL that defines what the calls are about.
sub stage
{
	return join '', map { "SELECT goflow.define('fuzz_$_', " . quote($json->encode($definitions[$_])) . "::jsonb);\n" } 0 .. $#definitions;
}

# All functions with their types, the internal ones, too: rows "name|types|needed|variadic|kind".
our $functions = q{
	SELECT p.proname || '|' || coalesce((SELECT string_agg(t::regtype::text, ',' ORDER BY o) FROM unnest(p.proargtypes) WITH ORDINALITY u(t, o)), '')
		|| '|' || (p.pronargs - p.pronargdefaults) || '|' || (p.provariadic <> 0) || '|' || p.prokind::text
	FROM pg_proc p WHERE pronamespace = 'goflow'::regnamespace
	ORDER BY 1};

# One call of a function.
sub call
{
	my ($function) = @_;
	my ($name, $types, $needed, $is_variadic, $kind) = split /\|/, $function;
	my @types = split /,/, $types;
	my $n = $needed + int(rand(@types - $needed + 1));
	my @arguments = map { argument($_) } @types[ 0 .. $n - 1 ];

	$arguments[-1] = "VARIADIC $arguments[-1]" if $is_variadic eq 'true' && $n == @types;
	return ($kind eq 'p' ? 'CALL' : 'SELECT * FROM') . " goflow.\"$name\"(" . join(', ', @arguments) . ')';
}

# What can be done to goflow's objects without its functions.
sub statement
{
	my $table = 'goflow.' . one_of(qw(workflow start_grant execution journal node_state home pending frame signal task approval executions workflows
		  approvals tasks subscriptions event), 'health()');

	return one_of("SELECT * FROM $table LIMIT 5", "SELECT count(*) FROM $table", "UPDATE $table SET state = NULL", "DELETE FROM $table", "INSERT INTO $table DEFAULT VALUES",
		'CREATE TRIGGER fuzz_trigger AFTER INSERT ON fuzz_table FOR EACH ROW EXECUTE FUNCTION goflow.row_trigger(' . quote(one_of(@words)) . ')',
		'CREATE TRIGGER fuzz_trigger AFTER INSERT ON fuzz_own FOR EACH ' . one_of('ROW', 'STATEMENT') . ' EXECUTE FUNCTION goflow.row_trigger(' . quote(one_of(@words)) . ')',
		'CREATE TABLE fuzz_own AS SELECT 1 AS a', 'INSERT INTO fuzz_own VALUES (1), (2)', 'COPY fuzz_own TO STDOUT', 'DROP TABLE fuzz_own', 'LISTEN goflow', 'UNLISTEN *',
		'LISTEN ' . one_of('goflow_fuzz', 'goflow_workflow_fuzz_0', 'goflow_00000000000000000000000000000000', 'goflow_tasks_fuzz', 'goflow_s_x'),
		'SET goflow.' . one_of('public_events', 'max_workers', 'batch_nodes', 'fuse', 'nothing') . ' = ' . one_of('off', '0', '-1', "'x'"),
		'BEGIN; SAVEPOINT a; ' . call($_[0]) . '; ROLLBACK TO a; ' . call($_[0]) . '; COMMIT', 'PREPARE TRANSACTION ' . quote(one_of(@words)));
}

1;
