/*-------------------------------------------------------------------------
 *
 * binding.c
 *		Which table is an entity's sidecar, and which is its master.
 *
 * The bindings are PostgreSQL's own: a sidecar table is the one that carries
 * its updated_at trigger, its master the table that its foreign key
 * references.  RENAME and SET SCHEMA keep both, and pg_dump restores both.
 *
 * They are looked up once per session, and again when PostgreSQL says that
 * something changed.  Catalogs are read with their own snapshot (syscache,
 * relcache, systable scans), so that names and tables are of one moment even
 * in a transaction whose snapshot is older.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "sidecar.h"

/* How many other relations may change between two calls and be told apart */
#define MAX_CHANGED 16

typedef struct BindingCache
{
	SidecarBinding binding;
	MemoryContext context;		/* of what the binding points to */
	bool		resolved;		/* the binding is complete ... */
	bool		stale;			/* ... but something has changed since */
} BindingCache;

static BindingCache caches[SIDECAR_ENTITIES];

/* Relations that changed and are not bound: one may have got the trigger */
static Oid	changed[MAX_CHANGED];
static int	nchanged = 0;

static void resolve(BindingCache *cache, const SidecarEntity *entity);
static Oid	extension_schema(void);
static Oid	trigger_function(const SidecarEntity *entity, Oid schema);
static List *tables_with_trigger(Oid function);
static void bind_sidecar(SidecarBinding *binding, Relation rel, Oid function);
static void bind_master(SidecarBinding *binding, Relation rel);
static bool column_not_null(Oid relid, AttrNumber attnum);
static const char *relation_sql(Oid relid);
static void forget_all(void);
static void forget_if_trigger_came(void);
static void relation_changed(Datum arg, Oid relid);
static void name_changed(Datum arg, int cacheid, uint32 hashvalue);

PG_FUNCTION_INFO_V1(sidecar_entity_bindings);

/*
 * Registers the callbacks that invalidate the bindings.
 */
void
sidecar_binding_init(void)
{
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, name_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, name_changed, (Datum) 0);
}

/*
 * Finds the entity's binding, whatever is missing of it.
 *
 * Takes no lock that lasts.  Errors: two tables carry the trigger (42710),
 * the library is not the installed version's (55000).
 */
SidecarBinding *
sidecar_lookup(const SidecarEntity *entity)
{
	BindingCache *cache = &caches[entity - sidecar_entities];

	forget_if_trigger_came();
	while (!cache->resolved || cache->stale)
	{
		/* in this order: what changes while we look makes us look again */
		cache->resolved = cache->stale = false;
		resolve(cache, entity);
		cache->resolved = true;
	}
	return &cache->binding;
}

/*
 * Finds the entity's binding and locks its sidecar table, so that the binding
 * stays true until the end of the transaction; a reader (AccessShareLock)
 * names the master in its query too, so it is locked as well.
 *
 * Errors: those of sidecar_lookup(), and no sidecar table (42P01).
 */
SidecarBinding *
sidecar_bind(const SidecarEntity *entity, LOCKMODE lockmode)
{
	BindingCache *cache = &caches[entity - sidecar_entities];

	for (;;)
	{
		SidecarBinding *binding = sidecar_lookup(entity);

		if (!OidIsValid(binding->sidecar))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("there is no sidecar table for entity \"%s\"", entity->label),
					 errdetail("No table has a trigger that calls %s().",
							   entity->trigger_function),
					 errhint(SIDECAR_HINT_INSTALL)));

		/* whoever waits for a lock hears of all changes made before it */
		LockRelationOid(binding->sidecar, lockmode);
		if (lockmode == AccessShareLock && OidIsValid(binding->master))
			LockRelationOid(binding->master, lockmode);
		if (!cache->stale)
			return binding;
	}
}

/*
 * Raises 55000 unless the sidecar has its foreign key, and thereby its master.
 */
void
sidecar_require_master(const SidecarBinding *binding)
{
	const SidecarEntity *entity = binding->entity;
	Oid			schema;

	if (OidIsValid(binding->master))
		return;

	schema = get_namespace_oid(SIDECAR_SCHEMA, true);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("sidecar table %s has no foreign key to its master yet",
					binding->sidecar_sql),
			 OidIsValid(schema) && OidIsValid(get_relname_relid(entity->master, schema)) ?
			 errhint(SIDECAR_HINT_INSTALL) :
			 errhint("Create %s.%s with a unique column %s and run \"SELECT sidecar_install()\", or run \"SELECT sidecar_create_masters()\".",
					 SIDECAR_SCHEMA, entity->master, entity->master_key)));
}

/*
 * The sidecar table's column of that name.  Error: there is none (42703).
 */
Form_pg_attribute
sidecar_column(const SidecarBinding *binding, const char *name)
{
	for (int i = 0; i < binding->columns->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(binding->columns, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return att;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("sidecar table %s has no column \"%s\"", binding->sidecar_sql, name),
			 errhint(SIDECAR_HINT_INSTALL)));
}

/*
 * sidecar_entity_bindings() RETURNS TABLE (entity, sidecar_name, ...)
 *
 * The descriptor and the bindings as rows, for the SQL part of the extension;
 * the columns are those of the SQL declaration.  NULL where nothing is bound.
 * Errors: those of sidecar_lookup().
 */
Datum
sidecar_entity_bindings(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < SIDECAR_ENTITIES; i++)
	{
		const SidecarEntity *entity = &sidecar_entities[i];
		SidecarBinding *binding = sidecar_lookup(entity);
		Datum		values[] = {
			CStringGetTextDatum(entity->label),
			CStringGetTextDatum(entity->sidecar),
			CStringGetTextDatum(entity->key),
			CStringGetTextDatum(entity->trigger),
			CStringGetTextDatum(entity->trigger_function),
			CStringGetTextDatum(entity->foreign_key),
			CStringGetTextDatum(entity->master),
			CStringGetTextDatum(entity->master_key),
			ObjectIdGetDatum(binding->sidecar),
			ObjectIdGetDatum(binding->master)
		};
		bool		nulls[lengthof(values)] = {false};

		nulls[lengthof(values) - 2] = !OidIsValid(binding->sidecar);
		nulls[lengthof(values) - 1] = !OidIsValid(binding->master);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * Fills the cache from the catalog.
 */
static void
resolve(BindingCache *cache, const SidecarEntity *entity)
{
	static uint64 generation = 0;
	SidecarBinding *binding = &cache->binding;
	Oid			schema = extension_schema();
	Oid			function = trigger_function(entity, schema);
	List	   *tables = tables_with_trigger(function);
	MemoryContext old;
	Relation	rel;

	if (cache->context == NULL)
		cache->context = AllocSetContextCreate(CacheMemoryContext, "sidecar binding",
											   ALLOCSET_SMALL_SIZES);
	MemoryContextReset(cache->context);
	memset(binding, 0, sizeof(*binding));
	binding->entity = entity;
	binding->generation = ++generation;
	binding->schema_sql = MemoryContextStrdup(cache->context,
											  quote_identifier(get_namespace_name(schema)));

	if (list_length(tables) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("two tables claim to be the sidecar table of entity \"%s\"",
						entity->label),
				 errdetail("Both %s and %s have a trigger that calls %s().",
						   relation_sql(linitial_oid(tables)),
						   relation_sql(lsecond_oid(tables)),
						   entity->trigger_function),
				 errhint("Drop the trigger from the table that is not the sidecar.")));
	if (tables == NIL)
		return;

	rel = try_table_open(linitial_oid(tables), AccessShareLock);
	if (rel == NULL)
	{
		cache->stale = true;	/* dropped since we looked */
		return;
	}
	old = MemoryContextSwitchTo(cache->context);
	bind_sidecar(binding, rel, function);
	bind_master(binding, rel);
	MemoryContextSwitchTo(old);
	table_close(rel, AccessShareLock);
}

/*
 * The schema of the extension's functions.  Raises 55000 when this library is
 * of another version than the extension in this database: they would disagree
 * on signatures.
 */
static Oid
extension_schema(void)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	Oid			extension = get_extension_oid("sidecar", false);
	Oid			schema = InvalidOid;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(extension));
	scan = systable_beginscan(rel, ExtensionOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		char	   *version = TextDatumGetCString(heap_getattr(tuple,
															   Anum_pg_extension_extversion,
															   RelationGetDescr(rel), &isnull));

		if (strcmp(version, SIDECAR_VERSION) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("extension \"sidecar\" is version %s, but its library is version %s",
							version, SIDECAR_VERSION),
					 errhint("Run \"ALTER EXTENSION sidecar UPDATE\" if the library is the newer one; otherwise install the library of version %s and reconnect.",
							 version)));
		schema = ((Form_pg_extension) GETSTRUCT(tuple))->extnamespace;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return schema;
}

/*
 * The entity's trigger function, or InvalidOid.
 */
static Oid
trigger_function(const SidecarEntity *entity, Oid schema)
{
	oidvector  *noargs = buildoidvector(NULL, 0);

	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
						   CStringGetDatum(entity->trigger_function),
						   PointerGetDatum(noargs),
						   ObjectIdGetDatum(schema));
}

/*
 * The tables that have a trigger calling the function; a partition whose
 * trigger is its parent's does not count.
 */
static List *
tables_with_trigger(Oid function)
{
	List	   *tables = NIL;
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	Relation	trigger = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(ProcedureRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(function));
	scan = systable_beginscan(depend, DependReferenceIndexId, true, NULL, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);
		ScanKeyData key;
		SysScanDesc trigger_scan;
		HeapTuple	trigger_tuple;

		if (form->classid != TriggerRelationId)
			continue;
		ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(form->objid));
		trigger_scan = systable_beginscan(trigger, TriggerOidIndexId, true, NULL, 1, &key);
		trigger_tuple = systable_getnext(trigger_scan);
		if (HeapTupleIsValid(trigger_tuple))
		{
			Form_pg_trigger trig = (Form_pg_trigger) GETSTRUCT(trigger_tuple);

			if (!OidIsValid(trig->tgparentid))
				tables = list_append_unique_oid(tables, trig->tgrelid);
		}
		systable_endscan(trigger_scan);
	}
	systable_endscan(scan);
	table_close(trigger, AccessShareLock);
	table_close(depend, AccessShareLock);
	list_sort(tables, list_oid_cmp);
	return tables;
}

/*
 * What is said of the sidecar table itself.
 */
static void
bind_sidecar(SidecarBinding *binding, Relation rel, Oid function)
{
	binding->sidecar = RelationGetRelid(rel);
	binding->sidecar_sql = relation_sql(binding->sidecar);
	binding->returns_xmax = rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE;
	binding->insert_triggers = rel->trigdesc != NULL && rel->trigdesc->trig_insert_before_row;
	binding->columns = CreateTupleDescCopyConstr(RelationGetDescr(rel));	/* defaults too */
	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = &rel->trigdesc->triggers[i];

		if (trigger->tgfoid == function)
			binding->trigger_enabled = trigger->tgenabled == TRIGGER_FIRES_ON_ORIGIN ||
				trigger->tgenabled == TRIGGER_FIRES_ALWAYS;
	}
}

/*
 * The master is what the foreign key on the sidecar's key column references;
 * of several such keys it is the one of the entity's own name.
 */
static void
bind_master(SidecarBinding *binding, Relation rel)
{
	const SidecarEntity *entity = binding->entity;
	AttrNumber	key = get_attnum(binding->sidecar, entity->key);
	bool		by_name = false;
	bool		key_not_null = false;
	ListCell   *lc;

	foreach(lc, RelationGetFKeyList(rel))
	{
		ForeignKeyCacheInfo *fk = lfirst_node(ForeignKeyCacheInfo, lc);
		HeapTuple	tuple;
		Form_pg_constraint con;

		if (fk->nkeys != 1 || fk->conkey[0] != key || by_name)
			continue;
		tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(fk->conoid));
		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for constraint %u", fk->conoid);
		con = (Form_pg_constraint) GETSTRUCT(tuple);

		/* a partitioned master repeats the key for each of its partitions */
		if (!OidIsValid(con->conparentid))
		{
			by_name = strcmp(NameStr(con->conname), entity->foreign_key) == 0;
			if (by_name || !OidIsValid(binding->master))
			{
				binding->master = fk->confrelid;
				binding->key_validated = con->convalidated;
				binding->master_key_sql =
					quote_identifier(get_attname(fk->confrelid, fk->confkey[0], false));
				key_not_null = column_not_null(fk->confrelid, fk->confkey[0]);
			}
		}
		ReleaseSysCache(tuple);
	}
	if (OidIsValid(binding->master))
	{
		binding->master_sql = relation_sql(binding->master);
		binding->master_count_sql = key_not_null ? "pg_catalog.count(*)" :
			psprintf("pg_catalog.count(m.%s)", binding->master_key_sql);
		if (get_attnum(binding->master, entity->name) != InvalidAttrNumber)
			binding->name_sql = quote_identifier(entity->name);
	}
}

/*
 * True of a column that a NOT NULL constraint or a primary key has.
 */
static bool
column_not_null(Oid relid, AttrNumber attnum)
{
	HeapTuple	tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relid), Int16GetDatum(attnum));
	bool		not_null;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for column %d of relation %u", attnum, relid);
	not_null = ((Form_pg_attribute) GETSTRUCT(tuple))->attnotnull;
	ReleaseSysCache(tuple);
	return not_null;
}

/*
 * The relation's name, qualified and quoted.
 */
static const char *
relation_sql(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
									  get_rel_name(relid));
}

static void
forget_all(void)
{
	for (int i = 0; i < SIDECAR_ENTITIES; i++)
		caches[i].stale = true;
}

/*
 * A second table that gets the trigger tells only of itself, so look at what
 * changed: a relation without triggers, like the temporary tables that come
 * and go by the thousand, cannot be it.
 */
static void
forget_if_trigger_came(void)
{
	while (nchanged > 0)
	{
		HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(changed[--nchanged]));

		if (HeapTupleIsValid(tuple))
		{
			if (((Form_pg_class) GETSTRUCT(tuple))->relhastriggers)
				forget_all();
			ReleaseSysCache(tuple);
		}
	}
}

/*
 * Relcache callback: must not read a catalog.
 */
static void
relation_changed(Datum arg, Oid relid)
{
	if (!OidIsValid(relid) || nchanged == MAX_CHANGED)
	{
		forget_all();
		nchanged = 0;
		return;
	}
	for (int i = 0; i < SIDECAR_ENTITIES; i++)
	{
		if (relid == caches[i].binding.sidecar || relid == caches[i].binding.master)
		{
			caches[i].stale = true;
			return;
		}
	}
	for (int i = 0; i < nchanged; i++)
	{
		if (changed[i] == relid)
			return;
	}
	changed[nchanged++] = relid;
}

/*
 * Syscache callback: a schema may have another name, or an upgrade of the
 * extension other functions.
 */
static void
name_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	forget_all();
}
