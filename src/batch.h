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

#include "sidecar.h"

/* A column of the chunk that tells a given time from now() */
#define CHUNK_TIME_GIVEN "sidecar time given"

typedef struct Record
{
	/* what is given */
	int64		position;		/* in the input */
	JsonbValue	json;
	char	   *key;			/* NULL: none that is text or a number */
	SidecarRule rule;
	TimestampTz time;			/* what last_enriched_at is, unless given */
	int64		reject_id;		/* of a record that was parked */

	/* what becomes of it */
	const char *outcome;
	char	   *error;
	int			sqlstate;

	/* converted, while its chunk is worked on */
	struct Record *next;		/* the next of the same key */
	Datum	   *values;
	bool	   *nulls;
	bool		time_given;
	Bitmapset  *given;			/* which columns */
} Record;

typedef struct Batch
{
	int			entity;
	SidecarTable *table;		/* open while the call lasts */
	MemoryContext context;		/* of what lasts as long as the call */
	MemoryContext spi_context;	/* of our connection to SPI */
	MemoryContext chunk_context;
	bool		look_for_masters;	/* this role may read the masters */
	bool		write_first;	/* looking up found nothing, of late */
	int			ncolumns;
	SidecarColumn **columns;	/* the key first */
	int			time;			/* which of them is last_enriched_at */
	Bitmapset  *defaulted;		/* which of them have a default */
	Bitmapset  *refused;		/* which of them may not be given */
	TupleDesc	desc;			/* of a converted record: columns, position,
								 * time given */
	FmgrInfo	populate;		/* jsonb_populate_record() */
	Datum		nothing;		/* its first argument */
	bool		populating;		/* it is at work */
} Batch;

/* in batch.c */
extern void sidecar_store_records(int entity, Record *records, int nrecords);
extern ErrorData *sidecar_roll_back(MemoryContext context, ResourceOwner owner);
extern void sidecar_reject(Batch *batch, Record *record, ErrorData *edata, const char *field);

/* in convert.c */
extern void sidecar_describe_batch(Batch *batch);
extern void sidecar_convert_records(Batch *batch, Record **records, int nrecords);

/* in reject.c */
extern void sidecar_park(int entity, Record *records, int nrecords);

#endif							/* SIDECAR_BATCH_H */
