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

#include "common/jsonapi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "batch.h"

#define BYTE_ORDER_MARK "\357\273\277"

/* Where a text is being cut */
typedef struct Cutter
{
	const char *at;
	const char *end;
	bool		is_array;
	const char *counted;		/* up to where lines were counted */
	int64		line;			/* that this is in */
} Cutter;

static int64 line_of(Cutter *cutter, const char *place);
static Cutter begin_cutting(text *input);
static bool cut(Cutter *cutter, const char **start, int *length);
static bool cut_line(Cutter *cutter, const char **start, int *length);
static bool cut_element(Cutter *cutter, const char **start, int *length);
static const char *end_of_layout(const char *at, const char *line_end, const char *end);
static const char *end_of_value(const char *at, const char *end);
static const char *skip_space(const char *at, const char *end);
static void parse_record(void *arg, Record *record);

/*
 * The records of the text, none of whose fields has been looked at yet.  One
 * that cannot be parsed is rejected, and is a string of its text.
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
	sidecar_parse_texts(records, *nrecords);
	return records;
}

/*
 * Parses the records that are texts.
 */
void
sidecar_parse_texts(Record *records, int nrecords)
{
	Record	  **texts = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Record *) * Max(nrecords, 1));
	int			ntexts = 0;

	for (int i = 0; i < nrecords; i++)
	{
		if (records[i].json.type == jbvString)
			texts[ntexts++] = &records[i];
	}
	sidecar_try_each(CurrentMemoryContext, texts, ntexts, parse_record, NULL, NULL);
	pfree(texts);
}

/*
 * Parses the text that the record is.
 */
static void
parse_record(void *arg, Record *record)
{
	char	   *text = pnstrdup(record->json.val.string.val, record->json.val.string.len);

	JsonbToJsonbValue(DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text))), &record->json);
	pfree(text);
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

	cutter.at = cutter.counted = VARDATA_ANY(input);
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
	else if (**start == '{' && end_of_value(*start, end) == NULL)
		end = end_of_layout(*start, end, cutter->end);
	cutter->at = end;
	while (end > *start && (end[-1] == '\r' || end[-1] == ' ' || end[-1] == ','))
		end--;
	*length = (int) (end - *start);
	return true;
}

/*
 * Where an object ends of which a line is the beginning: somebody has laid it
 * out, or the line was cut off.
 */
static const char *
end_of_layout(const char *at, const char *line_end, const char *end)
{
	const char *next = skip_space(line_end, end);
	const char *object_end;

	/* the next record: of JSON Lines one bad one must not cost the others */
	if (next == end || *next == '{')
		return line_end;
	object_end = end_of_value(at, end);
	return object_end == NULL ? line_end : object_end;
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
	end = end_of_value(cutter->at, cutter->end);
	if (end == NULL)
		end = cutter->end;
	cutter->at = end < cutter->end && *end == ',' ? end + 1 : end;
	*length = (int) (end - *start);
	return true;
}

/*
 * Where the value ends that begins there: before a comma or bracket that is not
 * its own, or with its own last bracket; NULL if it does not end.
 */
static const char *
end_of_value(const char *at, const char *end)
{
	int			depth = 0;
	bool		in_string = false;

	for (; at < end; at++)
	{
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

static const char *
skip_space(const char *at, const char *end)
{
	while (at < end && strchr(" \t\r\n", *at) != NULL && *at != '\0')
		at++;
	return at;
}
