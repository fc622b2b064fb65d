/*
 * pack.c
 *		Packed numbers and texts: their column, and how they are read.
 */
#include "postgres.h"

#include "utils/array.h"

#include "store/pack.h"
#include "store/store.h"
#include "store/table.h"

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

/* A number of texts, and these, as an array in the current context. */
ArrayType *
goflow_unpack_texts(GoflowUnpack *unpack)
{
	int			n = goflow_unpack_count(unpack);
	Datum	   *texts = palloc(n * sizeof(Datum));
	bool	   *nulls = palloc(n * sizeof(bool));
	ArrayType  *array;

	for (int i = 0; i < n; i++)
	{
		texts[i] = PointerGetDatum(goflow_unpack_text(unpack));
		nulls[i] = DatumGetPointer(texts[i]) == NULL;
	}
	array = goflow_texts_make(texts, nulls, n);
	for (int i = 0; i < n; i++)
		if (!nulls[i])
			pfree(DatumGetPointer(texts[i]));
	pfree(texts);
	pfree(nulls);
	return array;
}

bytea *
goflow_texts_pack(const Datum *texts, const bool *nulls, int n)
{
	Size		size = (Size) (n + 1) * GOFLOW_PACKED_NUMBER;
	GoflowPack	pack;
	bytea	   *packed;

	for (int i = 0; i < n; i++)
		if (!nulls[i])
			size += VARSIZE_ANY_EXHDR(DatumGetPointer(texts[i]));
	packed = palloc(VARHDRSZ + size);
	pack.at = (uint8 *) VARDATA(packed);
	pack.end = pack.at + size;
	goflow_pack_number(&pack, n);
	for (int i = 0; i < n; i++)
		goflow_pack_text(&pack, nulls[i] ? NULL : (text *) DatumGetPointer(texts[i]));
	SET_VARSIZE(packed, (char *) pack.at - (char *) packed);
	return packed;
}

ArrayType *
goflow_texts_unpack(const bytea *packed)
{
	GoflowUnpack from = goflow_unpack_begin(packed);

	return goflow_unpack_texts(&from);
}
