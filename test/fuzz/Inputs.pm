# Damaged definitions and random calls, sent to a server by every kind of role, and
# what must hold of each:
#
#	- an answer in time, by a server that is still the same;
#	- no internal error (class XX or 58) that goflow raised or passed on from
#	  define() and validate();
#	- what is wrong with a definition is an error of goflow's class, or of the
#	  server's parser, with the place as its context; validate() has it first, too;
#	- a definition that was stored comes back as it was, also by way of script();
#	- sessions and workers do not grow.
package Inputs;

use strict;
use warnings;
use CallFuzz;
use Damage qw(one_of damage_definition damage_sql damage_bytes odd_text);
use RandomFlow;
use Time::HiRes qw(time);
use Wire;

# Who sends: role, and what its session begins with.
our %people = (
	owner => {}, starter => {}, grantee => {}, member => {}, admin => {}, monitor => {}, stranger => {}, nobody => {}, super => {},
	nologin => { user => 'fuzz_owner', role => 'fuzz_nologin' },
	latin => { user => 'fuzz_owner', client_encoding => 'LATIN1' },
	sjis => { user => 'fuzz_owner', client_encoding => 'SJIS' },
	ascii => { user => 'fuzz_owner', client_encoding => 'SQL_ASCII' },
	latin_database => { user => 'fuzz_owner', database => 'fuzz_latin1' },
	ascii_database => { user => 'fuzz_owner', database => 'fuzz_sql_ascii' });

my $bound = 60;        # seconds until a statement that is limited to 0.2 counts as hanging
my $settings = "SET statement_timeout = '200ms'; SET lock_timeout = '50ms'; SET client_min_messages = error; RESET ROLE";

# An input for a workflow whose definition is $2.
my $inputs_of = q{(SELECT coalesce(jsonb_object_agg(key, '1'), '{}') FROM jsonb_each(CASE jsonb_typeof($2::jsonb -> 'input')
	WHEN 'object' THEN $2::jsonb -> 'input' ELSE '{}' END) WHERE value::text !~ '=')};

# What must be there, for the superuser's session; it can be sent again.
sub roles
{
	return q{
		DO $$
		DECLARE r text;
		BEGIN
			FOREACH r IN ARRAY '{owner,starter,grantee,member,admin,monitor,stranger,nobody,super,user}'::text[] LOOP
				IF to_regrole('fuzz_' || r) IS NULL THEN
					EXECUTE format('CREATE ROLE fuzz_%s LOGIN', r);
				END IF;
				EXECUTE format($f$ALTER ROLE fuzz_%s SET statement_timeout = '200ms'; ALTER ROLE fuzz_%1$s SET log_min_messages = fatal$f$, r);
			END LOOP;
			IF to_regrole('fuzz_nologin') IS NULL THEN
				CREATE ROLE fuzz_nologin;
			END IF;
		END $$;
		ALTER ROLE fuzz_super SUPERUSER;
		GRANT fuzz_nologin TO fuzz_owner;
		GRANT fuzz_starter TO fuzz_member;
		GRANT pg_monitor TO fuzz_monitor;
	};
}

sub rights
{
	return q{
		SELECT goflow.grant_usage(r) FROM unnest('{fuzz_owner,fuzz_starter,fuzz_grantee,fuzz_member,fuzz_admin,fuzz_monitor,fuzz_stranger,fuzz_nologin,fuzz_user}'::regrole[]) r;
		SELECT goflow.grant_admin('fuzz_admin');
		SELECT goflow.grant_start(workflow, r) FROM goflow.workflows, unnest('{fuzz_starter,fuzz_grantee}'::regrole[]) r WHERE workflow ~ '^fuzz_[0-9]$';
		GRANT SELECT ON pg_backend_memory_contexts TO PUBLIC;
		GRANT EXECUTE ON FUNCTION pg_get_backend_memory_contexts TO PUBLIC;
		CREATE TABLE IF NOT EXISTS public.fuzz_table (a int PRIMARY KEY, b text, c jsonb);
		GRANT ALL ON public.fuzz_table TO PUBLIC;
		CREATE SCHEMA IF NOT EXISTS fuzz;
		-- Validates and defines each: an error of validate() itself; its first problem; what define() says; the version.
		CREATE OR REPLACE FUNCTION fuzz.try(names text[], paths text[], texts text[], OUT valid text, OUT problem text, OUT code text, OUT message text,
			OUT context text, OUT version int, OUT seconds float8) RETURNS SETOF record LANGUAGE plpgsql AS $$
		DECLARE i int; began timestamptz;
		BEGIN
			FOR i IN 1 .. cardinality(texts) LOOP
				began := clock_timestamp();
				valid := NULL; problem := NULL; code := NULL; message := NULL; context := NULL; version := NULL;
				BEGIN
					PERFORM set_config('search_path', paths[i], true);
					problem := (SELECT v.code FROM goflow.validate(texts[i]::jsonb) v WHERE v.severity = 'error' LIMIT 1);
				EXCEPTION WHEN OTHERS THEN
					valid := SQLSTATE; message := SQLERRM;
				END;
				IF valid IS NULL THEN
					BEGIN
						version := goflow.define(names[i], texts[i]::jsonb);
					EXCEPTION WHEN OTHERS THEN
						GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, context = PG_EXCEPTION_CONTEXT;
					END;
				END IF;
				seconds := extract(epoch FROM clock_timestamp() - began);
				RETURN NEXT;
			END LOOP;
		END $$;
		DO $$
		DECLARE s name;
		BEGIN
			FOR s IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information|goflow)' LOOP
				EXECUTE format('GRANT ALL ON SCHEMA %I TO PUBLIC; GRANT ALL ON ALL TABLES IN SCHEMA %1$I TO PUBLIC; GRANT ALL ON ALL SEQUENCES IN SCHEMA %1$I TO PUBLIC', s);
			END LOOP;
		END $$;
	};
}

# Prepares a server for it.  query: a function that executes SQL in a database.
sub stage
{
	my ($query) = @_;

	$query->(roles());
	$query->(rights());
	$query->("SET ROLE fuzz_owner;\nSET client_min_messages = error;\n" . CallFuzz::stage() . 'RESET ROLE');
	for my $encoding ('latin1', 'sql_ascii')
	{
		$query->("CREATE DATABASE fuzz_$encoding ENCODING $encoding LOCALE 'C' TEMPLATE template0");
		$query->('CREATE EXTENSION goflow', "fuzz_$encoding");
		$query->(rights(), "fuzz_$encoding");
	}
}

# The definitions that a server has, as [definition, search_path]; some random
# ones; and those in texts, which have them in dollar quotes.
sub definitions
{
	my ($session, @texts) = @_;
	my @definitions = map { [@$_] } @{ $session->query(q{
		SELECT definition::text, settings[array_position(settings, 'search_path') + 1] FROM (
			SELECT DISTINCT ON (definition) * FROM goflow.workflow WHERE length(definition::text) < 20000) w
		ORDER BY workflow_id})->{rows} };

	push @definitions, map { [ RandomFlow::definition(RandomFlow::flow($_)), 'public' ] } 1 .. 100;
	for my $text (@texts)
	{
		while ($text =~ /(?:\$\$|')\s*+(\{.*?\})\s*+(?:\$\$|')/gs)
		{
			my $found = $1;

			push @definitions, [ $found =~ /"nodes"\s*:/ ? $found : "{\"nodes\": $found}", 'public' ] if length $found < 20_000;
		}
	}
	$_->[1] = 'public' for grep { !defined $_->[1] || $_->[1] eq '' } @definitions;
	return @definitions;
}

# Statements in builder form that define: those that the server makes of its
# workflows, and those in texts.
sub scripts
{
	my ($session, @texts) = @_;
	my @scripts = map { $_->[0] } @{ $session->query(q{
		SELECT goflow.script(workflow) FROM goflow.workflows WHERE length(goflow.definition(workflow)::text) < 10000 LIMIT 300})->{rows} };

	push @scripts, map { /^(SELECT goflow\.define\(.*?\);)$/gms } @texts;
	return @scripts;
}

# A fuzzer of a server.  socket: its path; seed; name: of the process, for its
# workflows; definitions, scripts: what is damaged; sources: names of goflow's
# files.
sub new
{
	my ($class, %arguments) = @_;
	my $self = bless { %arguments, sessions => {}, counts => {}, findings => [], others => {}, slowest => 0, path => {}, done => 0 }, $class;
	my $super = $self->session('super');

	$self->{texts} = [ map { $_->[0] } @{ $self->{definitions} } ];
	$self->{functions} = [ map { $_->[0] } @{ $super->query($CallFuzz::functions)->{rows} } ];
	$self->{started} = $self->started();
	$self->{sources} = { map { $_ => 1 } @{ $arguments{sources} } };
	return $self;
}

sub session
{
	my ($self, $who) = @_;

	my $give_up = time() + 60;

	while (!$self->{sessions}{$who})
	{
		my $session = eval { Wire->new($self->{socket}, user => "fuzz_$who", database => 'postgres', %{ $people{$who} }) };

		if ($session)
		{
			$session->query($settings);
			$self->{sessions}{$who} = $session;
			last;
		}
		die "$who: $@" if time() > $give_up || $@ =~ /^no session: /;
		select(undef, undef, undef, 0.1);    # the server comes back after a crash
	}
	return $self->{sessions}{$who};
}

# When the server began; in a session of its own, for others have answers to come.
sub started
{
	my ($self) = @_;
	my %sessions;

	local $self->{sessions} = \%sessions;
	my $session = $self->session('super');
	my $started = $session->query('SELECT pg_postmaster_start_time()')->{rows}[0][0];
	$session->close;
	return $started;
}

# ---- what must hold ----

sub finding
{
	my ($self, $what, $ask) = @_;

	$what .= "\n\tseed $self->{seed}, input $ask->{input}, $ask->{who}: $ask->{sql}";
	$what .= "\n\t" . substr($_, 0, 4000) for map { defined $_ ? $_ : 'NULL' } @{ $ask->{parameters} || [] };
	push @{ $self->{findings} }, $what;
	die "too many\n" if @{ $self->{findings} } >= 20;
}

# Sends a statement.  kind: what is counted; own: only goflow and the parser have a
# say, not the SQL of nodes; then: what to do with the answer; alone: false if it is
# one of several that will be sent again, each alone, should they fail.
sub ask
{
	my ($self, %ask) = @_;
	my $session = $self->session($ask{who});

	if ($ask{parameters}) { $session->post_call($ask{sql}, $ask{parameters}); }
	else { $session->post_query($ask{sql}); }
	push @{ $self->{asked} }, { %ask, session => $session, input => $self->{input} };
}

# Judges the answers to all that was asked, in order, and to what is asked then.
sub collect
{
	my ($self) = @_;

	while (my $ask = shift @{ $self->{asked} })
	{
		next if $ask->{session} != ($self->{sessions}{ $ask->{who} } || 0);    # it is lost
		my $answer = $ask->{session}->answer($bound);

		$self->judge($ask, $answer);
		$self->{input} = $ask->{input};
		$ask->{then}->($answer) if $ask->{then} && (!$answer->{lost} || defined $ask->{alone});
	}
}

sub judge
{
	my ($self, $ask, $answer) = @_;
	my ($kind, $who) = @$ask{ 'kind', 'who' };
	my $code = $answer->{error} ? $answer->{error}{C} : undef;

	$self->{slowest} = $answer->{seconds} if $answer->{seconds} > $self->{slowest};
	if ($answer->{lost} || ($code && $answer->{error}{V} ne 'ERROR'))
	{
		my $started;

		$answer->{lost} ||= "$code $answer->{error}{M}";
		delete $self->{sessions}{$who};
		delete $self->{path}{$who};
		$started = $self->started();
		$self->finding("session lost: $answer->{lost}" . ($started eq $self->{started} ? '' : ', the server crashed'), $ask) if !defined $ask->{alone} || $ask->{alone};
		$self->{sessions} = {} if $started ne $self->{started};
		$self->{started} = $started;
		$code = 'lost';
	}
	elsif ($code && $code =~ /^(XX|58)/)
	{
		my $file = $answer->{error}{F} || '';
		my $text = "$code $answer->{error}{M} ($answer->{error}{R}, $file)";

		if ($ask->{own} || $self->{sources}{$file}) { $self->finding($text, $ask) if !defined $ask->{alone} || $ask->{alone}; }
		else { $self->{others}{$text}++; }
	}
	$self->{counts}{$kind}{ $code || 'ok' }++ if $kind;
	$answer->{code} = $code;
}

# ---- inputs ----

my @people = sort keys %people;

# A definition that is tried with others of its role, or alone if its bytes might
# not even arrive.
sub definition
{
	my ($self, $other) = @_;
	my ($text, $path) = @{ one_of(@{ $self->{definitions} }) };
	my $who = rand() < 0.7 ? 'owner' : $other;

	$text = damage_definition($text, $self->{texts});
	push @{ $self->{tried}{ $who . ($text =~ /[^\x01-\x7e]/ ? ' alone' : '') } }, [ $self->{input}, $path, $text ];
}

sub array
{
	return '{' . join(',', map { '"' . s/(["\\])/\\$1/gr . '"' } @_) . '}';
}

sub try
{
	my ($self, $who, @definitions) = @_;
	my @names = map { "fuzz_$self->{name}_" . $_->[0] % 200 } @definitions;
	my @columns = (\@names, [ map { $_->[1] } @definitions ], [ map { $_->[2] } @definitions ]);

	$self->ask(who => $who, sql => 'SELECT * FROM fuzz.try($1, $2, $3)', parameters => [ map { array(@$_) } @columns ], own => 1,
		alone => @definitions == 1, then => sub {
			my ($answer) = @_;

			if ($answer->{lost} || $answer->{code})
			{
				# which of them?
				if (@definitions > 1) { $self->try($who, $_) for @definitions; }
				else { $self->{counts}{'definitions'}{ $answer->{code} }++; }
				return;
			}
			for my $i (0 .. $#definitions)
			{
				my ($valid, $problem, $code, $message, $context, $version, $seconds) = @{ $answer->{rows}[$i] };
				my ($input, $path, $text) = @{ $definitions[$i] };
				my $define = { input => $input, who => $who, sql => "define(), search_path = $path", parameters => [$text] };

				$self->{counts}{'definitions'}{ $valid || $code || 'ok' }++;
				$self->finding("slow: $seconds s", $define) if $seconds > 5;
				$self->finding("$_: $message", $define) for grep { defined && /^(XX|58)/ } $valid, $code;
				next if $valid;
						if (($code || '') ne ($problem || '') && ($code || '') !~ /^(57014|55P03|42501|40P01)$/)
				{
					$self->finding('validate() has ' . ($problem || 'no error') . ', define() ' . ($code ? "$code $message" : 'none'), $define);
				}
				elsif ($problem && ($code || '') eq $problem && ($context || '') !~ /workflow "/)
				{
					$self->finding("an error without its place: $code $message", $define);
				}
				push @{ $self->{defined} }, [ $input, $who, $names[$i], $text, $version ] if !$code;
			}
		});
}

# Uses what was defined.
sub use
{
	my ($self, $input, $who, $name, $text, $version) = @_;
	my $what = rand();

	$self->{input} = $input;
	if ($what < 0.6)
	{
		$self->ask(kind => 'run()', who => $who, sql => "SELECT goflow.run(\$1, $inputs_of, raise => " . one_of('true', 'false') . ')',
			parameters => [ $name, $text ]);
		$self->ask(who => $who, sql => $settings);
	}
	elsif ($what < 0.8) { $self->start($who, $name, $text); }
	elsif ($what < 0.9) { $self->there_and_back($who, $name, $version); }
	else
	{
		$self->ask(kind => 'diagram()', who => $who, sql => 'SELECT goflow.diagram($1, ' . one_of("'mermaid'", "'dot'") . ')', parameters => [$name], own => 1);
		$self->ask(kind => 'drop()', who => $who, sql => 'SELECT goflow.drop($1, true)', parameters => [$name], own => 1);
	}
}

# In workers; what does not end soon is cancelled.
sub start
{
	my ($self, $who, $name, $text) = @_;

	$self->ask(kind => 'start()', who => $who, sql => "SELECT goflow.start(\$1, $inputs_of)", parameters => [ $name, $text ], own => 1, then => sub {
			my ($answer) = @_;
			return if $answer->{code};
			my $execution = $answer->{rows}[0][0];

			push @CallFuzz::executions, $execution;
			shift @CallFuzz::executions if @CallFuzz::executions > 30;
			$self->ask(kind => 'wait()', who => $who, sql => "SELECT goflow.wait(\$1, '50 ms')", parameters => [$execution], own => 1, then => sub {
					my ($ended) = @_;

					if (!$ended->{code} && $ended->{rows}[0][0] !~ /^(completed|failed|partial|cancelled)$/)
					{
						$self->ask(who => $who, sql => 'SELECT goflow.cancel($1)', parameters => [$execution], own => 1);
					}
					$self->ask(kind => 'history', who => $who, parameters => [$execution], own => 1,
						sql => 'SELECT count(*) FROM goflow.events($1), goflow.gantt($1), goflow.metrics($1), goflow.progress_json($1)');
				});
		});
}

# What was stored is what script() makes of it.
sub there_and_back
{
	my ($self, $who, $name, $version) = @_;

	# what the session has otherwise is set there; others' statements may come between
	my $reset = join(' ', map { "RESET $_;" } qw(search_path DateStyle IntervalStyle TimeZone));

	$self->ask(kind => 'script()', who => $who, sql => "$reset SELECT goflow.script('$name')", own => 1, then => sub {
			my ($script) = @_;
			return if $script->{code};
			my %ask = (kind => 'define() by script()', who => $who, sql => "$reset $script->{rows}[0][0] $reset", own => 1, input => $self->{input});

			$self->ask(%ask, then => sub {
					my ($again) = @_;

					if ($again->{code})
					{
						$self->finding("script() makes what fails: $again->{code} $again->{error}{M}", \%ask) if $again->{code} ne '57014';
						return;
					}
					$self->ask(who => $who, parameters => [ $name, $version ], own => 1,
						sql => 'SELECT goflow.definition($1, $2) = goflow.definition($1) AND count(DISTINCT settings) = 1 FROM goflow.workflows'
						  . ' WHERE workflow = $1 AND version IN ($2, (SELECT max(version) FROM goflow.workflows WHERE workflow = $1))',
						then => sub {
							my ($same) = @_;

							$self->finding('script() makes another definition', \%ask) if !$same->{code} && $same->{rows}[0][0] ne 't';
						});
				});
		});
}

# The builder: a statement that defines a workflow, damaged.
sub script
{
	my ($self) = @_;
	my $sql = damage_sql(one_of(@{ $self->{scripts} }), one_of(@{ $self->{scripts} }));

	$sql = damage_bytes($sql) if rand() < 0.05;
	$sql =~ s/\bcopy\b/table/gi;    # from stdin, or stdout, it would take the next statements as data
	my $who = one_of('owner', 'owner', 'stranger', 'latin');

	# what a "notify" node sends need not be of this session's encoding: an error that no statement made
	$sql =~ s/\bLISTEN a\b/SELECT 1/gi if $who eq 'latin';
	$self->ask(kind => 'builder', who => $who, sql => $sql =~ s/\0//gr);
	$self->ask(who => $who, sql => $settings);    # it may have changed them
}

sub call
{
	my ($self) = @_;
	my $function = one_of(@{ $self->{functions} });
	my $sql = rand() < 0.97 ? CallFuzz::call($function) : CallFuzz::statement($function);
	my $who = one_of(@people);

	$self->{called}{$function}++;
	$self->ask(kind => 'calls', who => $who, sql => $sql =~ s/\0//gr);
	$self->ask(who => $who, sql => 'ROLLBACK') if $sql =~ /^(BEGIN|PREPARE)/;
}

# Inputs by their numbers.  Many are sent before the first is answered, which is
# what makes a million of them possible.
sub batch
{
	my ($self, @numbers) = @_;
	my $other = one_of(@people);

	$self->{asked} = [];
	$self->{tried} = {};
	$self->{defined} = [];
	for my $n (@numbers)
	{
		$self->{input} = $n;
		srand($self->{seed} * 1_000_003 + $n);
		if ($n % 2000 == 0)
		{
			$self->collect();
			$self->session('super')->query("SET statement_timeout = 0; " . rights() . $settings, 300);
		}
		my $what = rand();
		if ($what < 0.62) { $self->definition($other); }
		elsif ($what < 0.7) { $self->script(); }
		else { $self->call(); }
	}
	$self->collect();
	for my $group (sort keys %{ $self->{tried} })
	{
		my ($who, $is_alone) = split / /, $group;

		$self->ask(who => $who, sql => 'SET statement_timeout = 0');
		if ($is_alone) { $self->try($who, $_) for @{ $self->{tried}{$group} }; }
		else { $self->try($who, @{ $self->{tried}{$group} }); }
		$self->ask(who => $who, sql => $settings);
	}
	$self->collect();
	$self->use(@$_) for @{ $self->{defined} };
	$self->collect();
	$self->{done} += @numbers;
}

# ---- memory ----

# Bytes of the owner's session: of its memory contexts, and without files and shared memory.
sub memory
{
	my ($self) = @_;
	my $session = $self->session('owner');

	$session->query($_) for 'ROLLBACK', "$settings; SET statement_timeout = 0";    # whatever it was in
	my $answer = $session->query('SELECT sum(used_bytes) FROM pg_backend_memory_contexts');
	die 'the memory of a session is not known: ' . ($answer->{lost} || $answer->{error}{M}) . "\n" if !@{ $answer->{rows} };
	$session->query($settings);
	return [ $answer->{rows}[0][0], anonymous($session->{pid}) ];
}

sub anonymous
{
	my ($pid) = @_;

	open(my $file, '<', "/proc/$pid/status") or return 0;
	my ($kilobytes) = join('', <$file>) =~ /RssAnon:\s*(\d+)/;
	return ($kilobytes || 0) * 1024;
}

1;
