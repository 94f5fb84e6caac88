#!/usr/bin/env python3
"""Writes enrichment of companies after promotion, as an agent does.

Records are JSON objects, one per line of standard input; what became of each is
printed.  Connection settings are libpq's: PGHOST, PGDATABASE, PGSERVICE...

    enrich.py < records.jsonl               a call per record
    enrich.py --batch 500 < records.jsonl   a call per 500 records
    enrich.py --read KEY                    prints what is stored, as Python sees it
"""
import argparse
import json
import sys
import time
from datetime import datetime, timezone
from decimal import Decimal
from itertools import islice

import psycopg
from psycopg import errors, sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb


class Agent:
    """A connection that is made again when it is lost."""

    def __init__(self):
        self.connection = None
        self.retries = 0

    def connect(self):
        if self.connection is None or self.connection.closed:
            # no prepared statements: they would not survive a transaction pooler
            self.connection = psycopg.connect(application_name='enrich.py', prepare_threshold=None)
        return self.connection

    def in_transaction(self, work):
        """Returns work(connection), committed once: tried again after a
        serialization failure, a deadlock or a lost connection."""
        for attempt in range(30):
            xid = None
            try:
                connection = self.connect()
                with connection.transaction():
                    xid = connection.execute('SELECT pg_current_xact_id()::text').fetchone()[0]
                    result = work(connection)
                return result
            except (errors.SerializationFailure, errors.DeadlockDetected):
                pass
            except psycopg.OperationalError:
                # lost: perhaps on the way back from a commit
                if self.connection is not None:
                    self.connection.close()
                if xid is not None and self.committed(xid):
                    return result
            self.retries += 1
            time.sleep(min(0.01 * 2 ** attempt, 5))
        raise SystemExit('the database cannot be reached')

    def committed(self, xid):
        """Whether a transaction of a lost connection was committed."""
        while True:
            try:
                status = self.connect().execute('SELECT pg_xact_status(%s::xid8)', (xid,)).fetchone()[0]
                self.connection.commit()
                if status != 'in progress':
                    return status == 'committed'
            except psycopg.OperationalError:
                if self.connection is not None:
                    self.connection.close()
            time.sleep(0.05)

    def send(self, record):
        """One record; returns what became of it."""
        arguments = [sql.SQL('{} => {}').format(sql.Identifier(key), sql.Placeholder(key)) for key in record]
        query = sql.SQL("SELECT sidecar_upsert_company({}, on_conflict => 'newest')").format(sql.SQL(', ').join(arguments))
        values = {key: Jsonb(value) if isinstance(value, dict) else value for key, value in record.items()}
        try:
            return self.in_transaction(lambda connection: connection.execute(query, values).fetchone()[0])
        except psycopg.Error as error:
            return f'failed {error.sqlstate} {error.diag.message_primary}'

    def send_batch(self, records):
        """Many records; returns (key, outcome, error) of each, in their order."""
        batch = Jsonb(records, dumps=lambda value: json.dumps(value, default=str))
        return self.in_transaction(lambda connection: connection.execute(
            "SELECT unique_id, outcome, error FROM sidecar_upsert_companies(%s, 'newest') ORDER BY record",
            (batch,)).fetchall())

    def read(self, key):
        cursor = self.connect().cursor(row_factory=dict_row)
        # the table's times are of its own zone, which a timestamp does not tell
        return cursor.execute('''
            SELECT s.*, s.last_enriched_at AT TIME ZONE b.time_zone AS last_enriched_at
            FROM marketing.company_sidecar s, sidecar_entity_bindings() b
            WHERE b.entity = 'company' AND s.company_unique_id = %s''', (key,)).fetchone()


def parse(line):
    """A record in native types.  The time is when the agent learned it, given
    once and for all: what is sent again changes nothing."""
    record = json.loads(line, parse_float=Decimal)
    time_given = record.get('last_enriched_at')
    record['last_enriched_at'] = datetime.fromisoformat(time_given) if time_given else datetime.now(timezone.utc)
    return record


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--batch', type=int, metavar='N')
    parser.add_argument('--read', metavar='KEY')
    options = parser.parse_args()
    agent = Agent()
    if options.read:
        for column, value in agent.read(options.read).items():
            print(column, type(value).__name__, value)
        return
    records = (parse(line) for line in sys.stdin if line.strip())
    if options.batch:
        while batch := list(islice(records, options.batch)):
            for key, outcome, error in agent.send_batch(batch):
                print(key, outcome, error or '')
    else:
        for record in records:
            print(record.get('company_unique_id'), agent.send(record))
    print(agent.retries, 'retries', file=sys.stderr)


if __name__ == '__main__':
    main()
