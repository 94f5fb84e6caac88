#!/usr/bin/env node
// Writes enrichment of companies after promotion, as an agent does.
//
// Records are JSON objects, one per line of standard input; what became of each
// is printed.  Connection settings are PGHOST, PGPORT, PGDATABASE, PGUSER...
//
//     enrich.js < records.jsonl               a call per record
//     enrich.js --batch 500 < records.jsonl   a call per 500 records
//     enrich.js --read KEY                    prints what is stored, as Node sees it
import readline from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import pg from 'pg';

// a timestamp column is in UTC; numeric stays a string, which loses no digit
pg.types.setTypeParser(pg.types.builtins.TIMESTAMP, (text) => new Date(text.replace(' ', 'T') + 'Z'));

// SQLSTATEs after which the same again may go well
const lost = (error) => !error.code || /^(08|57P0)/.test(error.code) || /^E[A-Z]+$/.test(error.code);
const conflict = (error) => error.code === '40001' || error.code === '40P01';

class Agent {
  client = null;
  retries = 0;

  async connect() {
    if (this.client === null) {
      const client = new pg.Client({ application_name: 'enrich.js' });
      // a connection that breaks while idle; the next query tells
      client.on('error', () => {});
      await client.connect();
      this.client = client;
    }
    return this.client;
  }

  async disconnect() {
    const client = this.client;
    this.client = null;
    await client?.end().catch(() => {});
  }

  // Returns what work(client) does, committed once: tried again after a
  // serialization failure, a deadlock or a lost connection.
  async inTransaction(work) {
    for (let attempt = 0; attempt < 30; attempt++) {
      let xid = null;
      let result;
      try {
        const client = await this.connect();
        await client.query('BEGIN');
        xid = (await client.query('SELECT pg_current_xact_id()::text AS xid')).rows[0].xid;
        result = await work(client);
        await client.query('COMMIT');
        return result;
      } catch (error) {
        if (conflict(error)) {
          await this.client.query('ROLLBACK').catch(() => this.disconnect());
        } else if (lost(error)) {
          // perhaps on the way back from a commit
          await this.disconnect();
          if (xid !== null && await this.committed(xid)) return result;
        } else {
          await this.client.query('ROLLBACK').catch(() => this.disconnect());
          throw error;
        }
      }
      this.retries++;
      await sleep(Math.min(10 * 2 ** attempt, 5000));
    }
    throw new Error('the database cannot be reached');
  }

  // Whether a transaction of a lost connection was committed.
  async committed(xid) {
    for (;;) {
      try {
        const client = await this.connect();
        const { status } = (await client.query('SELECT pg_xact_status($1::xid8) AS status', [xid])).rows[0];
        if (status !== 'in progress') return status === 'committed';
      } catch (error) {
        if (!lost(error)) throw error;
        await this.disconnect();
      }
      await sleep(50);
    }
  }

  // One record; returns what became of it.
  async send(record) {
    const keys = Object.keys(record);
    const list = keys.map((key, i) => `${pg.escapeIdentifier(key)} => $${i + 1}`).join(', ');
    const values = Object.values(record);
    try {
      const result = await this.inTransaction((client) =>
        client.query(`SELECT sidecar_upsert_company(${list}, on_conflict => 'newest') AS outcome`, values));
      return result.rows[0].outcome;
    } catch (error) {
      if (!error.code) throw error;
      return `failed ${error.code} ${error.message}`;
    }
  }

  // Many records; returns { unique_id, outcome, error } of each, in their order.
  async sendBatch(records) {
    const result = await this.inTransaction((client) => client.query(
      "SELECT unique_id, outcome, error FROM sidecar_upsert_companies($1, 'newest') ORDER BY record",
      [JSON.stringify(records)]));
    return result.rows;
  }

  async read(key) {
    const client = await this.connect();
    // the table's times are of its own zone, not of this process
    return (await client.query(
      `SELECT s.*, s.last_enriched_at AT TIME ZONE b.time_zone AS last_enriched_at
       FROM marketing.company_sidecar s, sidecar_entity_bindings() b
       WHERE b.entity = 'company' AND s.company_unique_id = $1`, [key])).rows[0];
  }
}

// A record in native types.  The time is when the agent learned it, given once
// and for all: what is sent again changes nothing.
function parse(line) {
  const record = JSON.parse(line);
  record.last_enriched_at = record.last_enriched_at ? new Date(record.last_enriched_at) : new Date();
  return record;
}

async function* batches(lines, size) {
  let batch = [];
  for await (const line of lines) {
    if (line.trim() === '') continue;
    batch.push(parse(line));
    if (batch.length === size) {
      yield batch;
      batch = [];
    }
  }
  if (batch.length > 0) yield batch;
}

const { values: options } = parseArgs({ options: { batch: { type: 'string' }, read: { type: 'string' } } });
const agent = new Agent();
if (options.read) {
  for (const [column, value] of Object.entries(await agent.read(options.read))) {
    console.log(column, value?.constructor.name ?? null, value instanceof Date ? value.toISOString() : JSON.stringify(value));
  }
} else {
  const lines = readline.createInterface({ input: process.stdin });
  for await (const batch of batches(lines, Number(options.batch ?? 1))) {
    if (options.batch) {
      for (const { unique_id, outcome, error } of await agent.sendBatch(batch)) console.log(unique_id, outcome, error ?? '');
    } else {
      console.log(batch[0].company_unique_id, await agent.send(batch[0]));
    }
  }
  console.error(agent.retries, 'retries');
}
await agent.disconnect();
