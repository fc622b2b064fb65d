# Random calls of goflow's functions: every kind of argument, definitions that
# were damaged, several roles.  What comes back must be a result or an error
# that goflow or the server's parser means, never a crash or an internal error.
package CallFuzz;

use strict;
use warnings;
use JSON::PP;

my $json = JSON::PP->new->canonical->allow_nonref->max_depth(10_000);

# Sound definitions; most of what is tried is one of them with some damage.
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

my @words = ('', ' ', 'a', 'fuzz_0', 'fuzz_1', 'fuzz_2', 'fuzz_3', 'fuzz_user', 'A b"c', "it's", 'select', 'x' x 63, 'x' x 64, 'x' x 5000, "\x{e4}\x{6f22}\x{1f600}",
	'%s%n', '\\', '$1', 'null', '-1', '1 day', '-1 day', 'infinity', '99999999999', '1e400', '{}', '[]', '{a}', '{{1}}', 'pg_catalog', 'goflow', "a\tb\nc",
	'node_failed', 'completed', 'mermaid', 'dot', 'queued', 'execution_started');
my @numbers = (0, 1, -1, 2, 7, 100, 32767, -32768, 2147483647, -2147483648);

sub one_of { return $_[ int(rand(@_)) ]; }

sub quote
{
	my ($text) = @_;

	$text =~ s/'/''/g;
	$text =~ s/\\/\\\\/g;
	return "E'$text'";
}

# A value somewhere in a tree is replaced, doubled, taken out, or renamed.
sub damage
{
	my ($value, $depth) = @_;

	if (ref $value eq 'HASH' && %$value && rand() > 0.15)
	{
		my %copy = %$value;
		my $key = one_of(sort keys %copy);
		my $what = rand();

		if ($what < 0.1) { delete $copy{$key}; }
		elsif ($what < 0.2) { $copy{ one_of(@words, keys %copy) } = $copy{$key}; }
		else { $copy{$key} = damage($copy{$key}, $depth + 1); }
		return \%copy;
	}
	if (ref $value eq 'ARRAY' && @$value && rand() > 0.15)
	{
		my @copy = @$value;
		my $i = int(rand(@copy));

		if (rand() < 0.2) { push @copy, $copy[$i]; }
		else { $copy[$i] = damage($copy[$i], $depth + 1); }
		return \@copy;
	}
	if (!ref $value && length $value && rand() < 0.6)
	{
		my $at = int(rand(length $value));
		my $what = rand();

		return substr($value, 0, $at) . substr($value, $at + 1) if $what < 0.3;
		return substr($value, 0, $at) . one_of(split //, q{().,;:'"$*=<>-+/[]{} axn19}) . substr($value, $at) if $what < 0.7;
		return substr($value, 0, $at) . one_of('; DROP TABLE x', '::text', ' FROM', 'a.x', 'input.n', 'vars.v', '(SELECT 1)', '--', '/*', 'NULL') . substr($value, $at);
	}
	return one_of(undef, JSON::PP::true, -1, 1e9, '', [], {}, [ [] ], one_of(@words), one_of(@definitions));
}

sub definition
{
	my $value = one_of(@definitions);

	$value = damage($value, 0) for 1 .. int(rand(4));
	if (rand() < 0.02)
	{
		$value = { nodes => { n => { type => 'loop', repeat => 1, body => $value } } } for 1 .. int(rand(200));
	}
	return $json->encode($value);
}

# A value of a type as SQL; live: an expression for an execution that exists.
sub argument
{
	my ($type) = @_;

	return 'NULL' if rand() < 0.07;
	return one_of("(SELECT execution FROM goflow.executions ORDER BY random() LIMIT 1)", 'gen_random_uuid()',
		"(SELECT task FROM goflow.claim('{fuzz}') LIMIT 1)") . '::uuid' if $type eq 'uuid';
	return quote(rand() < 0.5 ? definition() : $json->encode(one_of({}, { n => 1 }, { n => 'x' }, [], 'a', 7, undef, { b => JSON::PP::true, x => 1 }))) . '::jsonb'
	  if $type eq 'jsonb';
	return 'ARRAY[' . join(', ', map { argument('jsonb') } 1 .. int(rand(4))) . ']::jsonb[]' if $type eq 'jsonb[]';
	return 'ARRAY[' . join(', ', map { argument('text') } 1 .. int(rand(4))) . ']::text[]' if $type eq 'text[]';
	return one_of(@numbers) . "::$type" if $type =~ /^(integer|bigint|smallint)$/;
	return one_of('true', 'false') if $type eq 'boolean';
	return one_of(map { "'$_'" } '0', '1 ms', '-1 day', '1000 years') . '::interval' if $type eq 'interval';
	return one_of("'fuzz_user'", "'fuzz_stranger'", '0', '999999') . '::regrole' if $type eq 'regrole';
	return quote(one_of(@words)) . "::$type" if $type eq 'text';
	return quote(one_of(@words)) . '::text' if $type =~ /^any/;
	return "NULL::$type";
}

# SQL that sets the stage.
sub stage
{
	my $sql = q{
		CREATE ROLE fuzz_user LOGIN; CREATE ROLE fuzz_stranger LOGIN;
		SELECT goflow.grant_usage('fuzz_user');
		GRANT CREATE ON SCHEMA public TO fuzz_user;
		SET ROLE fuzz_user; SET client_min_messages = error;
	};

	$sql .= "SELECT goflow.define('fuzz_$_', " . quote($json->encode($definitions[$_])) . "::jsonb);\n" for 0 .. $#definitions;
	return $sql;
}

# Functions with their types: as SQL that gives rows "name|types|needed".
our $functions = q{
	SELECT p.proname || '|' || coalesce((SELECT string_agg(t::regtype::text, ',' ORDER BY o) FROM unnest(p.proargtypes) WITH ORDINALITY u(t, o)), '')
		|| '|' || (p.pronargs - p.pronargdefaults)
	FROM pg_proc p WHERE pronamespace = 'goflow'::regnamespace AND prorettype <> 'trigger'::regtype AND prorettype <> 'event_trigger'::regtype
	ORDER BY 1};

# One call: name, types, number of arguments that must be there.
sub call
{
	my ($function) = @_;
	my ($name, $types, $needed) = split /\|/, $function;
	my @types = split /,/, $types;
	my $n = $needed + int(rand(@types - $needed + 1));

	return "SELECT * FROM goflow.$name(" . join(', ', map { argument($_) } @types[ 0 .. $n - 1 ]) . ");\n";
}

sub calls
{
	my ($functions, $n) = @_;
	my @often = grep { /^(validate|define|start|run|signal|cancel|events|approve|complete)\|/ } @$functions;
	my $sql = "SET client_min_messages = error; SET statement_timeout = '2s';\n\\set VERBOSITY sqlstate\n";

	for (1 .. $n)
	{
		$sql .= 'SET ROLE ' . one_of('fuzz_user', 'fuzz_user', 'fuzz_stranger', 'NONE') . ";\n" if rand() < 0.05;
		$sql .= 'SELECT goflow.' . one_of('validate(', "define('fuzz_9', ", "run('fuzz_9') FROM goflow.define('fuzz_9', ") . quote(definition()) . "::jsonb);\n"
		  if rand() < 0.3;
		$sql .= call(one_of(rand() < 0.5 && @often ? @often : @$functions));
	}
	return $sql;
}

1;
