/*
 * pack.c
 *		Packed numbers and texts: their column, and how they are read.
 */
#include "postgres.h"

#include "store/pack.h"

/* What has been packed, as a value in the current context. */
bytea *
goflow_pack_make(const uint8 *from, const GoflowPack *pack)
{
	Size		size = pack->at - from;
	bytea	   *packed = palloc(VARHDRSZ + size);

	SET_VARSIZE(packed, VARHDRSZ + size);
	memcpy(VARDATA(packed), from, size);
	return packed;
}

GoflowUnpack
goflow_unpack_begin(const bytea *packed)
{
	GoflowUnpack unpack;

	unpack.at = (const uint8 *) VARDATA_ANY(packed);
	unpack.end = unpack.at + VARSIZE_ANY_EXHDR(packed);
	return unpack;
}

static void
raise_damage(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("packed values are damaged")));
}

int64
goflow_unpack_number(GoflowUnpack *unpack)
{
	uint64		bits = 0;
	int			shift = 0;
	uint8		byte;

	do
	{
		if (unpack->at >= unpack->end || shift >= 7 * GOFLOW_PACKED_NUMBER)
			raise_damage();
		byte = *unpack->at++;
		bits |= (uint64) (byte & 0x7f) << shift;
		shift += 7;
	} while (byte & 0x80);
	return (int64) (bits >> 1 ^ (bits & 1 ? PG_UINT64_MAX : 0));
}

int32
goflow_unpack_count(GoflowUnpack *unpack)
{
	int64		count = goflow_unpack_number(unpack);

	if (count < 0 || count > unpack->end - unpack->at)
		raise_damage();
	return (int32) count;
}

/* A text in the current context, or NULL. */
text *
goflow_unpack_text(GoflowUnpack *unpack)
{
	int64		length = goflow_unpack_number(unpack) - 1;
	text	   *value;

	if (length < -1 || length > unpack->end - unpack->at)
		raise_damage();
	if (length < 0)
		return NULL;
	value = palloc(VARHDRSZ + length);
	SET_VARSIZE(value, VARHDRSZ + length);
	memcpy(VARDATA(value), unpack->at, length);
	unpack->at += length;
	return value;
}
