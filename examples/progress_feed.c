/*
 * progress_feed.c
 *		The progress of an execution as a stream of messages, one JSON object a
 *		line: what a WebSocket server would send to a browser.
 *
 *		cc -I$(pg_config --includedir) progress_feed.c -L$(pg_config --libdir) -lpq -o progress_feed
 *		./progress_feed "dbname=postgres" 0192f0c4-…
 *
 * First comes the present status (kind "status"), then whatever changes
 * ("started", "progress"), how it ended ("completed", "failed", "cancelled"),
 * and the final status.  What cannot be is told as kind "error".  The exit
 * status is 0 if the execution completed, 1 if it did not, 2 after an error.
 *
 * Messages are hints, the tables are the truth: one may be dropped when a
 * server is busy, so after a while without any the status is asked for again.
 */
#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

/* Milliseconds without a message after which to look. */
#define SILENCE_MS 5000

static PGconn *connection;

static void
print_string(const char *string)
{
	putchar('"');
	for (; *string; string++)
	{
		unsigned char c = (unsigned char) *string;

		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < ' ')
			printf("\\u%04x", c);
		else
			putchar(c);
	}
	putchar('"');
}

/* Ends the feed.  code: SQLSTATE. */
static void
fail(const char *code, const char *message)
{
	printf("{\"kind\": \"error\", \"code\": ");
	print_string(code ? code : "08006");
	printf(", \"message\": ");
	print_string(message);
	printf("}\n");
	PQfinish(connection);
	exit(2);
}

/* Runs a query with one parameter; the first column of its first row, or NULL.  To be freed. */
static char *
query(const char *sql, const char *parameter)
{
	PGresult   *result = PQexecParams(connection, sql, parameter ? 1 : 0, NULL, &parameter, NULL, NULL, 0);
	ExecStatusType status = PQresultStatus(result);
	char	   *value = NULL;

	if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
	{
		const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

		fail(PQresultErrorField(result, PG_DIAG_SQLSTATE), message ? message : PQerrorMessage(connection));
	}
	if (status == PGRES_TUPLES_OK && PQntuples(result) > 0 && !PQgetisnull(result, 0, 0))
		value = strdup(PQgetvalue(result, 0, 0));
	PQclear(result);
	return value;
}

static void
send_message(const char *message)
{
	printf("%s\n", message);
	fflush(stdout);
}

/* Is a member of a message this text?  jsonb has a blank after the colon, and sorted keys once. */
static int
has(const char *message, const char *member, const char *text)
{
	char		wanted[100];

	snprintf(wanted, sizeof(wanted), "\"%s\": \"%s\"", member, text);
	return strstr(message, wanted) != NULL;
}

static int
is_over(const char *message)
{
	return has(message, "state", "completed") || has(message, "state", "partial") ||
		has(message, "state", "failed") || has(message, "state", "cancelled");
}

/* Takes the messages that have come; true: the execution has ended. */
static int
take_messages(void)
{
	int			ended = 0;
	PGnotify   *notify;

	if (!PQconsumeInput(connection))
		fail(NULL, PQerrorMessage(connection));
	while ((notify = PQnotifies(connection)) != NULL)
	{
		char	   *message = query("SELECT goflow.event_message($1)", notify->extra);

		PQfreemem(notify);
		/* other events of the execution are none of ours; of two ends only the first is told */
		if (message && !ended)
			send_message(message);
		ended |= message && is_over(message);
		free(message);
	}
	return ended;
}

static void
wait_for_input(int *timed_out)
{
	struct pollfd input = {.fd = PQsocket(connection), .events = POLLIN};
	int			ready;

	do
		ready = poll(&input, 1, SILENCE_MS);
	while (ready < 0 && errno == EINTR);
	*timed_out = ready == 0;
}

int
main(int argc, char **argv)
{
	char		listen[100] = "LISTEN goflow_";
	char	   *status;
	int			ended;
	int			completed;

	if (argc != 3 || strlen(argv[2]) != 36)
	{
		fprintf(stderr, "usage: %s CONNECTION EXECUTION\n", argv[0]);
		return 2;
	}
	connection = PQconnectdb(argv[1]);
	if (PQstatus(connection) != CONNECTION_OK)
		fail(NULL, PQerrorMessage(connection));

	/* the channel is called like the execution, without dashes */
	for (const char *c = argv[2]; *c; c++)
		if (isxdigit((unsigned char) *c))
			sprintf(listen + strlen(listen), "%c", tolower((unsigned char) *c));

	/* first listen, then look: what happens in between is told twice, not never */
	free(query(listen, NULL));
	status = query("SELECT goflow.progress_message($1)", argv[2]);
	send_message(status);
	ended = is_over(status);
	while (!ended)
	{
		int			timed_out;

		wait_for_input(&timed_out);
		ended = take_messages();
		if (timed_out && !ended)
		{
			char	   *now = query("SELECT goflow.progress_message($1)", argv[2]);

			ended = is_over(now);
			free(now);
		}
	}
	free(status);
	status = query("SELECT goflow.progress_message($1)", argv[2]);
	send_message(status);
	completed = has(status, "state", "completed") || has(status, "state", "partial");
	free(status);
	PQfinish(connection);
	return completed ? 0 : 1;
}
