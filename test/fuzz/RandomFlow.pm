# Random workflows, and a model that says what they do.
#
# flow(seed) makes a valid workflow of nested bodies in which some nodes fail,
# depending on data; json() writes its definition; predict() walks through it and
# gives its state, its error, its output, and what it leaves in table "fx".
#
# What happens side by side may come to an end in several ways.  So a prediction
# has effects that must be there ("must") and others that may be ("may"): those of
# branches and iterations beside one that fails.  Variables are written only where
# one thing follows the other.  What can't be predicted even so is undef.  Nodes of
# which some may be cancelled are "loose": they may have effects with other values.
package RandomFlow;

use strict;
use warnings;
use JSON::PP;

my $json = JSON::PP->new->canonical->allow_nonref;
our ($number, $compensates, $beside);

# ---- expressions: [kind, …]; as SQL, and their value ----

sub sql
{
	my ($e) = @_;
	my ($kind, @args) = @$e;

	return "$args[0]" if $kind eq 'const';
	return "vars.$args[0]" if $kind eq 'var';
	return "coalesce($args[0].v, 0)" if $kind eq 'node';
	return "$args[0].value" if $kind eq 'item';
	return "coalesce($args[0].iterations, 0)" if $kind eq 'iterations';
	return "coalesce($args[0].ok::int, 0)" if $kind eq 'ok';
	return "coalesce(($args[0].output ->> 'v')::int, 0)" if $kind eq 'output';
	return 'loop.index::int' if $kind eq 'index';
	return '((' . sql($args[0]) . " * $args[1] + " . sql($args[2]) . ') % 97)' if $kind eq 'mix';
	return '(' . sql($args[0]) . " % $args[1] = $args[2])" if $kind eq 'is';
	return '(NOT ' . sql($args[0]) . ')' if $kind eq 'not';
	return '(' . sql($args[0]) . " <= $args[1])" if $kind eq 'upto';
	# a number, or a division by zero
	return '(' . sql($args[1]) . ' + 0 / CASE WHEN ' . sql($args[0]) . ' THEN 0 ELSE 1 END)' if $kind eq 'risk';
	die "expression $kind";
}

sub lookup
{
	my ($frame, $what, $name) = @_;

	for (; $frame; $frame = $frame->{parent})
	{
		return $frame->{$what}{$name} if exists $frame->{$what}{$name};
	}
	return undef;
}

# undef: it fails
sub value
{
	my ($e, $f) = @_;
	my ($kind, @args) = @$e;
	my ($a, $b);

	return $args[0] if $kind eq 'const';
	if ($kind eq 'var')
	{
		$a = lookup($f, 'vars', $args[0]);
		return defined $a ? $a : die "variable $args[0] is not set";
	}
	if ($kind eq 'output')
	{
		$a = lookup($f, 'outputs', $args[0]);
		return defined $a ? $a : 0;
	}
	if ($kind =~ /^(node|iterations|ok)$/)
	{
		$a = lookup($f, 'nodes', $args[0]);
		return defined $a ? $a : 0;
	}
	return lookup($f, 'items', $args[0]) if $kind eq 'item';
	return lookup($f, 'items', '') if $kind eq 'index';
	if ($kind eq 'mix')
	{
		($a, $b) = (value($args[0], $f), value($args[2], $f));
		return ($a * $args[1] + $b) % 97;
	}
	return value($args[0], $f) % $args[1] == $args[2] ? 1 : 0 if $kind eq 'is';
	return value($args[0], $f) ? 0 : 1 if $kind eq 'not';
	return value($args[0], $f) <= $args[1] ? 1 : 0 if $kind eq 'upto';
	return value($args[0], $f) ? undef : value($args[1], $f) if $kind eq 'risk';
	die "expression $kind";
}

# ---- the generator ----

sub chance { return rand() < $_[0]; }
sub one_of { return $_[ int(rand(@_)) ]; }
sub between { return $_[0] + int(rand($_[1] - $_[0] + 1)); }

sub atom
{
	my ($c) = @_;
	my @known = @{ $c->{known} };

	return @known && chance(0.8) ? one_of(@known) : [ const => between(0, 9) ];
}

sub expression
{
	my ($c) = @_;

	return chance(0.4) ? atom($c) : [ mix => atom($c), between(1, 5), atom($c) ];
}

sub test
{
	my ($c) = @_;
	my $k = between(2, 4);

	return [ is => expression($c), $k, between(0, $k - 1) ];
}

sub codes
{
	my @codes = qw(22012 22 division_by_zero P0042 P0001 P0 raise_exception WF204 23505);

	return undef if chance(0.4);
	return [ map { one_of(@codes) } 1 .. between(1, 2) ];
}

sub new_id { return $_[0] . ++$number; }

sub effect
{
	my ($c, $risk) = @_;
	my $value = expression($c);

	$value = [ risk => test($c), $value ] if chance($risk);
	my $node = { id => new_id('n'), type => 'sql', value => $value, iter => [ @{ $c->{iter} } ] };
	if (chance(0.15))
	{
		$node->{compensate} = 1;
		$compensates = 1;
	}
	$node->{code} = 1 if $c->{in_catch} && chance(0.5);
	return $node;
}

# A sub-workflow.
sub call
{
	my ($c) = @_;
	my $node = { id => new_id('w'), type => 'workflow', value => expression($c), iter => [ @{ $c->{iter} } ] };

	if (chance(0.3))
	{
		$node->{compensate} = 1;
		$compensates = 1;
	}
	push @{ $c->{known} }, [ output => $node->{id} ];
	return $node;
}

sub policies
{
	my ($c, $node) = @_;

	if (chance(0.2))
	{
		$node->{retry} = { attempts => between(1, 3) };
		$node->{retry}{on} = codes() if chance(0.3);
	}
	$node->{on_error} = one_of(qw(continue continue skip skip fail)) if chance(0.2);
}

# A context for what is inside of a body.
sub inside
{
	my ($c, %more) = @_;

	return { %$c, known => [ @{ $c->{known} } ], writable => [ @{ $c->{writable} } ], iter => [ @{ $c->{iter} } ],
		depth => $c->{depth} + 1, %more };
}

sub loop
{
	my ($c) = @_;
	my $id = new_id('l');
	my $node = { id => $id, type => 'loop', kind => one_of(qw(array array jsonb query repeat while)), parallel => 1 };
	my $inner = inside($c, in_loop => 1);
	my $index = new_id('i');

	$node->{parallel} = between(2, 4) if $node->{kind} ne 'while' && chance(0.3);
	$beside ||= $node->{parallel} > 1;
	if ($node->{kind} =~ /array|jsonb|query/)
	{
		$node->{items} = [ map { between(0, 20) } 1 .. between(0, 5) ];
		push @{ $inner->{known} }, [ item => "x$id" ] if $node->{kind} ne 'jsonb';
	}
	elsif ($node->{kind} eq 'repeat')
	{
		$node->{count} = chance(0.5) ? [ const => between(0, 5) ] : [ risk => test($c), [ const => between(1, 4) ] ];
	}
	else
	{
		$node->{test} = [ upto => ['index'], between(0, 5) ];
	}
	$node->{max} = between(1, 4) if chance(0.1);
	$inner->{writable} = [] if $node->{parallel} > 1;
	push @{ $inner->{iter} }, $index;
	push @{ $inner->{known} }, [ var => $index ];
	my $collects = chance(0.5);
	$node->{body} = body($inner, $index, $collects ? 0 : 0.2);
	if ($collects)
	{
		$node->{collect} = chance(0.8) ? [ var => $index ] : [ risk => [ is => [ var => $index ], 5, 3 ], [ var => $index ] ];
	}
	push @{ $c->{known} }, [ iterations => $id ] if $node->{parallel} == 1;
	return $node;
}

sub try_node
{
	my ($c) = @_;
	my $node = { id => new_id('t'), type => 'try', catches => [] };

	$node->{body} = body(inside($c), undef, 0.3);
	push @{ $node->{catches} }, { on => codes(), body => body(inside($c, in_catch => 1), undef, 0.3) } for 1 .. between(0, 2);
	# "any" must be the last
	for my $i (0 .. $#{ $node->{catches} } - 1)
	{
		$node->{catches}[$i]{on} ||= ['22'];
	}
	$node->{finally} = body(inside($c)) if !@{ $node->{catches} } || chance(0.4);
	push @{ $c->{known} }, [ ok => $node->{id} ];
	# of the catches the first alone may be left (item)
	my ($first) = @{ $node->{catches} };
	push @{ $c->{known} }, [ output => $node->{id} ] if $node->{body}{output} || $first && $first->{body}{output};
	return $node;
}

sub parallel
{
	my ($c) = @_;
	my $node = { id => new_id('p'), type => 'parallel', branches => [] };

	$beside = 1;

	push @{ $node->{branches} }, body(inside($c, writable => []), undef, 0.2) for 1 .. between(1, 3);
	if (chance(0.4))
	{
		$node->{join} = chance(0.5) ? 'any' : between(1, scalar @{ $node->{branches} });
		$node->{cancel_rest} = 1 if chance(0.4);
	}
	return $node;
}

# One or several nodes after "exits"; gives the exits for what follows.
sub item
{
	my ($c, $nodes, $exits) = @_;
	my $deep = $c->{depth} < 4 && $number < 60;
	my $kind = one_of(qw(effect effect effect set set condition switch fan goto raise break call),
		$deep ? qw(loop loop loop try try try parallel parallel) : ());
	my $node;

	$kind = 'effect' if $kind eq 'raise' && chance(0.5);
	$kind = 'effect' if $kind eq 'break' && !$c->{in_loop};
	$kind = 'effect' if $kind eq 'set' && !@{ $c->{writable} };

	if ($kind eq 'condition' || $kind eq 'switch')
	{
		my @ports = ('true', 'false');

		$node = { id => new_id('c'), type => $kind, after => $exits };
		if ($kind eq 'condition')
		{
			$node->{test} = chance(0.1) ? [ risk => test($c), [ is => [ const => 1 ], 1, 0 ] ] : test($c);
		}
		else
		{
			$node->{on} = expression($c);
			$node->{cases} = [ map { between(0, 3) } 1 .. between(1, 3) ];
			@ports = ((map { "p$_" } 1 .. @{ $node->{cases} }), 'default');
		}
		push @$nodes, $node;
		policies($c, $node);
		my @out;
		for my $port (@ports)
		{
			next if chance(0.2);
			my $next = effect($c, 0.1);

			policies($c, $next);
			$next->{after} = [ [ $node->{id}, $port ] ];
			push @$nodes, $next;
			push @out, [ $next->{id} ];
		}
		push @out, [ $node->{id}, one_of(@ports) ] if !@out || chance(0.3);
		return \@out;
	}
	if ($kind eq 'fan')
	{
		my @out;

		$beside = 1;
		for (1 .. between(2, 4))
		{
			my $next = effect($c, 0.3);

			$next->{retry} = { attempts => between(2, 3) } if chance(0.5);
			$next->{on_error} = one_of(qw(continue skip));
			$next->{after} = $exits;
			push @$nodes, $next;
			push @out, [ $next->{id} ];
		}
		return \@out;
	}
	if ($kind eq 'goto')
	{
		my $handler = effect($c, 0.1);
		$node = $deep && chance(0.5) ? one_of(\&loop, \&try_node, \&parallel)->($c) : effect($c, 0.7);
		$node->{on_error} = $handler->{id};
		$node->{after} = $exits;
		push @$nodes, $node, $handler;
		$handler->{failures} = [ $node->{id} ];
		push @{ $c->{known} }, [ node => $handler->{id} ];
		return [ [ $node->{id} ], [ $handler->{id} ] ];
	}
	if ($kind eq 'effect')
	{
		$node = effect($c, 0.15);
		push @{ $c->{known} }, [ node => $node->{id} ];
	}
	elsif ($kind eq 'call')
	{
		$node = call($c);
	}
	elsif ($kind eq 'set')
	{
		my $name = one_of(@{ $c->{writable} });

		$node = { id => new_id('s'), type => 'set', set => { $name => [ mix => [ var => $name ], 1, [ const => between(1, 3) ] ] } };
		$node->{set}{$name} = expression($c) if chance(0.3);
	}
	elsif ($kind eq 'raise')
	{
		$node = { id => new_id('r'), type => 'raise', code => one_of(undef, 'P0042', '22012') };
		$node->{again} = 1 if $c->{in_catch} && chance(0.6);
	}
	elsif ($kind eq 'break')
	{
		$node = { id => new_id('b'), type => one_of(qw(break continue)), test => chance(0.9) ? test($c) : undef };
	}
	else
	{
		$node = { loop => \&loop, try => \&try_node, parallel => \&parallel }->{$kind}->($c);
		if (chance(0.05))
		{
			$node->{compensate} = 1;
			$node->{iter} = [ @{ $c->{iter} } ];
			$compensates = 1;
		}
	}
	$node->{after} = $exits;
	policies($c, $node);
	# fails until it has been tried often enough
	if ($node->{body} && $node->{type} eq 'try' && @{ $c->{writable} } && chance(0.3))
	{
		my $name = one_of(@{ $c->{writable} });
		my $up = { id => new_id('s'), type => 'set', after => [],
			set => { $name => [ mix => [ var => $name ], 1, [ const => 1 ] ] } };
		my $check = { id => new_id('n'), type => 'sql', iter => [ @{ $c->{iter} } ], after => [ [ $up->{id} ] ],
			value => [ risk => [ not => [ is => [ var => $name ], 3, 0 ] ], [ const => 1 ] ] };

		$node->{body} = { %{ $node->{body} }, nodes => [ $up, $check, @{ $node->{body}{nodes} } ] };
		for my $entry (@{ $node->{body}{nodes} }[ 2 .. $#{ $node->{body}{nodes} } ])
		{
			$entry->{after} = [ [ $check->{id} ] ] unless @{ $entry->{after} || [] } || $entry->{failures};
		}
		$node->{catches} = [ { on => ['23505'], body => $node->{catches}[0]{body} } ] if @{ $node->{catches} };
		$node->{retry} = { attempts => between(2, 4) };
	}
	push @$nodes, $node;
	return [ [ $node->{id} ] ];
}

sub body
{
	my ($c, $index, $outputs) = @_;
	my $body = { nodes => [], vars => [] };
	my $exits = [];

	push @{ $body->{vars} }, [ $index, ['index'] ] if $index;
	if (chance(0.3))
	{
		my $name = new_id('v');
		my @outer = grep { !$index || $_->[1] ne $index } @{ $c->{known} };
		my $first = { known => $c->{depth} ? \@outer : [] };    # it sees nothing of its own body

		push @{ $body->{vars} }, [ $name, chance(0.05) ? [ risk => test($first), expression($first) ] : expression($first) ];
		push @{ $c->{known} }, [ var => $name ];
		push @{ $c->{writable} }, $name;
	}
	for (1 .. between(1, $c->{depth} ? 3 : 5))
	{
		$exits = item($c, $body->{nodes}, $exits);
	}
	if (chance($outputs || 0))
	{
		$body->{output} = expression($c);
		$body->{output} = [ risk => test($c), $body->{output} ] if chance(0.2);
	}
	return $body;
}

sub flow
{
	my ($seed) = @_;

	srand($seed);
	local ($number, $compensates, $beside) = (0, 0, 0);
	my $flow = { vars => [ map { [ $_, [ const => between(0, 5) ] ] } qw(a b) ] };
	my $c = { known => [ [ var => 'a' ], [ var => 'b' ] ], writable => [ 'a', 'b' ], iter => [], depth => 0 };

	$flow->{body} = body($c);
	push @{ $flow->{vars} }, @{ $flow->{body}{vars} };
	$flow->{body}{vars} = [];
	$flow->{is_sequential} = !$beside;
	$flow->{on_error} = one_of(qw(continue skip)) if chance(0.05);
	$flow->{retry} = { attempts => 2 } if chance(0.05);
	return $flow;
}

# ---- the definition ----

sub child_definition
{
	my $insert = 'INSERT INTO fx (tag, path, iter, v, kind) VALUES (input.tag, input.path, input.iter, input.n,';

	return $json->encode({
		input => { tag => 'text', path => 'text', iter => 'text', n => 'int' },
		nodes => {
			a => { type => 'sql', sql => "$insert 'child') RETURNING v", compensate => "$insert 'unchild')" },
			b => { type => 'sql', after => ['a'], sql => 'SELECT 1 / CASE WHEN input.n % 4 = 1 THEN 0 ELSE 1 END AS x' } },
		output => { v => '(a.v * 2 + 1) % 97' } });
}

sub iter_sql
{
	my ($node) = @_;
	my @names = @{ $node->{iter} };

	return @names ? 'concat_ws(\'/\', ' . join(', ', map { "vars.$_" } @names) . ')' : "''";
}

sub retry_json
{
	my ($retry) = @_;

	return { attempts => $retry->{attempts}, backoff => '0 s', $retry->{on} ? (on => $retry->{on}) : () };
}

sub node_json
{
	my ($node) = @_;
	my $type = $node->{type};
	my $j = { type => $type };

	$j->{after} = [ map { join(':', @$_) } @{ $node->{after} } ] if @{ $node->{after} || [] };
	$j->{retry} = retry_json($node->{retry}) if $node->{retry};
	$j->{on_error} = $node->{on_error} if $node->{on_error};
	if ($node->{compensate})
	{
		my $value = $type eq 'sql' ? "$node->{id}.v" : '0';

		$j->{compensate} = "INSERT INTO fx (tag, path, iter, v, kind) VALUES (input.tag, '$node->{id}', "
		  . iter_sql($node) . ", $value, 'undo')";
	}
	if ($type eq 'sql')
	{
		$j->{sql} = "INSERT INTO fx (tag, path, iter, v, kind) VALUES (input.tag, '$node->{id}', "
		  . iter_sql($node) . ', ' . sql($node->{value}) . ', '
		  . ($node->{code} ? 'error.code' : "''") . ') RETURNING v';
	}
	elsif ($type eq 'workflow')
	{
		$j->{workflow} = 'fuzz_child';
		$j->{input} = { tag => 'input.tag', path => "'$node->{id}'", iter => iter_sql($node), n => sql($node->{value}) };
	}
	elsif ($type eq 'set')
	{
		$j->{set} = { map { $_ => sql($node->{set}{$_}) } keys %{ $node->{set} } };
	}
	elsif ($type eq 'condition')
	{
		$j->{if} = $node->{test}[0] eq 'risk' ? sql($node->{test}[2]) . ' AND ' . sql([ risk => $node->{test}[1], [ const => 1 ] ]) . ' = 1'
		  : sql($node->{test});
		$j->{if} = sql([ risk => $node->{test}[1], [ const => 0 ] ]) . ' = 1' if $node->{test}[0] eq 'risk';
	}
	elsif ($type eq 'switch')
	{
		my $i = 0;

		$j->{on} = sql($node->{on}) . ' % 5';
		$j->{cases} = [ map { { port => 'p' . ++$i, when => "$_" } } @{ $node->{cases} } ];
	}
	elsif ($type eq 'raise')
	{
		unless ($node->{again})
		{
			$j->{message} = "'raised by $node->{id}'";
			$j->{code} = $node->{code} if $node->{code};
		}
	}
	elsif ($type eq 'break' || $type eq 'continue')
	{
		$j->{if} = sql($node->{test}) if $node->{test};
	}
	elsif ($type eq 'loop')
	{
		my $items = join(', ', @{ $node->{items} || [] });
		my $kind = $node->{kind};

		$j->{for} = "ARRAY[$items]::int[]" if $kind eq 'array';
		$j->{for} = "'[$items]'::jsonb" if $kind eq 'jsonb';
		$j->{for} = "SELECT value FROM unnest(ARRAY[$items]::int[]) WITH ORDINALITY u (value, n) ORDER BY n" if $kind eq 'query';
		$j->{as} = "x$node->{id}" if $j->{for};
		$j->{repeat} = sql($node->{count}) if $kind eq 'repeat';
		$j->{while} = sql($node->{test}) if $kind eq 'while';
		$j->{parallel} = $node->{parallel} if $node->{parallel} > 1;
		$j->{max_iterations} = $node->{max} if $node->{max};
		$j->{collect} = sql($node->{collect}) if $node->{collect};
		$j->{body} = body_json($node->{body});
	}
	elsif ($type eq 'try')
	{
		$j->{body} = body_json($node->{body});
		$j->{catch} = [ map { { body => body_json($_->{body}), $_->{on} ? (on => $_->{on}) : () } } @{ $node->{catches} } ]
		  if @{ $node->{catches} };
		$j->{finally} = body_json($node->{finally}) if $node->{finally};
	}
	elsif ($type eq 'parallel')
	{
		my $i = 0;

		$j->{branches} = { map { ('br' . ++$i => body_json($_)) } @{ $node->{branches} } };
		$j->{join} = $node->{join} =~ /\d/ ? 0 + $node->{join} : $node->{join} if $node->{join};
		$j->{cancel_rest} = JSON::PP::true if $node->{cancel_rest};
	}
	return $j;
}

sub body_json
{
	my ($body) = @_;

	return { nodes => { map { $_->{id} => node_json($_) } @{ $body->{nodes} } },
		$body->{output} ? (output => { v => sql($body->{output}) }) : (),
		@{ $body->{vars} } ? (variables => { map { $_->[0] => 'int = ' . sql($_->[1]) } @{ $body->{vars} } }) : () };
}

sub definition
{
	my ($flow) = @_;
	my $j = body_json($flow->{body});

	$j->{input} = { tag => 'text' };
	$j->{variables} = { map { $_->[0] => 'int = ' . sql($_->[1]) } @{ $flow->{vars} } };
	$j->{on_error} = $flow->{on_error} if $flow->{on_error};
	$j->{retry} = retry_json($flow->{retry}) if $flow->{retry};
	$j->{output} = { a => 'vars.a', b => 'vars.b',
		map { ("$_->{id}_n" => "$_->{id}.iterations", "$_->{id}_r" => "$_->{id}.results") }
		grep { $_->{type} eq 'loop' } @{ $flow->{body}{nodes} } };
	return $json->encode($j);
}

# ---- the model ----

# How something ended: [none], [fail, code], [break|continue, loop's frame].
# A code or what can't be known is undef.

our ($log, $flow);    # what happens, as [what, text, may]
our $steps;

my %names = (division_by_zero => '22012', raise_exception => 'P0001');

sub matches
{
	my ($on, $code) = @_;

	return 1 unless $on;
	die "ambiguous\n" unless defined $code;
	for my $wanted (@$on)
	{
		my $w = $names{$wanted} || $wanted;

		return 1 if length($w) == 2 ? substr($code, 0, 2) eq $w : $code eq $w;
	}
	return 0;
}

# Runs something with a log of its own.
sub apart
{
	my ($code) = @_;
	local $log = [];
	my $end = $code->();

	return [ $end, $log ];
}

# The nodes in a node's bodies.
sub inner_ids
{
	my ($node) = @_;
	my @bodies = grep { $_ } $node->{body}, $node->{finally}, @{ $node->{branches} || [] }, map { $_->{body} } @{ $node->{catches} || [] };

	return map { ($_->{id}, inner_ids($_)) } map { @{ $_->{nodes} } } @bodies;
}

# Something in it is cancelled somewhere: what a "finally" does then depends on where.
sub loosen
{
	my ($node) = @_;

	push @$log, map { [ 'loose', $_, 0 ] } inner_ids($node);
}

sub add_log
{
	my ($entries, $may) = @_;

	push @$log, map { [ $_->[0], $_->[1], $may || $_->[2] ] } @$entries;
}

sub effect_text
{
	my ($node, $f, $v, $kind) = @_;

	return join('|', $node->{id}, join('/', map { value([ var => $_ ], $f) } @{ $node->{iter} }), $v, $kind);
}

# Several things at once; "wanted" of them must complete.
sub side_by_side
{
	my ($runs, $is_ok, $node) = @_;
	my @bad = grep { !$is_ok->($_->[0]) } @$runs;

	if (@bad == 0)
	{
		add_log($_->[1], 0) for @$runs;
		return ['none'];
	}
	loosen($node) if @$runs > 1;
	if (@bad == 1)
	{
		add_log($_->[1], $_ != $bad[0]) for @$runs;
		return $bad[0][0];
	}
	add_log($_->[1], 1) for @$runs;
	my ($kind, $what) = @{ $bad[0][0] };
	for my $other (@bad)
	{
		die "ambiguous\n" if $other->[0][0] ne $kind || ($kind ne 'fail' && $other->[0][1] != $what);
		$what = undef if $kind eq 'fail' && defined $what && (!defined $other->[0][1] || $other->[0][1] ne $what);
	}
	return [ $kind, $what ];
}

sub run_loop
{
	my ($node, $f) = @_;
	my $kind = $node->{kind};
	my $count = $node->{items} ? @{ $node->{items} } : $kind eq 'repeat' ? value($node->{count}, $f) : -1;
	my ($ended, @results) = (0);
	my $own = {};    # stands for the loop
	my $iteration = sub {
		my ($i) = @_;
		my $inner = { parent => $f, loop => $own, vars => {}, nodes => {}, results => {},
			items => { '' => $i, "x$node->{id}" => $node->{items} ? $node->{items}[ $i - 1 ] : undef } };
		my $end = run_body($node->{body}, $inner);

		if ($end->[0] eq 'none')
		{
			if ($node->{collect})
			{
				my $v = value($node->{collect}, $inner);

				return [ 'fail', '22012' ] unless defined $v;
				$results[ $i - 1 ] = $v;
			}
			$results[ $i - 1 ] = { v => $inner->{output} } if $node->{body}{output};
		}
		return $end;
	};
	my $is_own = sub { my ($end) = @_; return $end->[0] =~ /break|continue/ && $end->[1] == $own; };

	return [ 'fail', '22012' ] unless defined $count;
	return [ 'fail', 'WF015' ] if $node->{max} && $count > $node->{max};
	if ($node->{parallel} > 1)
	{
		my @runs = map { my $i = $_; apart(sub { return $iteration->($i); }) } 1 .. $count;
		my $end;
		my $breaks = grep { $_->[0][0] eq 'break' && $is_own->($_->[0]) } @runs;

		# with a break and an error, either may be the first
		die "ambiguous\n" if $breaks && grep { $_->[0][0] ne 'none' && !$is_own->($_->[0]) } @runs;
		$end = side_by_side(\@runs, sub {
			my ($e) = @_;
			return $e->[0] eq 'none' || ($e->[0] eq 'continue' && $is_own->($e)); }, $node);
		if ($breaks)
		{
			@results = ('?');
			$end = ['none'];
			$ended = undef;
		}
		else
		{
			$ended = $count;
		}
		return $end if $end->[0] ne 'none';
	}
	else
	{
		for (my $i = 1; $count < 0 || $i <= $count; $i++)
		{
			if ($count < 0)
			{
				last unless value($node->{test}, { parent => $f, items => { '' => $i } });
				return [ 'fail', 'WF015' ] if $node->{max} && $i > $node->{max};
			}
			my $end = $iteration->($i);

			$ended++;
			next if $end->[0] eq 'none' || ($is_own->($end) && $end->[0] eq 'continue');
			last if $is_own->($end);
			return $end;
		}
	}
	$f->{nodes}{ $node->{id} } = $ended;
	@results = grep { defined } @results;
	$f->{results}{ $node->{id} } = !$node->{collect} && !$node->{body}{output} ? [undef] : defined $ended ? [ [@results] ] : undef;
	return ['none'];
}

sub run_try
{
	my ($node, $f) = @_;
	my $frame = sub { return { parent => $f, vars => {}, nodes => {}, results => {}, @_ }; };
	my $ran = $frame->();
	my $end = run_body($node->{body}, $ran);
	my $caught = 0;

	if ($end->[0] eq 'fail')
	{
		for my $catch (@{ $node->{catches} })
		{
			next unless matches($catch->{on}, $end->[1]);
			$ran = $frame->(error => [ $end->[1] ]);
			$end = run_body($catch->{body}, $ran);
			$caught = 1;
			last;
		}
	}
	if ($node->{finally})
	{
		my $last = run_body($node->{finally}, $frame->());

		# the first error counts, but a break or continue does not hide one
		$end = $last if $end->[0] eq 'none' || ($end->[0] ne 'fail' && $last->[0] eq 'fail');
	}
	return $end if $end->[0] ne 'none';
	$f->{nodes}{ $node->{id} } = $caught ? 0 : 1;
	$f->{outputs}{ $node->{id} } = $ran->{output};
	return ['none'];
}

sub run_parallel
{
	my ($node, $f) = @_;
	my @runs = map { my $b = $_; apart(sub { return run_body($b, { parent => $f, vars => {}, nodes => {}, results => {} }); }) }
	  @{ $node->{branches} };
	my $n = @runs;
	my $wanted = !$node->{join} ? $n : $node->{join} eq 'any' ? 1 : $node->{join};
	my @good = grep { $_->[0][0] eq 'none' } @runs;
	my @failed = grep { $_->[0][0] eq 'fail' } @runs;
	my @left = grep { $_->[0][0] =~ /break|continue/ } @runs;

	if (@left)
	{
		# with enough others, it may come too late or not
		die "ambiguous\n" if @failed && $wanted > 1 || (@good >= $wanted && $node->{cancel_rest});
		die "ambiguous\n" if @failed;
		return side_by_side(\@runs, sub { return $_[0][0] eq 'none'; }, $node);
	}
	if (@good >= $wanted)
	{
		loosen($node) if $node->{cancel_rest} && $wanted < $n;
		add_log($_->[1], $node->{cancel_rest} && $wanted < $n) for @runs;
		return ['none'];
	}
	# which failure is one too many?
	if (@failed == 1 || $n - @failed + 1 < $wanted)
	{
		return side_by_side(\@runs, sub { return $_[0][0] eq 'none'; }, $node);
	}
	loosen($node);
	add_log($_->[1], 1) for @runs;
	my %codes = map { defined $_->[0][1] ? ($_->[0][1] => 1) : ('?' => 1) } @failed;
	my @codes = keys %codes;
	return [ 'fail', @codes == 1 && $codes[0] ne '?' ? $codes[0] : undef ];
}

sub run_node
{
	my ($node, $f) = @_;
	my $type = $node->{type};

	if ($type eq 'sql')
	{
		my $v = value($node->{value}, $f);
		my $code = '';

		return [ 'fail', '22012' ] unless defined $v;
		if ($node->{code})
		{
			$code = caught($f);
			die "ambiguous\n" unless defined $code;
		}
		push @$log, [ 'effect', effect_text($node, $f, $v, $code), 0 ];
		$f->{nodes}{ $node->{id} } = $v;
		return ['none'];
	}
	if ($type eq 'workflow')
	{
		my $v = value($node->{value}, $f);

		push @$log, [ 'effect', effect_text($node, $f, $v, 'child'), 0 ];
		if ($v % 4 == 1)
		{
			push @$log, [ 'effect', effect_text($node, $f, $v, 'unchild'), 0 ];
			return [ 'fail', '22012' ];
		}
		$f->{outputs}{ $node->{id} } = ($v * 2 + 1) % 97;
		return ['none'];
	}
	if ($type eq 'set')
	{
		for my $name (keys %{ $node->{set} })
		{
			my $v = value($node->{set}{$name}, $f);
			my $owner = $f;

			$owner = $owner->{parent} until exists $owner->{vars}{$name};
			$owner->{vars}{$name} = $v;
		}
		return ['none'];
	}
	if ($type eq 'condition')
	{
		my $v;

		if ($node->{test}[0] eq 'risk')
		{
			return [ 'fail', '22012' ] if value($node->{test}[1], $f);
			$v = 0;
		}
		else
		{
			$v = value($node->{test}, $f);
		}
		return [ 'none', undef, $v ? 'true' : 'false' ];
	}
	if ($type eq 'switch')
	{
		my $v = value($node->{on}, $f) % 5;
		my $i = 0;

		for my $case (@{ $node->{cases} })
		{
			$i++;
			return [ 'none', undef, "p$i" ] if $case == $v;
		}
		return [ 'fail', 'WF204' ] unless $node->{leads_on};
		return [ 'none', undef, 'default' ];
	}
	if ($type eq 'raise')
	{
		return [ 'fail', caught($f) ] if $node->{again};
		return [ 'fail', $node->{code} || 'P0001' ];
	}
	if ($type eq 'break' || $type eq 'continue')
	{
		return ['none'] if $node->{test} && !value($node->{test}, $f);
		my $at = $f;

		$at = $at->{parent} until $at->{loop};
		return [ $type, $at->{loop} ];
	}
	return run_loop($node, $f) if $type eq 'loop';
	return run_try($node, $f) if $type eq 'try';
	return run_parallel($node, $f) if $type eq 'parallel';
	die $type;
}

sub caught
{
	my ($f) = @_;

	$f = $f->{parent} until $f->{error};
	return $f->{error}[0];
}

sub with_retries
{
	my ($node, $f) = @_;
	my $retry = $node->{retry};
	my $end;

	$retry ||= $flow->{retry} unless $node->{type} =~ /^(loop|try|parallel|raise|workflow)$/;
	for my $attempt (1 .. ($retry ? $retry->{attempts} : 1))
	{
		die "too long\n" if ++$steps > 20_000;
		$end = run_node($node, $f);
		return $end if $end->[0] ne 'fail' || !$retry;
		last if $attempt < $retry->{attempts} && !matches($retry->{on}, $end->[1]);
	}
	return [ $end->[0], $end->[1] ];
}

sub run_body
{
	my ($body, $f) = @_;
	my (%state, %port);

	for my $v (@{ $body->{vars} })
	{
		my $value = value($v->[1], $f);

		return [ 'fail', '22012' ] unless defined $value;
		$f->{vars}{ $v->[0] } = $value;
	}
	for my $node (@{ $body->{nodes} })
	{
		my $id = $node->{id};
		my $taken = grep {
			my ($from, $port) = @$_;
			$state{$from} eq 'continued' && !defined $port
			  || $state{$from} eq 'completed' && (!defined $port || ($port{$from} || '') eq $port)
		} @{ $node->{after} || [] };

		$taken = 1 if !@{ $node->{after} || [] } && !$node->{failures};
		$taken = 1 if grep { $state{$_} =~ /failed|continued/ } @{ $node->{failures} || [] };
		unless ($taken)
		{
			$state{$id} = 'skipped';
			next;
		}
		$node->{leads_on} = 1;
		if ($node->{type} eq 'switch')
		{
			my @out = grep { $_->[0] eq $id } map { @{ $_->{after} || [] } } @{ $body->{nodes} };

			$node->{leads_on} = !@out || grep { !defined $_->[1] || $_->[1] eq 'default' } @out;
		}
		my $end = with_retries($node, $f);
		if ($end->[0] eq 'none')
		{
			$state{$id} = 'completed';
			$port{$id} = $end->[2];
			push @$log, [ 'undo', effect_text($node, $f, $node->{type} eq 'sql' ? $f->{nodes}{$id} : 0, 'undo'), 0 ]
			  if $node->{compensate};
			next;
		}
		delete $f->{nodes}{$id};
		delete $f->{outputs}{$id};
		return $end if $end->[0] ne 'fail';
		my $on_error = $node->{on_error} || $flow->{on_error} || 'fail';

		return [ 'fail', $end->[1] ] if $on_error eq 'fail';
		$state{$id} = $on_error eq 'continue' ? 'continued' : 'failed';
		push @$log, [ 'partial', '', 0 ] if $on_error =~ /^(continue|skip)$/;
	}
	if ($body->{output})
	{
		$f->{output} = value($body->{output}, $f);
		return [ 'fail', '22012' ] unless defined $f->{output};
	}
	return ['none'];
}

# {state, code, output, must, may}, or a reason why there is none.
sub predict
{
	(local $flow) = @_;
	local $log = [];
	local $steps = 0;
	my $root = { vars => {}, nodes => {}, results => {} };
	my ($end, %must, %may);
	my $result = {};

	$end = eval {
		my $start = run_body({ nodes => [], vars => $flow->{vars} }, $root);
		$start->[0] eq 'none' ? run_body($flow->{body}, $root) : $start;
	};
	if (!$end)
	{
		die $@ unless $@ =~ /^(ambiguous|too long)/;
		return $1;
	}
	if ($end->[0] eq 'none')
	{
		my @partial = grep { $_->[0] eq 'partial' } @$log;

		$result->{state} = !@partial ? 'completed' : (grep { !$_->[2] } @partial) ? 'partial' : undef;
		$result->{output} = { a => $root->{vars}{a}, b => $root->{vars}{b} };
		for my $node (grep { $_->{type} eq 'loop' } @{ $flow->{body}{nodes} })
		{
			my $id = $node->{id};
			my $results = $root->{results}{$id};

			next if exists $root->{nodes}{$id} && !(defined $root->{nodes}{$id});
			$result->{output}{"${id}_n"} = $root->{nodes}{$id};
			$result->{output}{"${id}_r"} = exists $root->{nodes}{$id} && $results ? $results->[0] : undef;
		}
	}
	else
	{
		$result->{state} = 'failed';
		$result->{code} = $end->[1];
	}
	for my $entry (@$log)
	{
		my ($what, $text, $may) = @$entry;

		$result->{loose}{$text} = 1 if $what eq 'loose';
		next if $what =~ /^(partial|loose)$/ || ($what eq 'undo' && $end->[0] eq 'none');
		$may ? $may{$text}++ : $must{$text}++;
	}
	$result->{must} = \%must;
	$result->{may} = \%may;
	$result->{is_sequential} = $flow->{is_sequential};
	return $result;
}

1;
