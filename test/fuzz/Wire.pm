# A session that speaks the server's protocol itself: it can send bytes that a
# client library would refuse, has every error with all its fields, and costs
# little enough for a million statements.
package Wire;

use strict;
use warnings;
use Errno;
use IO::Socket::UNIX;
use Time::HiRes qw(time);

# Arguments: path of the server's socket, and parameters of the startup message
# (user, database, client_encoding, any setting).  Dies when there is no session.
sub new
{
	my ($class, $socket, %parameters) = @_;
	my $handle = IO::Socket::UNIX->new(Type => SOCK_STREAM, Peer => $socket) or die "cannot connect to $socket: $!\n";
	my $self = bless { socket => $handle, buffer => '' }, $class;
	$handle->blocking(0);
	my $startup = pack('N', 196608) . join('', map { "$_\0$parameters{$_}\0" } sort keys %parameters) . "\0";

	$self->send(pack('N', 4 + length $startup) . $startup);
	my $answer = $self->answer(30);
	die "not yet: $answer->{error}{M}\n" if $answer->{error} && $answer->{error}{C} eq '57P03';
	die 'no session: ' . ($answer->{error} ? $answer->{error}{M} : $answer->{lost}) . "\n" if $answer->{error} || $answer->{lost};
	return $self;
}

# Writes, and reads meanwhile what the server says, which else might wait for us.
sub send
{
	my ($self, $bytes) = @_;
	local $SIG{PIPE} = 'IGNORE';
	my $done = 0;

	while ($done < length $bytes)
	{
		my $readable = '';

		vec($readable, fileno($self->{socket}), 1) = 1;
		my $writable = $readable;
		next if select($readable, $writable, undef, undef) < 0;
		if (vec($writable, fileno($self->{socket}), 1))
		{
			my $n = syswrite($self->{socket}, $bytes, length($bytes) - $done, $done);

			return if !defined $n && !$!{EAGAIN};    # reading says what happened
			$done += $n || 0;
		}
		elsif (!sysread($self->{socket}, $self->{buffer}, 65536, length $self->{buffer})) { return; }
	}
}

# One message with its length; nothing when the session is lost, or the time is over.
sub message
{
	my ($self, $deadline) = @_;

	while (1)
	{
		if (length $self->{buffer} >= 5)
		{
			my ($type, $length) = unpack('aN', $self->{buffer});

			if (length $self->{buffer} > $length)
			{
				my $message = substr($self->{buffer}, 0, $length + 1, '');

				return ($type, substr($message, 5));
			}
		}
		my $bits = '';
		my $left = $deadline - time();

		vec($bits, fileno($self->{socket}), 1) = 1;
		if ($left <= 0 || !select($bits, undef, undef, $left))
		{
			$self->{lost} = 'no answer';
			return;
		}
		my $n = sysread($self->{socket}, $self->{buffer}, 65536, length $self->{buffer});

		if (!$n && !$!{EAGAIN})
		{
			$self->{lost} = 'connection lost';
			return;
		}
	}
}

# All up to "ready for query": {rows, error (its fields, by their letters), lost, seconds}.
sub answer
{
	my ($self, $bound) = @_;
	my $start = time();
	my $answer = { rows => [] };

	while (1)
	{
		my ($type, $body) = $self->message($start + $bound);

		if (!defined $type)
		{
			$answer->{lost} = $self->{lost};
			last;
		}
		if ($type eq 'E')
		{
			my %fields = map { (substr($_, 0, 1) => substr($_, 1)) } grep { length } split /\0/, $body;

			$answer->{error} ||= \%fields;
			last if $fields{V} && $fields{V} ne 'ERROR';
		}
		elsif ($type eq 'D')
		{
			my $n = unpack('n', $body);
			my $at = 2;
			my @row;

			for (1 .. $n)
			{
				my $length = unpack('l>', substr($body, $at, 4));

				push @row, $length < 0 ? undef : substr($body, $at + 4, $length);
				$at += 4 + ($length < 0 ? 0 : $length);
			}
			push @{ $answer->{rows} }, \@row;
		}
		elsif ($type eq 'K') { $self->{pid} = unpack('N', $body); }
		elsif ($type eq 'Z') { last; }
	}
	$answer->{seconds} = time() - $start;
	return $answer;
}

# Sends a text of any number of statements.  Answers come in the order of sending.
sub post_query
{
	my ($self, $sql) = @_;

	$self->send('Q' . pack('N', 5 + length $sql) . "$sql\0");
}

# Sends a statement with parameters, given as the bytes of their text form.
sub post_call
{
	my ($self, $sql, $parameters) = @_;
	my $bind = "\0\0" . pack('nn', 0, scalar @$parameters)
	  . join('', map { defined $_ ? pack('N', length $_) . $_ : pack('l>', -1) } @$parameters) . pack('n', 0);

	$self->send('P' . pack('N', 4 + length($sql) + 4) . "\0$sql\0" . pack('n', 0) . 'B' . pack('N', 4 + length $bind) . $bind
		  . 'E' . pack('N', 9) . "\0" . pack('N', 0) . 'S' . pack('N', 4));
}

sub query
{
	my ($self, $sql, $bound) = @_;

	$self->post_query($sql);
	return $self->answer($bound || 60);
}

sub close
{
	my ($self) = @_;

	$self->send('X' . pack('N', 4));
	CORE::close($self->{socket});
}

1;
