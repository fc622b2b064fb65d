/*
 * ascii.c
 *		Messages that every session can receive.
 *
 * A session whose client_encoding lacks a character of a notification gets an
 * error instead of it, even while it is idle.  So what goflow sends is ASCII.
 */
#include "postgres.h"

#include "live/live.h"

#include "catalog/namespace.h"
#include "common/string.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

/* From the database's encoding; NULL: not all of it has code points, or the database does not say what its bytes are. */
static char *
to_utf8(const char *text)
{
	int			length = strlen(text);
	int			encoding = GetDatabaseEncoding();
	Size		size;
	char	   *utf8;
	Oid			conversion;

	if (encoding == PG_UTF8)
		return pstrdup(text);
	conversion = encoding == PG_SQL_ASCII ? InvalidOid : FindDefaultConversionProc(encoding, PG_UTF8);
	if (!OidIsValid(conversion))
		return NULL;
	size = (Size) length * MAX_CONVERSION_GROWTH + 1;
	utf8 = palloc(size);
	return pg_do_encoding_conversion_buf(conversion, encoding, PG_UTF8, (unsigned char *) unconstify(char *, text),
										 length, (unsigned char *) utf8, size, true) == length ? utf8 : NULL;
}

/*
 * The same JSON with \uXXXX for every character that is not ASCII: those are in
 * strings and names only.  What has no code points stays as it is.
 */
char *
goflow_json_to_ascii(char *json)
{
	StringInfoData ascii;
	const char *utf8;

	if (pg_is_ascii(json) || (utf8 = to_utf8(json)) == NULL)
		return json;
	initStringInfo(&ascii);
	for (; *utf8; utf8 += pg_utf_mblen((const unsigned char *) utf8))
	{
		pg_wchar	c = utf8_to_unicode((const unsigned char *) utf8);

		if (c < 0x80)
			appendStringInfoChar(&ascii, (char) c);
		else if (c < 0x10000)
			appendStringInfo(&ascii, "\\u%04x", c);
		else					/* a surrogate pair */
			appendStringInfo(&ascii, "\\u%04x\\u%04x", 0xd7c0 + (c >> 10), 0xdc00 + (c & 0x3ff));
	}
	return ascii.data;
}
