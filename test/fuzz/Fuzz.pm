# Compares what the model says of random workflows with what run() and workers do.
package Fuzz;

use strict;
use warnings;
use JSON::PP;
use RandomFlow;

my $json = JSON::PP->new->canonical->allow_nonref;

our $tables = <<'SQL';
CREATE TABLE IF NOT EXISTS fx (id bigserial, tag text, path text, iter text, v int, kind text);
CREATE TABLE IF NOT EXISTS outcome (tag text, execution uuid, answer jsonb);
SQL

# The workflow that others call: it fails, and undoes what it did, if its number says so.
$tables .= 'SELECT goflow.define(\'fuzz_child\', $goflow$' . RandomFlow::child_definition() . '$goflow$);';

# Everything that these seeds leave behind; the key is "r" (run) or "w" (workers) and the seed.
my $results = <<'SQL';
SELECT jsonb_object_agg(o.tag, jsonb_build_object(
	'state', coalesce(e.state, o.answer ->> 'state'), 'error', coalesce(e.error, o.answer -> 'error'),
	'output', coalesce(e.output, o.answer -> 'output'), 'execution', coalesce(o.execution, (o.answer ->> 'execution')::uuid),
	'effects', (SELECT jsonb_object_agg(text, n) FROM (SELECT concat_ws('|', path, iter, v, kind) AS text, count(*) AS n
		FROM fx WHERE fx.tag = o.tag GROUP BY 1) f),
	'undone', (SELECT jsonb_agg(path || '|' || iter ORDER BY id) FROM fx WHERE fx.tag = o.tag AND kind = 'undo'),
	'journal', (SELECT jsonb_object_agg(text, n) FROM (
		SELECT concat_ws(' ', node, attempt, state, error ->> 'code') AS text, count(*) AS n
		FROM goflow.nodes(coalesce(o.execution, (o.answer ->> 'execution')::uuid)) WHERE state <> 'idle' GROUP BY 1) j),
	'odd', (SELECT jsonb_agg(node || ' ' || state) FROM goflow.nodes(coalesce(o.execution, (o.answer ->> 'execution')::uuid))
		WHERE state IN ('queued', 'running', 'waiting', 'retrying'))))
FROM outcome o LEFT JOIN goflow.executions e ON e.execution = coalesce(o.execution, (o.answer ->> 'execution')::uuid)
SQL

# Differences between what was predicted and what happened.
sub differences
{
	my ($predicted, $actual) = @_;
	my @wrong;
	my $effects = $actual->{effects} || {};
	my $code = $actual->{error} ? $actual->{error}{code} : undef;

	push @wrong, "state $actual->{state}, expected $predicted->{state}"
	  if defined $predicted->{state} && $predicted->{state} ne $actual->{state};
	push @wrong, 'error ' . $json->encode($actual->{error}) . ", expected $predicted->{code}"
	  if defined $predicted->{code} && $predicted->{code} ne ($code || '');
	for my $name (sort keys %{ $predicted->{output} || {} })
	{
		my ($is, $wanted) = map { $json->encode($_) } $actual->{output}{$name}, $predicted->{output}{$name};

		push @wrong, "output $name is $is, expected $wanted" if $is ne $wanted;
	}
	my %seen;
	for my $text (grep { !$seen{$_}++ } sort keys %{ $predicted->{must} }, keys %{ $predicted->{may} }, keys %$effects)
	{
		my $n = $effects->{$text} || 0;
		my $least = $predicted->{must}{$text} || 0;
		my $most = $least + ($predicted->{may}{$text} || 0);
		my ($id) = $text =~ /^(\w+)/;

		$most = 'any' if $predicted->{loose}{$id};
		push @wrong, "effect $text $n times, expected $least to $most" if $n < $least || ($most ne 'any' && $n > $most);
	}
	push @wrong, 'not ended: ' . $json->encode($actual->{odd}) if $actual->{odd};
	return @wrong;
}

# Runs seeds; query is a function of (SQL) that gives the output and dies of errors.
# Gives (agreed, ambiguous, [messages]).
sub check
{
	my ($query, @seeds) = @_;
	my (%predicted, @messages);
	my ($agreed, $ambiguous) = (0, 0);
	my $sql = "SET statement_timeout = '2min'; TRUNCATE fx, outcome;\n";

	for my $seed (@seeds)
	{
		my $flow = RandomFlow::flow($seed);

		$predicted{$seed} = RandomFlow::predict($flow);
		my $definition = RandomFlow::definition($flow);
		$sql .= "SELECT goflow.define('f$seed', \$goflow\$$definition\$goflow\$);\n";
	}
	my @good = grep { $predicted{$_} ne 'too long' } @seeds;
	$sql .= "INSERT INTO outcome SELECT 'w$_', goflow.start('f$_', '{\"tag\": \"w$_\"}');\n" for @good;
	$sql .= "INSERT INTO outcome (tag, answer) SELECT 'r$_', goflow.run('f$_', '{\"tag\": \"r$_\"}', raise => false);\n" for @good;
	$sql .= "SELECT goflow.wait(execution, '90 s') FROM outcome WHERE execution IS NOT NULL;\n";
	$query->($sql);
	my $all = $json->decode($query->($results));
	for my $seed (@good)
	{
		my @wrong;

		for my $how ('r', 'w')
		{
			my $actual = $all->{"$how$seed"};

			if (!ref $predicted{$seed})
			{
				push @wrong, "$how: not ended: " . $json->encode($actual->{odd})
				  if $actual->{odd} || $actual->{state} !~ /^(completed|failed|partial)$/;
				next;
			}
			push @wrong, map { "$how: $_" } differences($predicted{$seed}, $actual);
		}
		my ($run, $worker) = map { $all->{"$_$seed"} } 'r', 'w';
		if (ref $predicted{$seed} && $predicted{$seed}{is_sequential})
		{
			for my $what ('journal', 'undone')
			{
				my ($r, $w) = map { $json->encode($_->{$what}) } $run, $worker;

				push @wrong, "$what of run() is $r,\n\tof workers $w" if $r ne $w;
			}
		}
		push @messages, "seed $seed:\n" . join('', map { "\t$_\n" } @wrong) if @wrong;
		$agreed++ if !@wrong;
		$ambiguous++ if !ref $predicted{$seed};
	}
	return ($agreed, $ambiguous, \@messages);
}

1;
