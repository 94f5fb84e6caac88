/*-------------------------------------------------------------------------
 *
 * field.c
 *		A field of a record as exports and scrapers write it, in the form that
 *		its column's type reads.
 *
 * Whatever way a record comes in, its fields come through here; what is in that
 * form already stays as it is, and PostgreSQL's own input functions do the rest
 * (convert.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/jsonapi.h"
#include "mb/pg_wchar.h"
#include "pgtime.h"
#include "parser/scansup.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "batch.h"

/* Numbers from here on are milliseconds: as seconds they are of the year 5138 */
#define FIRST_MILLISECONDS 1e11

/* Texts of fewer digits are dates, 20260131 */
#define LEAST_EPOCH_DIGITS 9

/* Those in between are dates, too: 202601310930 */
#define SECONDS_DIGITS 10
#define MILLISECONDS_DIGITS 13

static const JsonbValue *read_list(const JsonbValue *value);
static bool has_blanks(const JsonbValue *array);
static const JsonbValue *read_list_text(char *text, const JsonbValue *value);
static const JsonbValue *read_array(char *list, const JsonbValue *value);
static const JsonbValue *read_document(const JsonbValue *value, bool from_text);
static const JsonbValue *read_time(const JsonbValue *value, pg_tz *session_zone);
static const JsonbValue *read_zone(char *text, const JsonbValue *value, pg_tz *session_zone);
static const JsonbValue *read_score(const JsonbValue *value);
static bool is_blank(const JsonbValue *value);
static bool is_empty(const JsonbValue *value);
static bool is_empty_text(const JsonbValue *value);
static char *trimmed(const JsonbValue *value);
static bool looks_like_epoch(const char *string);
static JsonbValue *parse_json(const char *text);
static JsonbValue *string_value(char *text);

/*
 * Reads a field: the value itself if that is as the type reads it, another one,
 * or NULL if it gives no value.  from_text: it came as text, as of a CSV, where
 * JSON cannot be told from a string.
 *
 * A blank text is no value, nor are an empty list and an empty object, which
 * scrapers write for "nothing found".  A list is a JSON array, {a,b}, "a, b" or
 * one word; a time also a number, of seconds or milliseconds since 1970; a
 * score also "95%"; JSON also its text.
 *
 * A time that tells no zone is one of TimeZone, which is the table's here; what a
 * client's own timestamptz has become has an abbreviation of the session's zone.
 */
const JsonbValue *
sidecar_read_field(const SidecarColumn *column, const JsonbValue *value, bool from_text, pg_tz *session_zone)
{
	if (!sidecar_says_something(value) || is_empty_text(value))
		return NULL;
	switch (column->form)
	{
		case SIDECAR_LIST:
			return read_list(value);
		case SIDECAR_DOCUMENT:
			return read_document(value, from_text);
		case SIDECAR_TIME:
			return read_time(value, session_zone);
		case SIDECAR_SCORE:
			return read_score(value);
		case SIDECAR_PLAIN:
			break;
	}
	return value;
}

/*
 * True if a value says more than "nothing found".
 */
bool
sidecar_says_something(const JsonbValue *value)
{
	return value->type != jbvNull && !is_blank(value) && !is_empty(value);
}

static const JsonbValue *
read_list(const JsonbValue *value)
{
	JsonbParseState *state = NULL;
	JsonbIterator *it;
	JsonbValue	element;
	const JsonbValue *result;
	bool		found = false;

	if (value->type == jbvString)
		return read_list_text(trimmed(value), value);
	if (is_empty(value))
		return NULL;

	/* a number, say: a list of one */
	if (value->type != jbvBinary)
	{
		element = *value;
		(void) pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
		(void) pushJsonbValue(&state, WJB_ELEM, &element);
		return pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	}
	/* an object: the type's input says what is wrong with it */
	if (!JsonContainerIsArray(value->val.binary.data))
		return value;

	if (!has_blanks(value))
		return value;
	(void) pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	it = JsonbIteratorInit(value->val.binary.data);
	(void) JsonbIteratorNext(&it, &element, true);
	while (JsonbIteratorNext(&it, &element, true) == WJB_ELEM)
	{
		if (!sidecar_says_something(&element))
			continue;
		(void) pushJsonbValue(&state, WJB_ELEM, &element);
		found = true;
	}
	result = pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	return found ? result : NULL;
}

/*
 * True of an array that has elements which say nothing.
 */
static bool
has_blanks(const JsonbValue *array)
{
	JsonbIterator *it = JsonbIteratorInit(array->val.binary.data);
	JsonbValue	element;

	(void) JsonbIteratorNext(&it, &element, true);
	while (JsonbIteratorNext(&it, &element, true) == WJB_ELEM)
	{
		if (!sidecar_says_something(&element))
			return true;
	}
	return false;
}

static const JsonbValue *
read_list_text(char *text, const JsonbValue *value)
{
	JsonbParseState *state = NULL;
	const JsonbValue *result;
	bool		found = false;

	if (text[0] == '{')
		return read_array(text, value);
	if (text[0] == '[')
	{
		result = parse_json(text);
		if (result != NULL)
			return read_list(result);
		/* a word in brackets is nobody's, nor is half of one */
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("malformed list: \"%s\"", text),
				 errdetail("A list is a JSON array, {a,b}, or words with commas between them.")));
	}

	(void) pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (char *word = strtok(text, ","); word != NULL; word = strtok(NULL, ","))
	{
		JsonbValue *element = string_value(word);

		if (is_blank(element))
			continue;
		(void) pushJsonbValue(&state, WJB_ELEM, string_value(trimmed(element)));
		found = true;
	}
	result = pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	return found ? result : NULL;
}

/*
 * PostgreSQL's own form of a list.
 */
static const JsonbValue *
read_array(char *list, const JsonbValue *value)
{
	ArrayType  *array = DatumGetArrayTypeP(OidInputFunctionCall(F_ARRAY_IN, list, TEXTOID, -1));
	JsonbParseState *state = NULL;
	const JsonbValue *result;
	Datum	   *elements;
	bool	   *nulls;
	int			n;
	int			nfound = 0;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	(void) pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < n; i++)
	{
		JsonbValue *element = nulls[i] ? NULL : string_value(TextDatumGetCString(elements[i]));

		if (element == NULL || is_blank(element))
			continue;
		(void) pushJsonbValue(&state, WJB_ELEM, element);
		nfound++;
	}
	result = pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	if (nfound == 0)
		return NULL;
	/* as it is, with its dimensions */
	return nfound == n ? value : result;
}

/*
 * JSON, or its text, which may have been made into text twice.
 */
static const JsonbValue *
read_document(const JsonbValue *value, bool from_text)
{
	const JsonbValue *result = value;

	while (result->type == jbvString)
	{
		const JsonbValue *inner = parse_json(trimmed(result));

		if (inner == NULL && from_text && result == value)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					 errmsg("invalid input syntax for type %s", "json")));
		/* "95" is a string where it came as one, but "null" is nobody's text */
		if (inner == NULL ||
			(!from_text && inner->type != jbvBinary && inner->type != jbvString && inner->type != jbvNull))
			break;
		result = inner;
	}
	return sidecar_says_something(result) ? result : NULL;
}

/*
 * A number is a time since 1970, never a date.
 */
static const JsonbValue *
read_time(const JsonbValue *value, pg_tz *session_zone)
{
	char	   *string = value->type == jbvString ? trimmed(value) : NULL;
	double		seconds;

	if (value->type == jbvNumeric)
		seconds = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
													 NumericGetDatum(value->val.numeric)));
	else if (string != NULL && looks_like_epoch(string))
		seconds = strtod(string, NULL);
	else
		return string != NULL ? read_zone(string, value, session_zone) : value;
	if (fabs(seconds) >= FIRST_MILLISECONDS)
		seconds /= 1000;
	return string_value(pstrdup(timestamptz_to_str(DatumGetTimestampTz(
																	   DirectFunctionCall1(float8_timestamptz, Float8GetDatum(seconds))))));
}

/*
 * A time whose zone is an abbreviation that the session's zone has, which is what
 * that writes if DateStyle is not ISO.  Until PostgreSQL 18 another zone's comes
 * first: IST would be Israel's in India.
 */
static const JsonbValue *
read_zone(char *text, const JsonbValue *value, pg_tz *session_zone)
{
	char	   *zone = strrchr(text, ' ');
	Datum		local;
	pg_time_t	time = 0;
	long		offset;
	int			is_dst;

	if (zone == NULL || !pg_interpret_timezone_abbrev(zone + 1, &time, &offset, &is_dst, session_zone))
		return value;
	*zone = '\0';
	/* what it means is a matter of the time */
	local = DirectFunctionCall3(timestamp_in, CStringGetDatum(text), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	time = timestamptz_to_time_t(DatumGetTimestampTz(DirectFunctionCall2(timestamp_zone, CStringGetTextDatum(pg_get_timezone_name(session_zone)), local)));
	(void) pg_interpret_timezone_abbrev(zone + 1, &time, &offset, &is_dst, session_zone);
	return string_value(psprintf("%s %c%02ld:%02ld:%02ld", text, offset < 0 ? '-' : '+',
								 labs(offset) / SECS_PER_HOUR, labs(offset) / SECS_PER_MINUTE % MINS_PER_HOUR,
								 labs(offset) % SECS_PER_MINUTE));
}

static const JsonbValue *
read_score(const JsonbValue *value)
{
	char	   *string;
	size_t		length;

	if (value->type != jbvString)
		return value;
	string = trimmed(value);

	length = strlen(string);
	if (string[length - 1] != '%')
		return value;
	string[length - 1] = '\0';
	return string_value(string);
}

/*
 * True of the text of [] or {}.
 */
static bool
is_empty_text(const JsonbValue *value)
{
	char	   *text;
	size_t		length;

	/* looked at first: there are millions of others */
	if (value->type != jbvString || strchr("[{ \t\r\n", value->val.string.val[0]) == NULL)
		return false;
	text = trimmed(value);

	length = strlen(text);
	return length >= 2 && strspn(text +1, " \t\r\n") == length - 2 &&
		((text[0] == '[' && text[length - 1] == ']') ||(text[0] == '{' && text[length - 1] == '}'));
}

static bool
is_blank(const JsonbValue *value)
{
	return value->type == jbvString && sidecar_is_blank(value->val.string.val, value->val.string.len);
}

/*
 * True of [] and {}.
 */
static bool
is_empty(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerSize(value->val.binary.data) == 0;
}

/*
 * A string without the space around it.
 */
static char *
trimmed(const JsonbValue *value)
{
	char	   *string = pnstrdup(value->val.string.val, value->val.string.len);
	size_t		length = strlen(string);

	while (length > 0 && scanner_isspace(string[length - 1]))
		string[--length] = '\0';
	while (scanner_isspace(*string))
		string++;
	return string;
}

static bool
looks_like_epoch(const char *string)
{
	size_t		digits = strspn(string, "0123456789");

	if (digits < LEAST_EPOCH_DIGITS || (digits > SECONDS_DIGITS && digits != MILLISECONDS_DIGITS))
		return false;
	string += digits;
	if (*string == '.')
		string += 1 + strspn(string + 1, "0123456789");
	return *string == '\0';
}

/*
 * NULL if the text is not JSON.
 */
static JsonbValue *
parse_json(const char *text)
{
	JsonbValue *value;

	/* looked at first, without a sub-transaction */
	if (pg_parse_json(sidecar_json_lexer(text), &nullSemAction) != JSON_SUCCESS)
		return NULL;
	value = palloc(sizeof(JsonbValue));
	JsonbToJsonbValue(DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text))), value);
	/* a scalar is wrapped in an array */
	if (JsonContainerIsScalar(value->val.binary.data))
		(void) JsonbExtractScalar(value->val.binary.data, value);
	return value;
}

static JsonbValue *
string_value(char *text)
{
	JsonbValue *value = palloc(sizeof(JsonbValue));

	value->type = jbvString;
	value->val.string.val = text;

	value->val.string.len = (int) strlen(text);
	return value;
}
