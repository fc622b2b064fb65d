// goflow, as it comes: the workflows of make bench, called by the same kind of client as the others.
import pg from 'pg';

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
let began = performance.now();
await startAndWait('chain', chains);
const rate = chains * 10 / (performance.now() - began) * 1000;

// latency
const times = [];
for (let k = 0; k < 1000; k++) {
  began = performance.now();
  await client.query({ name: 'one', text: `CALL goflow.start_and_wait('one', '{"k": 1}')` });
  times.push(performance.now() - began);
}
times.sort((a, b) => a - b);

// fan-out
const fans = [];
for (let i = 0; i < 5; i++) {
  began = performance.now();
  await startAndWait('fan', 1);
  fans.push((performance.now() - began) / 1000);
}
fans.sort((a, b) => a - b);
console.log(rate, times[times.length / 2], fans[2]);
await client.end();
