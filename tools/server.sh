# Sourced (bash) by test/check, test/bench/run, test/fuzz/run and demo/run: builds goflow and
# gives it a PostgreSQL of its own, in a directory that goes away with the shell.
#
# The installed PostgreSQL is not touched: its programs are copied, its libraries
# and shared files linked, under $work/pg, and goflow is installed there.
# PostgreSQL finds its files relative to its programs, so that the copy works.

set -euo pipefail
source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
unset MAKEFLAGS MAKELEVEL MFLAGS PGHOST PGPORT PGUSER PGDATABASE PGOPTIONS PGSERVICE PSQLRC
export LC_MESSAGES=C PGCONNECT_TIMEOUT=30

# Of programs that tools/sanitize/server has built a finding is a crash.  Short-lived
# ones free nothing; freed memory is kept from reuse, but not long.
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:quarantine_size_mb=16
export UBSAN_OPTIONS=halt_on_error=1:abort_on_error=1:print_stacktrace=1

# initdb refuses root, so root runs servers as somebody else.
server_user=$(id -un)
if [ "$(id -u)" = 0 ]; then
	server_user=postgres
	id -u postgres >/dev/null 2>&1 || server_user=nobody
fi

# Runs a command as the one who owns the server.
as_server()
{
	if [ "$(id -u)" = 0 ]; then
		runuser -u "$server_user" -- env HOME="$work" USER="$server_user" LOGNAME="$server_user" "$@"
	else
		"$@"
	fi
}

server_cleanup()
{
	trap '' INT TERM HUP
	if [ -f "$work/data/postmaster.pid" ]; then
		as_server "$bin/pg_ctl" -D "$work/data" -m immediate -w stop >/dev/null 2>&1 || :
	fi
	cd /
	if [ -n "${KEEP_FILES:-}" ]; then
		echo "Files are kept in $work"
	else
		rm -rf "$work"
	fi
}

# Builds goflow; sets $work and $bin.
server_prepare()
{
	local pg_config=${PG_CONFIG:-pg_config} bindir sharedir pkglibdir program log

	"$source_dir/tools/setup"
	bindir=$("$pg_config" --bindir)
	sharedir=$("$pg_config" --sharedir)
	pkglibdir=$("$pg_config" --pkglibdir)

	work=$(mktemp -d "${TMPDIR:-/tmp}/goflow.XXXXXX")
	bin=$work/pg$bindir
	trap server_cleanup EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP

	mkdir -p "$bin" "$work/pg${sharedir%/*}" "$work/pg${pkglibdir%/*}"
	for program in "$bindir"/{postgres,initdb,pg_*,psql,pgbench,createdb,dropdb,createuser,dropuser,vacuumdb}; do
		[ ! -x "$program" ] || cp "$program" "$bin/"
	done
	cp -as "$sharedir" "$work/pg${sharedir%/*}/"
	cp -as "$pkglibdir" "$work/pg${pkglibdir%/*}/"
	rm -f "$work/pg$pkglibdir/goflow.so" "$work/pg$sharedir/extension/goflow"*

	log=$work/build.log
	if ! make -C "$source_dir" PG_CONFIG="$pg_config" with_llvm=no -j"$(nproc)" all >"$log" 2>&1 ||
		! make -C "$source_dir" PG_CONFIG="$pg_config" with_llvm=no install \
			datadir="$work/pg$sharedir" pkglibdir="$work/pg$pkglibdir" >>"$log" 2>&1
	then
		cat "$log" >&2
		exit 1
	fi
	regress_dir=$pkglibdir/pgxs/src/test
	if [ "$(id -u)" = 0 ]; then
		chown "$server_user" "$work" "$work/pg$sharedir/extension"
	fi
	cd "$work"
}

# Makes a server and starts it.  Arguments: lines for postgresql.conf.
server_start()
{
	as_server "$bin/initdb" -D "$work/data" -U postgres -A trust -E UTF8 --locale=C -N >"$work/initdb.log" 2>&1 ||
		{ cat "$work/initdb.log" >&2; exit 1; }
	{
		cat "$source_dir/test/goflow.conf"
		echo "listen_addresses = ''"
		echo "unix_socket_directories = '$work'"
		printf '%s\n' "$@"
	} >>"$work/data/postgresql.conf"
	as_server "$bin/pg_ctl" -D "$work/data" -l "$work/server.log" -w start >/dev/null ||
		{ cat "$work/server.log" >&2; exit 1; }
	export PGHOST=$work PGUSER=postgres PGDATABASE=postgres
}

run_psql()
{
	"$bin/psql" -X -q -P pager=off -v ON_ERROR_STOP=1 "$@"
}
