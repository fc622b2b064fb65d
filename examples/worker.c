/*
 * worker.c
 *		A worker in C: does the tasks of a queue with a program.
 *
 *	cc -o worker worker.c -I"$(pg_config --includedir)" -L"$(pg_config --libdir)" -lpq
 *	./worker "dbname=app" mail ./send_mail
 *
 * For each task the program gets the payload (a JSON object) on its standard
 * input.  What it prints is the output of the task, a JSON object, or nothing;
 * if it exits with anything but 0 the task has failed, with what it printed as
 * the message.  Run as many workers as there are tasks to be done side by side.
 *
 * While the program runs, its worker keeps the task by a heartbeat in each
 * third of the lease.  When goflow says that the task is not the worker's any
 * more (it was cancelled, say), the program is killed and its work dropped.
 *
 * Without tasks the worker sleeps until a notification comes.  Notifications
 * are hints: it looks on its own, too, every half minute.  When the connection
 * is lost it makes another; a task that was claimed comes back when its lease
 * is over.  SIGTERM and SIGINT end it after the task in hand.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

#define LEASE_MS 30000
#define LOOK_MS 30000
#define MAX_OUTPUT (1024 * 1024)

static volatile sig_atomic_t stopping = 0;

static void
stop(int signal_number)
{
	(void) signal_number;
	stopping = 1;
}

static long
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000L + now.tv_nsec / 1000000L;
}

/* The result of a statement; NULL, with the error on stderr, if it failed. */
static PGresult *
query(PGconn *conn, const char *sql, int nparams, const char *const *params)
{
	PGresult   *result = PQexecParams(conn, sql, nparams, NULL, params, NULL, NULL, 0);

	if (PQresultStatus(result) == PGRES_TUPLES_OK || PQresultStatus(result) == PGRES_COMMAND_OK)
		return result;
	fprintf(stderr, "worker: %s", PQerrorMessage(conn));
	PQclear(result);
	return NULL;
}

/* The same where only success matters. */
static bool
tell(PGconn *conn, const char *sql, int nparams, const char *const *params)
{
	PGresult   *result = query(conn, sql, nparams, params);

	PQclear(result);
	return result != NULL;
}

static PGconn *
connect_and_listen(const char *conninfo, const char *queue)
{
	PGconn	   *conn = PQconnectdb(conninfo);
	char		channel[100];
	char		sql[256];
	char	   *quoted;

	if (PQstatus(conn) != CONNECTION_OK)
	{
		fprintf(stderr, "worker: %s", PQerrorMessage(conn));
		PQfinish(conn);
		return NULL;
	}
	snprintf(channel, sizeof(channel), "goflow_tasks_%s", queue);
	quoted = PQescapeIdentifier(conn, channel, strlen(channel));
	snprintf(sql, sizeof(sql), "LISTEN %s", quoted);
	PQfreemem(quoted);
	/* before the first look, so that nothing falls in between */
	if (!tell(conn, sql, 0, NULL))
	{
		PQfinish(conn);
		return NULL;
	}
	return conn;
}

/* Sleeps until there may be something to do.  False: the connection is lost. */
static bool
wait_for_work(PGconn *conn)
{
	struct timespec timeout = {.tv_sec = LOOK_MS / 1000};
	PGnotify   *notification;
	sigset_t	signals;
	sigset_t	before;
	fd_set		fds;
	int			ready = 0;

	FD_ZERO(&fds);
	FD_SET(PQsocket(conn), &fds);

	/* a signal that comes after the test of "stopping" ends the sleep */
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, &before);
	if (!stopping)
		ready = pselect(PQsocket(conn) + 1, &fds, NULL, NULL, &timeout, &before);
	sigprocmask(SIG_SETMASK, &before, NULL);

	if (ready > 0 && !PQconsumeInput(conn))
	{
		fprintf(stderr, "worker: %s", PQerrorMessage(conn));
		return false;
	}
	while ((notification = PQnotifies(conn)) != NULL)
		PQfreemem(notification);
	return true;
}

/* A program that runs: its process group, its standard input and output. */
typedef struct Program
{
	pid_t		pid;
	int			in;				/* -1: all is written */
	int			out;
	const char *input;			/* what is still to be written */
	char	   *output;
	size_t		length;
} Program;

static bool
start_program(Program *program, const char *command, const char *input)
{
	int			in[2];
	int			out[2];

	if (pipe(in) != 0)
		return false;
	if (pipe(out) != 0)
	{
		close(in[0]);
		close(in[1]);
		return false;
	}
	program->pid = fork();
	if (program->pid == 0)
	{
		setpgid(0, 0);
		signal(SIGPIPE, SIG_DFL);
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		close(in[0]);
		close(in[1]);
		close(out[0]);
		close(out[1]);
		execl("/bin/sh", "sh", "-c", command, (char *) NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	program->in = in[1];
	program->out = out[0];
	program->input = input;
	program->output = calloc(1, MAX_OUTPUT + 1);
	program->length = 0;
	fcntl(program->in, F_SETFL, O_NONBLOCK);
	fcntl(program->out, F_SETFL, O_NONBLOCK);
	return program->pid > 0 && program->output != NULL;
}

/* Moves what can be moved, for a while.  False: the program has closed its output. */
static bool
feed_program(Program *program, long timeout_ms)
{
	struct pollfd fds[2] = {
		{.fd = program->out, .events = POLLIN},
		{.fd = program->in, .events = POLLOUT},	/* -1 is ignored */
	};
	ssize_t		n;

	if (poll(fds, 2, (int) timeout_ms) <= 0)
		return true;
	if (fds[1].revents != 0)
	{
		n = write(program->in, program->input, strlen(program->input));
		if (n > 0)
			program->input += n;
		if (*program->input == '\0' || (n < 0 && errno != EAGAIN && errno != EINTR))
		{
			close(program->in);
			program->in = -1;
		}
	}
	if (fds[0].revents != 0)
	{
		char		rest[4096];
		size_t		room = MAX_OUTPUT - program->length;

		/* what is too much is read and forgotten */
		n = read(program->out, room > 0 ? program->output + program->length : rest,
				 room > 0 ? room : sizeof(rest));
		if (n == 0)
			return false;
		if (n > 0 && room > 0)
			program->length += (size_t) n;
	}
	return true;
}

/* Waits for the end of the program; its status as waitpid() gives it. */
static int
end_program(Program *program)
{
	int			status = -1;

	if (program->in >= 0)
		close(program->in);
	close(program->out);
	while (waitpid(program->pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

/* Does one task and answers.  False: the connection is of no use any more. */
static bool
do_task(PGconn *conn, const char *task, const char *payload, const char *command)
{
	Program		program;
	bool		is_ours = true;
	long		beat_at = now_ms() + LEASE_MS / 3;
	int			status;
	const char *params[2] = {task, NULL};

	if (!start_program(&program, command, payload))
	{
		params[1] = "the worker could not start its program";
		return tell(conn, "SELECT goflow.fail($1, $2)", 2, params);
	}
	for (;;)
	{
		long		left = beat_at - now_ms();

		if (left > 0)
		{
			if (!feed_program(&program, left))
				break;
			continue;
		}
		if (!tell(conn, "SELECT goflow.heartbeat($1)", 1, params))
		{
			is_ours = false;
			kill(-program.pid, SIGKILL);
			break;
		}
		beat_at = now_ms() + LEASE_MS / 3;
	}
	status = end_program(&program);

	if (is_ours)
	{
		bool		is_good = WIFEXITED(status) && WEXITSTATUS(status) == 0;

		params[1] = program.length > 0 ? program.output : is_good ? "{}" : "the program failed";
		if (is_good && !tell(conn, "SELECT goflow.complete($1, $2)", 2, params))
		{
			/* what it printed does not fit, unless the task was lost just now */
			snprintf(program.output, MAX_OUTPUT, "%s", PQerrorMessage(conn));
			params[1] = program.output;
			(void) tell(conn, "SELECT goflow.fail($1, $2, 'WF112')", 2, params);
		}
		else if (!is_good)
			(void) tell(conn, "SELECT goflow.fail($1, $2)", 2, params);
	}
	free(program.output);
	return PQstatus(conn) == CONNECTION_OK;
}

/* Claims and does one task: 1, or 0 if there is none; -1: the connection is lost. */
static int
work(PGconn *conn, const char *queue, const char *name, const char *command)
{
	char		lease[32];
	const char *params[3] = {queue, name, lease};
	PGresult   *result;
	int			done = 0;

	snprintf(lease, sizeof(lease), "%d ms", LEASE_MS);
	result = query(conn, "SELECT task, payload FROM goflow.claim(ARRAY[$1], $2, lease => $3::interval)",
				   3, params);
	if (result == NULL)
		return -1;
	if (PQntuples(result) > 0)
		done = do_task(conn, PQgetvalue(result, 0, 0), PQgetvalue(result, 0, 1), command) ? 1 : -1;
	PQclear(result);
	return done;
}

int
main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = stop};	/* no SA_RESTART: poll() returns */
	PGconn	   *conn = NULL;
	char		name[64];

	if (argc != 4)
	{
		fprintf(stderr, "usage: %s connection queue command\n", argv[0]);
		return 2;
	}
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	snprintf(name, sizeof(name), "worker %ld", (long) getpid());

	while (!stopping)
	{
		int			done = -1;

		if (conn == NULL)
			conn = connect_and_listen(argv[1], argv[2]);
		if (conn != NULL)
			done = work(conn, argv[2], name, argv[3]);
		if (done == 0 && !stopping)
			done = wait_for_work(conn) ? 0 : -1;
		if (done < 0)
		{
			if (conn != NULL)
				PQfinish(conn);
			conn = NULL;
			if (!stopping)
				sleep(1);
		}
	}
	if (conn != NULL)
		PQfinish(conn);
	return 0;
}
