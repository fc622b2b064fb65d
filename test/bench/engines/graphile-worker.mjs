// Graphile Worker, tuned: jobs fetched by the hundred, a local queue, no waiting to complete.
// Rates are seen by the worker itself; latency by a client in another process, as with goflow:
// the step tells it with NOTIFY, in the transaction of its INSERT.
import { fork } from 'node:child_process';
import pg from 'pg';
import { Logger, makeWorkerUtils, run } from 'graphile-worker';
import { median } from './median.mjs';

const host = process.argv[2];
const isChild = process.argv[3] === 'child';
const pool = new pg.Pool({ host, user: 'postgres', database: 'postgres', max: 30 });
const done = new Map();
const insert = 'INSERT INTO bench.effect (k, step) VALUES ($1, $2)';
let joined = 0;
let join;

const taskList = {
  async told({ k }) {
    await pool.query({ name: 'told', values: [k],
      text: "WITH effect AS (INSERT INTO bench.effect (k, step) VALUES ($1::int, 1)) SELECT pg_notify('done', $1::text)" });
  },
  async step({ k, step, last }, helpers) {
    await pool.query({ name: 'insert', text: insert, values: [k, step] });
    if (step < last) await helpers.addJob('step', { k, step: step + 1, last });
    else done.get(k)?.();
  },
  async part({ k }) {
    await pool.query({ name: 'insert', text: insert, values: [k, 1] });
    if (++joined === 1000) join();
  },
};
pool.on('error', () => {});
pool.on('connect', (client) => client.on('error', () => {}));
const logger = new Logger(() => () => {});
const runner = await run({
  pgPool: pool, taskList, noHandleSignals: true, logger,
  preset: { worker: { concurrentJobs: 24, pollInterval: 1000, fileExtensions: [],
    localQueue: { size: 500, refetchDelay: { durationMs: 1 } }, completeJobBatchDelay: 1, failJobBatchDelay: 1 } },
});
if (isChild) {
  process.send('ready');
  await new Promise((resolve) => process.once('message', resolve));
  await runner.stop();
  await pool.end();
  process.exit(0);
}
const utils = await makeWorkerUtils({ pgPool: pool, logger });
const finished = (k) => new Promise((resolve) => done.set(k, resolve));

// chains
const chains = 300;
const began = performance.now();
const all = Array.from({ length: chains }, (_, k) => finished(k));
await utils.addJobs(Array.from({ length: chains }, (_, k) => ({ identifier: 'step', payload: { k, step: 1, last: 10 } })));
await Promise.all(all);
const rate = chains * 10 / (performance.now() - began) * 1000;

const fanOut = await median(5, async () => {
  joined = 0;
  const whole = new Promise((resolve) => { join = resolve; });
  await utils.addJobs(Array.from({ length: 1000 }, (_, k) => ({ identifier: 'part', payload: { k } })));
  await whole;
}) / 1000;

// latency: this process only starts and listens
await runner.stop();
const child = fork(process.argv[1], [host, 'child']);
await new Promise((resolve) => child.once('message', resolve));
const listener = await pool.connect();
await listener.query('LISTEN done');
listener.on('notification', ({ payload }) => done.get(Number(payload))());
const latency = await median(200, async (i) => {
  const k = 10000 + i;
  const end = finished(k);
  await utils.addJob('told', { k });
  await end;
});
listener.release();
child.send('stop');
console.log(rate, latency, fanOut);
await utils.release();
await pool.end();
