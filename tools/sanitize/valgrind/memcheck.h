/*
 * memcheck.h
 *		PostgreSQL's memory contexts for AddressSanitizer.
 *
 * palloc() cuts its chunks out of large blocks, of which AddressSanitizer knows
 * nothing.  Compiled with USE_VALGRIND the server tells Valgrind what may be
 * touched (utils/memdebug.h): the chunks that are in use, to the byte, and the
 * buffers that are pinned.  In the place of Valgrind's header, this one tells it
 * to AddressSanitizer instead.  What has been written or not it does not follow.
 */
#ifndef GOFLOW_SANITIZE_MEMCHECK_H
#define GOFLOW_SANITIZE_MEMCHECK_H

#include <sanitizer/asan_interface.h>

#define VALGRIND_CHECK_MEM_IS_DEFINED(addr, size)			((void) (addr), (void) (size))
#define VALGRIND_CREATE_MEMPOOL(context, redzones, zeroed)	((void) (context))
#define VALGRIND_DESTROY_MEMPOOL(context)					((void) (context))
#define VALGRIND_MAKE_MEM_DEFINED(addr, size)				ASAN_UNPOISON_MEMORY_REGION(addr, size)
#define VALGRIND_MAKE_MEM_UNDEFINED(addr, size)				ASAN_UNPOISON_MEMORY_REGION(addr, size)
#define VALGRIND_MAKE_MEM_NOACCESS(addr, size)				ASAN_POISON_MEMORY_REGION(addr, size)
#define VALGRIND_MEMPOOL_ALLOC(context, addr, size)			ASAN_UNPOISON_MEMORY_REGION(addr, size)
/* the server wipes a chunk, and with it makes it inaccessible, before it says this */
#define VALGRIND_MEMPOOL_FREE(context, addr)				((void) (addr))
#define VALGRIND_MEMPOOL_CHANGE(context, optr, nptr, size)	ASAN_UNPOISON_MEMORY_REGION(nptr, size)
#define VALGRIND_GET_VBITS(addr, bits, size)				((void) (addr), (void) (bits), 0)
#define VALGRIND_SET_VBITS(addr, bits, size)				((void) (addr), (void) (bits), 0)
#define VALGRIND_COUNT_ERRORS								0
#define VALGRIND_PRINTF(...)								((void) 0)

#endif							/* GOFLOW_SANITIZE_MEMCHECK_H */
