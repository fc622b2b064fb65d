// Graphile Worker, tuned: jobs fetched by the hundred, a local queue, no waiting to complete.
import pg from 'pg';
import { Logger, makeWorkerUtils, run } from 'graphile-worker';

const host = process.argv[2];
const pool = new pg.Pool({ host, user: 'postgres', database: 'postgres', max: 30 });
const done = new Map();
const insert = 'INSERT INTO bench.effect (k, step) VALUES ($1, $2)';
let joined = 0;
let join;

const taskList = {
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
const utils = await makeWorkerUtils({ pgPool: pool, logger });
const finished = (k) => new Promise((resolve) => done.set(k, resolve));

// chains
const chains = 300;
let began = performance.now();
const all = Array.from({ length: chains }, (_, k) => finished(k));
await utils.addJobs(Array.from({ length: chains }, (_, k) => ({ identifier: 'step', payload: { k, step: 1, last: 10 } })));
await Promise.all(all);
const rate = chains * 10 / (performance.now() - began) * 1000;

// latency
const times = [];
for (let k = 10000; k < 10200; k++) {
  began = performance.now();
  const end = finished(k);
  await utils.addJob('step', { k, step: 1, last: 1 });
  await end;
  times.push(performance.now() - began);
}
times.sort((a, b) => a - b);

// fan-out
began = performance.now();
const whole = new Promise((resolve) => { join = resolve; });
await utils.addJobs(Array.from({ length: 1000 }, (_, k) => ({ identifier: 'part', payload: { k } })));
await whole;
console.log(rate, times[times.length / 2], (performance.now() - began) / 1000);
await runner.stop();
await utils.release();
await pool.end();
