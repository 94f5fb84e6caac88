/*-------------------------------------------------------------------------
 *
 * batch.h
 *		What the files share that work on many records.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIDECAR_BATCH_H
#define SIDECAR_BATCH_H

#include "postgres.h"

#include "nodes/bitmapset.h"
#include "utils/jsonb.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "sidecar.h"

/* What a parked record was sent with: fields of its options */
#define SIDECAR_OPTION_UNKNOWN_KEYS "unknown_keys"
#define SIDECAR_OPTION_TEXT "text"
#define SIDECAR_OPTION_TIME_ZONE "time_zone"

/* What has failed: by that, too, it is told whether an error lies in a record */
typedef enum Attempt
{
	READING_VALUES,				/* of a type's input, nothing is beyond it */
	WRITING,
	WRITING_UNDER_POLICIES		/* which may refuse the record */
} Attempt;

/* A record that came as a JSON object */
typedef struct Record
{
	/* what is given, and what became of it: as long as the call */
	int64		position;		/* in the input */
	const SidecarEntity *entity;
	JsonbValue	json;
	pg_tz	   *session_zone;	/* whose abbreviations its fields may have;
								 * NULL: this session's */
	int64		line;			/* of the text that it came in; 0: none */
	char	   *key;			/* NULL: none that is text or a number */
	SidecarRule rule;
	char	   *wrong_rule;		/* a word that names none; NULL: it has one */
	SidecarUnknownKeys unknown_keys;
	TimestampTz time;			/* what last_enriched_at is, unless given */
	pg_uuid_t	reject_id;		/* of a record that was parked */
	char	   *wrong_entity;	/* the same of its entity, which is NULL then */
	bool		from_text;		/* its fields are text, also where it is JSON */
	bool		may_fill;		/* what has been overtaken may fill a gap */
	SidecarOutcome outcome;
	int			sqlstate;		/* of one that was rejected */
	char	   *error;

	/* while its chunk is worked on */
	struct Record *next;		/* the next of the same key */
	struct Record **members;	/* what it was merged of; NULL: it is one that
								 * came */
	int			nmembers;
	SidecarRow	row;			/* converted */
} Record;

/* What converts records, for one table */
typedef struct Converter
{
	const SidecarColumns *columns;
	TupleDesc	desc;			/* of what it makes */
	Bitmapset  *refused;		/* which columns may not be given */
	Bitmapset  *passed_over;	/* and which are not looked at */
	Bitmapset  *domains;		/* and which are of a domain */
	MemoryContext context;		/* of what lasts as long as the call */
	MemoryContext populate_context; /* of what populate remembers */
	FmgrInfo	populate;		/* jsonb_populate_record() */
	Datum		nothing;		/* its first argument */
	void	  **domain_checks;	/* what domain_check() remembers, by column */
	JsonbValue *given;			/* a record's fields as they came */
	JsonbValue **fields;		/* and as they were read, by column */
	Jsonb	   *populating;		/* the fields that populate is at work on, or
								 * NULL */
	const char *reading;		/* the column whose field is being read, or
								 * NULL */
	pg_tz	   *session_zone;	/* whose abbreviations fields may have, unless
								 * the record tells */
} Converter;

/* Constraints that may wait until COMMIT */
typedef struct Deferrable
{
	List	   *relids;			/* of the table and its partitions */
	List	   *constraints;	/* RangeVars */
	List	   *deferred;		/* those of them that are so by themselves */
	bool		unchecked;		/* they cannot be checked early */
} Deferrable;

/* What stores records, chunk by chunk */
typedef struct Batch
{
	SidecarStore store;
	Converter	converter;
	Bitmapset  *defaulted;		/* which of the columns have a default */
	Attempt		attempt;		/* what its writing is */
	bool		merging;		/* records of one key may become one */
	bool		parked;			/* they were, and may not stop each other */
	MemoryContext answers;		/* of what is wrong with records: the caller's */
	MemoryContext chunk;		/* of what is made of a chunk */
	bool		write_first;	/* looking up found nothing, of late */
	Deferrable	deferrable;		/* constraints that may wait for its rows */
	bool		insert_refused; /* as a new row, perhaps: the last failure */
} Batch;

/* in batch.c */
extern void sidecar_store_records(const SidecarEntity *entity, Record *records, int nrecords, bool parked);
extern Batch *sidecar_begin_batch(const SidecarEntity *entity, MemoryContext answers);
extern bool sidecar_can_store(const SidecarBinding *binding);
extern void sidecar_store_chunk(Batch *batch, Record **records, int nrecords);
extern void sidecar_end_batch(Batch *batch);
extern int	sidecar_compare_keys(const Batch *batch, const Record *a, const Record *b);
extern char *sidecar_record_key(JsonbValue *json, const char *key);

/* in convert.c */
extern void sidecar_begin_conversion(Converter *converter, const SidecarTable *table,
									 const SidecarStore *store);
extern void sidecar_convert_records(Converter *converter, Record **records, int nrecords);

/* in deferred.c */
extern void sidecar_find_deferrable(Deferrable *deferrable, const SidecarTable *table);
extern void sidecar_check_deferred(const Deferrable *deferrable);

/* in field.c */
extern const JsonbValue *sidecar_read_field(const SidecarColumn *column, const JsonbValue *value,
											bool from_text, pg_tz *session_zone);
extern bool sidecar_says_something(const JsonbValue *value);

/* What is done for a record, and who tells which field was to blame for its failure */
typedef void (*RecordWork) (void *arg, Record *record);
typedef const char *(*RecordBlame) (void *arg, Record *record);

/* in import.c */
extern Record *sidecar_read_text(text *input, const Record *sent, int *nrecords);
extern void sidecar_parse_texts(Record *records, int nrecords, bool all);

/* in reject.c */
extern void sidecar_try_each(MemoryContext errors, Record **records, int nrecords, RecordWork work,
							 RecordBlame blame, void *arg);
extern bool sidecar_try(void (*work) (void *arg), void *arg, Attempt attempt, ErrorData **failure);
extern ErrorData *sidecar_roll_back(MemoryContext context, ResourceOwner owner, Attempt attempt);
extern void sidecar_reject(MemoryContext context, Record *record, ErrorData *edata, const char *field);
extern int64 sidecar_take_numbers(int64 n);
extern void sidecar_refuse(Record *record, char *error);
extern const char *sidecar_rule_word(const Record *record);
extern int64 sidecar_turn_to_park(const Record *record);
extern void sidecar_park(Record *records, int nrecords, int64 before);
extern Datum sidecar_make_array(Datum *values, bool *nulls, int n, Oid type);

#endif							/* SIDECAR_BATCH_H */
