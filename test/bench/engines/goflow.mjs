// goflow, as it comes: the workflows of make bench, called by the same kind of client as the others.
import pg from 'pg';
import { median } from './median.mjs';

const client = new pg.Client({ host: process.argv[2], user: 'postgres', database: 'postgres' });
await client.connect();
const query = async (text, values) => (await client.query(text, values)).rows;
const starts = `SELECT goflow.start_many($1, ARRAY(SELECT jsonb_build_object('k', k) FROM generate_series(1, $2::int) k)) AS execution`;
const wait = (executions) => query('SELECT count(goflow.wait(execution)) FROM unnest($1::uuid[]) execution', [executions]);
const startAndWait = async (workflow, n) => wait((await query(starts, [workflow, n])).map((r) => r.execution));

// how long nodes take is learned from their first runs
for (const workflow of ['chain', 'one', 'fan']) await startAndWait(workflow, 20);

// chains
const chains = 20000;
const began = performance.now();
await startAndWait('chain', chains);
const rate = chains * 10 / (performance.now() - began) * 1000;

const latency = await median(1000, () =>
  client.query({ name: 'one', text: `CALL goflow.start_and_wait('one', '{"k": 1}')` }));
const fanOut = await median(5, () => startAndWait('fan', 1)) / 1000;
console.log(rate, latency, fanOut);
await client.end();
