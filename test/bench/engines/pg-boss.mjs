// pg-boss, tuned: batches of 500, the shortest polling it admits, steps inserted and sent in bulk.
import { readFileSync } from 'node:fs';
import pg from 'pg';
import * as module from 'pg-boss';
import { median } from './median.mjs';

const PgBoss = module.PgBoss ?? module.default;
const { version } = JSON.parse(readFileSync('node_modules/pg-boss/package.json'));
const host = process.argv[2];
const connection = { host, user: 'postgres', database: 'postgres' };
const pool = new pg.Pool({ ...connection, max: 10 });
const boss = new PgBoss({ ...connection, max: 20, supervise: false, schedule: false });
await boss.start();
for (const name of ['step', 'part']) await boss.createQueue(name);

const done = new Map();
const insert = (rows) => pool.query('INSERT INTO bench.effect (k, step) SELECT * FROM unnest($1::int[], $2::int[])',
  [rows.map((r) => r.k), rows.map((r) => r.step)]);
let joined = 0;
let join;

const polling = { batchSize: 500, pollingIntervalSeconds: 0.5 };
for (let i = 0; i < 4; i++) {
  await boss.work('step', polling, async (jobs) => {
    const rows = jobs.map((job) => job.data);
    await insert(rows);
    const next = rows.filter((r) => r.step < r.last);
    if (next.length > 0) await send('step', next.map((r) => ({ ...r, step: r.step + 1 })));
    for (const r of rows) if (r.step === r.last) done.get(r.k)?.();
  });
  await boss.work('part', polling, async (jobs) => {
    await insert(jobs.map((job) => job.data));
    joined += jobs.length;
    if (joined === 1000) join();
  });
}
// up to version 10 each job said its queue
const send = (name, data) => parseInt(version) > 10
  ? boss.insert(name, data.map((d) => ({ data: d })))
  : boss.insert(data.map((d) => ({ name, data: d })));
const finished = (k) => new Promise((resolve) => done.set(k, resolve));

// chains
const chains = 4000;
const began = performance.now();
const all = Array.from({ length: chains }, (_, k) => finished(k));
await send('step', Array.from({ length: chains }, (_, k) => ({ k, step: 1, last: 10 })));
await Promise.all(all);
const rate = chains * 10 / (performance.now() - began) * 1000;

const latency = await median(20, async (i) => {
  const k = 10000 + i;
  const end = finished(k);
  await boss.send('step', { k, step: 1, last: 1 });
  await end;
});
const fanOut = await median(5, async () => {
  joined = 0;
  const whole = new Promise((resolve) => { join = resolve; });
  await send('part', Array.from({ length: 1000 }, (_, k) => ({ k, step: 1 })));
  await whole;
}) / 1000;
console.log(rate, latency, fanOut);
await boss.stop({ graceful: false, close: true });
await pool.end();
process.exit(0);
