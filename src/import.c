/*-------------------------------------------------------------------------
 *
 * import.c
 *		Text into records: a JSON array, JSON Lines, or one object.
 *
 * The text is cut before it is parsed, so that what jsonb refuses (\u0000, half
 * a surrogate) and what is not JSON costs one record.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "batch.h"

/* For an indent: what is no object that is laid out over lines */
#define NO_LAYOUT (-1)

#define BYTE_ORDER_MARK "\357\273\277"

/* Where a text is being cut */
typedef struct Cutter
{
	const char *begin;
	const char *at;
	const char *end;
	bool		is_array;
	const char *counted;		/* up to where lines were counted */
	int64		line;			/* that this is in */
} Cutter;

static bool is_text_of_object(const JsonbValue *value);
static int64 line_of(Cutter *cutter, const char *place);
static Cutter begin_cutting(text *input);
static bool cut(Cutter *cutter, const char **start, int *length);
static bool cut_line(Cutter *cutter, const char **start, int *length);
static bool cut_element(Cutter *cutter, const char **start, int *length);
static const char *end_of_layout(const Cutter *cutter, const char *line_end);
static const char *end_of_value(const char *start, const char *end, int indent);
static bool begins_object(const char *line, const char *end, int indent);
static const char *skip_space(const char *at, const char *end);
static void parse_record(void *arg, Record *record);

/*
 * The records of the text, each of which is a string of its own.
 */
Record	   *
sidecar_read_text(text *input, const Record *sent, int *nrecords)
{
	Cutter		counter = begin_cutting(input);
	Cutter		cutter = counter;
	Record	   *records;
	const char *start;
	int			length;

	*nrecords = 0;
	while (cut(&counter, &start, &length))
		(*nrecords)++;
	/* a million records are more than a palloc takes */
	records = MemoryContextAllocExtended(CurrentMemoryContext, sizeof(Record) * Max(*nrecords, 1),
										 MCXT_ALLOC_HUGE);
	for (int i = 0; i < *nrecords && cut(&cutter, &start, &length); i++)
	{
		Record	   *record = &records[i];

		*record = *sent;
		record->position = i;
		record->line = line_of(&cutter, start);
		record->json.type = jbvString;
		record->json.val.string.val = unconstify(char *, start);
		record->json.val.string.len = length;
	}
	return records;
}

/*
 * Parses the records that are texts; unless it is all, only of objects.  One that
 * cannot be parsed is rejected, and stays a text.
 */
void
sidecar_parse_texts(Record *records, int nrecords, bool all)
{
	Record	  **texts = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Record *) * Max(nrecords, 1));
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "sidecar parse", ALLOCSET_DEFAULT_SIZES);
	int			ntexts = 0;

	for (int i = 0; i < nrecords; i++)
	{
		if (records[i].json.type == jbvString && (all || is_text_of_object(&records[i].json)))
			texts[ntexts++] = &records[i];
	}
	sidecar_try_each(CurrentMemoryContext, texts, ntexts, parse_record, NULL, scratch);
	pfree(texts);
	MemoryContextDelete(scratch);
}

/*
 * Parses the text that the record is, in a context that is no record's.
 */
static void
parse_record(void *arg, Record *record)
{
	MemoryContext scratch = arg;
	MemoryContext old = MemoryContextSwitchTo(scratch);
	JsonbValue	value = record->json;
	Jsonb	   *parsed = NULL;

	do
	{
		char	   *string = pnstrdup(value.val.string.val, value.val.string.len);

		parsed = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(string)));
		JsonbToJsonbValue(parsed, &value);
		/* a scalar is wrapped in an array */
		if (JsonContainerIsScalar(value.val.binary.data))
			(void) JsonbExtractScalar(value.val.binary.data, &value);
		/* it may have been made into text twice */
	} while (is_text_of_object(&value));
	MemoryContextSwitchTo(old);
	/* what is no object is refused when its fields are read */
	JsonbToJsonbValue(memcpy(palloc(VARSIZE(parsed)), parsed, VARSIZE(parsed)), &record->json);
	MemoryContextReset(scratch);
}

static bool
is_text_of_object(const JsonbValue *value)
{
	const char *end;

	if (value->type != jbvString)
		return false;
	end = value->val.string.val + value->val.string.len;
	return skip_space(value->val.string.val, end) < end && *skip_space(value->val.string.val, end) == '{';
}

/*
 * The line that a place of the text is in; each is asked for after those before
 * it.
 */
static int64
line_of(Cutter *cutter, const char *place)
{
	for (; cutter->counted < place; cutter->counted++)
		cutter->line += *cutter->counted == '\n';
	return cutter->line;
}

static Cutter
begin_cutting(text *input)
{
	Cutter		cutter = {.line = 1};

	cutter.begin = cutter.at = cutter.counted = VARDATA_ANY(input);
	cutter.end = cutter.at + VARSIZE_ANY_EXHDR(input);
	if (cutter.end - cutter.at >= 3 && memcmp(cutter.at, BYTE_ORDER_MARK, 3) == 0)
		cutter.at += 3;
	cutter.at = skip_space(cutter.at, cutter.end);
	cutter.is_array = cutter.at < cutter.end && *cutter.at == '[';
	if (cutter.is_array)
		cutter.at++;
	return cutter;
}

/*
 * Cuts the next record off; false if there is none.
 */
static bool
cut(Cutter *cutter, const char **start, int *length)
{
	return cutter->is_array ? cut_element(cutter, start, length) : cut_line(cutter, start, length);
}

/*
 * A line that is not blank; or an object over several lines.
 */
static bool
cut_line(Cutter *cutter, const char **start, int *length)
{
	const char *end;

	cutter->at = skip_space(cutter->at, cutter->end);
	if (cutter->at == cutter->end)
		return false;
	*start = cutter->at;
	end = memchr(cutter->at, '\n', cutter->end - cutter->at);
	if (end == NULL)
		end = cutter->end;
	else if (**start == '{' && end_of_value(*start, end, NO_LAYOUT) == NULL)
		end = end_of_layout(cutter, end);
	cutter->at = end;
	while (end > *start && (end[-1] == '\r' || end[-1] == ' ' || end[-1] == ','))
		end--;
	*length = (int) (end - *start);
	return true;
}

/*
 * Where the object ends whose beginning is the line before line_end: somebody
 * has laid it out, or the line was cut off.
 */
static const char *
end_of_layout(const Cutter *cutter, const char *line_end)
{
	int			indent = 0;
	const char *end;

	while (cutter->at - indent > cutter->begin && cutter->at[-indent - 1] != '\n')
		indent++;
	end = end_of_value(cutter->at, cutter->end, indent);
	return end == NULL ? line_end : end;
}

static bool
cut_element(Cutter *cutter, const char **start, int *length)
{
	const char *end;

	cutter->at = skip_space(cutter->at, cutter->end);
	/* an array may be followed by another one */
	while (cutter->at < cutter->end && *cutter->at == ']')
	{
		cutter->at = skip_space(cutter->at + 1, cutter->end);
		if (cutter->at == cutter->end || *cutter->at != '[')
		{
			/* what follows is no part of it, and must not be lost */
			cutter->is_array = false;
			return cut_line(cutter, start, length);
		}
		cutter->at = skip_space(cutter->at + 1, cutter->end);
	}
	if (cutter->at == cutter->end)
		return false;
	*start = cutter->at;
	end = end_of_value(cutter->at, cutter->end, NO_LAYOUT);
	if (end == NULL)
		end = cutter->end;
	cutter->at = end < cutter->end && *end == ',' ? end + 1 : end;
	*length = (int) (end - *start);
	return true;
}

/*
 * Where the value ends that begins there: before a comma or bracket that is not
 * its own, or with its own last bracket; NULL if it does not end.
 *
 * Of a layout with that indent, unless it is NO_LAYOUT, also NULL if a string
 * does not end with its line, or a line is not indented more and begins another
 * object: of JSON Lines one bad one must not cost the others.
 */
static const char *
end_of_value(const char *start, const char *end, int indent)
{
	int			depth = 0;
	bool		in_string = false;

	for (const char *at = start; at < end; at++)
	{
		/* it may be as large as memory */
		if (((at - start) & 0xffff) == 0)
			CHECK_FOR_INTERRUPTS();
		if (indent != NO_LAYOUT && *at == '\n' && (in_string || begins_object(at + 1, end, indent)))
			return NULL;
		if (in_string)
		{
			if (*at == '\\' && at + 1 < end)
				at++;
			else if (*at == '"')
				in_string = false;
		}
		else if (*at == '"')
			in_string = true;
		else if (*at == '{' || *at == '[')
			depth++;
		else if (depth == 0 && (*at == ',' || *at == ']'))
			return at;
		else if ((*at == '}' || *at == ']') && --depth <= 0)
			return at + 1;
	}
	return NULL;
}

/*
 * True of a line that is indented so much at most and begins an object.
 */
static bool
begins_object(const char *line, const char *end, int indent)
{
	const char *at = line;

	while (at < end && at - line < indent && (*at == ' ' || *at == '\t'))
		at++;
	return at < end && *at == '{';
}

static const char *
skip_space(const char *at, const char *end)
{
	while (at < end && strchr(" \t\r\n", *at) != NULL && *at != '\0')
		at++;
	return at;
}
