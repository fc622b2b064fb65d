# Sessions that listen, and what they have been told.
package Messages;

use strict;
use warnings;

use Exporter 'import';
use Goflow;
use Test::More;

our @EXPORT = qw(messages messages_until keep_messages differences subscribe);

my $private = qr/goflow_private_[0-9a-f]{40}/;

# Notifications that a session has got by now: [channel, payload].
sub messages
{
	my ($session) = @_;
	my $answer = $session->query('SELECT pg_sleep(0.02)');
	my @messages;

	while ($answer =~ /Asynchronous notification "([^"]*)" with payload "(.*)" received from/g)
	{
		push @messages, [ $1, $2 ];
	}
	return @messages;
}

# Collects them until one matches, with a bound.
sub messages_until
{
	my ($session, $pattern) = @_;
	my $deadline = time() + $Goflow::bound;
	my @all;

	while (time() < $deadline)
	{
		push @all, messages($session);
		return @all if grep { $_->[1] =~ $pattern } @all;
	}
	diag("waited in vain for $pattern");
	return @all;
}

# Puts messages into the table got, so that SQL can compare them.
sub keep_messages
{
	my ($node, @messages) = @_;

	return query($node, join('; ', 'CREATE TABLE IF NOT EXISTS got (n bigint GENERATED ALWAYS AS IDENTITY, channel text, payload jsonb)',
		'TRUNCATE got',
		map { "INSERT INTO got (channel, payload) VALUES (\$m\$$_->[0]\$m\$, \$m\$$_->[1]\$m\$)" } @messages));
}

# How what was kept differs from events(): missing, of another content, out of order.
# A progress is sent once per commit, so some of them may be missing.
sub differences
{
	my ($node, $execution) = @_;

	my $with = qq{WITH told AS (SELECT n, (payload->>'seq')::bigint AS seq, payload->>'event' AS event,
				(payload->>'at')::timestamptz AS at, payload->>'node' AS node, (payload->>'frame')::int AS frame,
				payload->>'state' AS state, payload->'data' AS data
			FROM got WHERE payload->>'execution' = '$execution'),
		listed AS (SELECT seq, event, at, node, frame, state, data FROM goflow.events('$execution', variables => true)),
		others AS (SELECT seq, event, at, node, frame, state, data FROM told EXCEPT TABLE listed)};
	my $counts = query($node, qq{$with
		SELECT (SELECT count(*) FROM listed WHERE event <> 'progress_update' AND seq NOT IN (SELECT seq FROM told)),
			(SELECT count(*) FROM others),
			(SELECT count(*) FROM (SELECT seq, lag(seq) OVER (ORDER BY n) AS before FROM told) x WHERE before >= seq)});

	diag(query($node, "$with SELECT 'told', o::text FROM others o UNION ALL"
		  . " SELECT 'listed', l::text FROM listed l JOIN others USING (seq)")) if $counts !~ /\|0\|0$/;
	return $counts;
}

# The channel of a new subscription of the session.
sub subscribe
{
	my ($session, $arguments) = @_;
	my ($channel) = $session->query_safe("SELECT goflow.subscribe($arguments)") =~ /($private)/;

	return $channel;
}

1;
