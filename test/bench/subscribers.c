/*
 * subscribers.c
 *		Clients for the benchmark that are told of something.
 *
 *		subscribers read|stall SESSIONS STATEMENT
 *
 * So many sessions run the statement (a subscribe() or LISTEN), and "ready" is
 * printed.  Then whatever comes is read until the program is killed, or, with
 * "stall", nothing at all until its standard input ends.
 *
 *		subscribers latency TIMES LISTEN SEND
 *
 * A session runs LISTEN, another one SEND, so many times: prints the 50th and
 * 99th percentile, in milliseconds, from the moment before SEND goes out until
 * the first session has the notification.
 *
 * The server is that of the environment (PGHOST and so on).
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libpq-fe.h>

/* A notification that does not come within this time is an error. */
#define PATIENCE_MS 60000

static void
fail(const char *what)
{
	fprintf(stderr, "subscribers: %s\n", what);
	exit(1);
}

static int
number(const char *argument)
{
	int			value = atoi(argument);

	if (value <= 0)
		fail("a number above zero is expected");
	return value;
}

static void *
allocate(size_t n, size_t size)
{
	void	   *memory = calloc(n, size);

	if (memory == NULL)
		fail("out of memory");
	return memory;
}

static void
check(PGconn *connection, PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);

	if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
		fail(PQerrorMessage(connection));
	PQclear(result);
}

/* A session that has run a statement, or none if it is NULL. */
static PGconn *
session(const char *statement)
{
	PGconn	   *connection = PQconnectdb("");

	if (PQstatus(connection) != CONNECTION_OK)
		fail(PQerrorMessage(connection));
	if (statement)
		check(connection, PQexec(connection, statement));
	return connection;
}

/* Reads what has come; how many notifications there were. */
static int
take(PGconn *connection)
{
	int			n = 0;
	PGnotify   *notify;

	if (!PQconsumeInput(connection))
		fail(PQerrorMessage(connection));
	while ((notify = PQnotifies(connection)) != NULL)
	{
		PQfreemem(notify);
		n++;
	}
	return n;
}

/* Waits for input; timeout in milliseconds, or -1. */
static void
wait_for_input(struct pollfd *inputs, int n, int timeout)
{
	int			ready = poll(inputs, n, timeout);

	if (ready == 0)
		fail("no notification came");
	if (ready < 0 && errno != EINTR)
		fail(strerror(errno));
}

static void
subscribe(int n, const char *statement, int stall)
{
	PGconn	  **sessions = allocate(n, sizeof(PGconn *));
	struct pollfd *inputs = allocate(n, sizeof(struct pollfd));

	for (int i = 0; i < n; i++)
	{
		sessions[i] = session(statement);
		inputs[i].fd = PQsocket(sessions[i]);
		inputs[i].events = POLLIN;
	}
	printf("ready\n");
	fflush(stdout);
	while (stall && getchar() != EOF)
		;
	while (!stall)
	{
		wait_for_input(inputs, n, -1);
		for (int i = 0; i < n; i++)
			if (inputs[i].revents)
				take(sessions[i]);
	}
}

static double
milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static int
by_size(const void *a, const void *b)
{
	double		left = *(const double *) a;
	double		right = *(const double *) b;

	return (left > right) - (left < right);
}

static void
measure_latency(int n, const char *listen, const char *send)
{
	PGconn	   *listener = session(listen);
	PGconn	   *sender = session(NULL);
	struct pollfd input = {.fd = PQsocket(listener), .events = POLLIN};
	double	   *times = allocate(n, sizeof(double));

	for (int i = 0; i < n; i++)
	{
		double		began = milliseconds();
		PGresult   *result;

		if (!PQsendQuery(sender, send))
			fail(PQerrorMessage(sender));
		while (take(listener) == 0)
			wait_for_input(&input, 1, PATIENCE_MS);
		times[i] = milliseconds() - began;
		while ((result = PQgetResult(sender)) != NULL)
			check(sender, result);
	}
	qsort(times, n, sizeof(double), by_size);
	printf("%.4f %.4f\n", times[n / 2], times[n * 99 / 100]);
	PQfinish(sender);
	PQfinish(listener);
}

int
main(int argc, char **argv)
{
	if (argc == 4 && (strcmp(argv[1], "read") == 0 || strcmp(argv[1], "stall") == 0))
		subscribe(number(argv[2]), argv[3], strcmp(argv[1], "stall") == 0);
	else if (argc == 5 && strcmp(argv[1], "latency") == 0)
		measure_latency(number(argv[2]), argv[3], argv[4]);
	else
		fail("usage: subscribers read|stall SESSIONS STATEMENT | latency TIMES LISTEN SEND");
	return 0;
}
