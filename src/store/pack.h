/*
 * pack.h
 *		Numbers and texts in as few bytes as they need, for columns of type bytea.
 *
 * A number takes seven bits to a byte, the low ones first; the highest bit says
 * that more follow.  Signs alternate (0, -1, 1, -2, ...), so that what is near 0
 * is short: whoever packs puts differences.  A text is its length plus 1, then its
 * bytes; 0 is NULL.
 */
#ifndef GOFLOW_PACK_H
#define GOFLOW_PACK_H

#include "access/htup_details.h"	/* VARDATA() and its kin */
#include "utils/array.h"

/* A number takes up no more. */
#define GOFLOW_PACKED_NUMBER 10

/* What is being packed: into room of the caller's. */
typedef struct GoflowPack
{
	uint8	   *at;
	uint8	   *end;
} GoflowPack;

/* Do so many numbers and bytes of texts go in?  To be asked first; a text has a number, too. */
static inline bool
goflow_pack_has_room(const GoflowPack *pack, int numbers, Size bytes)
{
	return (Size) (pack->end - pack->at) >= (Size) numbers * GOFLOW_PACKED_NUMBER + bytes;
}

static inline void
goflow_pack_number(GoflowPack *pack, int64 number)
{
	uint64		bits = (uint64) number << 1 ^ (uint64) (number >> 63);
	uint8	   *at = pack->at;

	Assert(goflow_pack_has_room(pack, 1, 0));
	for (; bits >= 0x80; bits >>= 7)
		*at++ = (uint8) bits | 0x80;
	*at++ = (uint8) bits;
	pack->at = at;
}

/* NULL: no text. */
static inline void
goflow_pack_text(GoflowPack *pack, const text *value)
{
	Size		length;

	if (value == NULL)
	{
		goflow_pack_number(pack, 0);
		return;
	}
	length = VARSIZE_ANY_EXHDR(value);
	Assert(goflow_pack_has_room(pack, 1, length));
	goflow_pack_number(pack, (int64) length + 1);
	memcpy(pack->at, VARDATA_ANY(value), length);
	pack->at += length;
}

/* What is being read. */
typedef struct GoflowUnpack
{
	const uint8 *at;
	const uint8 *end;
} GoflowUnpack;

static inline bool
goflow_unpack_is_done(const GoflowUnpack *unpack)
{
	return unpack->at >= unpack->end;
}

/* pack.c; errors: ERRCODE_DATA_CORRUPTED. */
extern bytea *goflow_pack_make(const uint8 *from, const GoflowPack *pack);
extern GoflowUnpack goflow_unpack_begin(const bytea *packed);
extern int64 goflow_unpack_number(GoflowUnpack *unpack);
extern int32 goflow_unpack_count(GoflowUnpack *unpack);	/* of things that follow, each of a byte at least */
extern text *goflow_unpack_text(GoflowUnpack *unpack);
extern ArrayType *goflow_unpack_texts(GoflowUnpack *unpack);

#endif							/* GOFLOW_PACK_H */
