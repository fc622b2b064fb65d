/*
 * os_faults.c
 *		What the operating system may do to a server.  Preloaded (LD_PRELOAD)
 *		into the servers of tests; OsFaults.pm builds and steers it.
 *
 * The file that GOFLOW_OS_FAULTS names is mapped into every process of the
 * server, and the test writes to it while they run:
 *
 *	-	clock: so many microseconds the clock is ahead.  As with settimeofday(),
 *		the monotonic clock, and with it a sleep that has begun, does not change.
 *	-	disk_is_full: files below pg_tblspc cannot grow, as on a file system
 *		without free blocks: what is within a file can be written still.
 *	-	clock_waits: so many microseconds pass before the clock is read, as when
 *		the process has to wait for a processor just then.
 *	-	held: the process of that number (-1: any) does not come back from flushing
 *		the log as long as this stands here.  Otherwise that takes no time.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

typedef struct Faults
{
	int64_t		clock;
	int64_t		disk_is_full;
	int64_t		clock_waits;
	int64_t		held;
} Faults;

static const volatile Faults none;
static const volatile Faults *faults = &none;

static ssize_t (*real_pwrite) (int, const void *, size_t, off_t);
static ssize_t (*real_pwritev) (int, const struct iovec *, int, off_t);
static int	(*real_fallocate) (int, off_t, off_t);

__attribute__((constructor))
static void
begin(void)
{
	const char *path = getenv("GOFLOW_OS_FAULTS");
	int			fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void	   *map;

	real_pwrite = dlsym(RTLD_NEXT, "pwrite");
	real_pwritev = dlsym(RTLD_NEXT, "pwritev");
	real_fallocate = dlsym(RTLD_NEXT, "posix_fallocate");
	if (fd < 0)
		return;
	map = mmap(NULL, sizeof(Faults), PROT_READ, MAP_SHARED, fd, 0);
	if (map != MAP_FAILED)
		faults = map;
	close(fd);
}

/* ---- the clock ---- */

int
gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec real;
	int64_t		time;

	(void) zone;
	if (faults->clock_waits > 0)
		usleep(faults->clock_waits);
	clock_gettime(CLOCK_REALTIME, &real);
	time = real.tv_sec * INT64_C(1000000) + real.tv_nsec / 1000 + faults->clock;
	now->tv_sec = time / 1000000;
	now->tv_usec = time % 1000000;
	return 0;
}

time_t
time(time_t *result)
{
	struct timeval now;

	gettimeofday(&now, NULL);
	if (result)
		*result = now.tv_sec;
	return now.tv_sec;
}

/* ---- the disk ---- */

/* Would the file have to grow, and cannot? */
static int
has_no_room(int fd, off_t end)
{
	char		link[64];
	char		path[4096];
	struct stat status;
	ssize_t		length;

	if (!faults->disk_is_full)
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof(path) - 1);
	if (length < 0)
		return 0;
	path[length] = '\0';
	return strstr(path, "/pg_tblspc/") && fstat(fd, &status) == 0 && end > status.st_size;
}

ssize_t
pwrite(int fd, const void *data, size_t size, off_t offset)
{
	if (has_no_room(fd, offset + (off_t) size))
	{
		errno = ENOSPC;
		return -1;
	}
	return real_pwrite(fd, data, size, offset);
}

ssize_t
pwritev(int fd, const struct iovec *parts, int nparts, off_t offset)
{
	off_t		end = offset;

	for (int i = 0; i < nparts; i++)
		end += parts[i].iov_len;
	if (has_no_room(fd, end))
	{
		errno = ENOSPC;
		return -1;
	}
	return real_pwritev(fd, parts, nparts, offset);
}

int
posix_fallocate(int fd, off_t offset, off_t size)
{
	if (has_no_room(fd, offset + size))
		return ENOSPC;
	return real_fallocate(fd, offset, size);
}

/* ---- how long the disk takes ---- */

int
fdatasync(int fd)
{
	int			saved = errno;

	(void) fd;
	while (faults->held == -1 || faults->held == getpid())
		usleep(1000);
	errno = saved;
	return 0;
}
