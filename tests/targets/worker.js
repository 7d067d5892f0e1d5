// A Node program with worker threads and a buffer of marks; answers each line on standard input.
const { Worker, isMainThread, parentPort } = require('node:worker_threads');

if (!isMainThread) {
  parentPort.on('message', (number) => parentPort.postMessage(number * number));
} else {
  const marks = Buffer.alloc(4096);
  const seed = process.hrtime.bigint() | 1n;
  const mask = (1n << 64n) - 1n;
  let state = seed;
  for (let at = 0; at < marks.length; at += 8) {
    state ^= (state << 13n) & mask;
    state ^= state >> 7n;
    state ^= (state << 17n) & mask;
    marks.writeBigUInt64LE(state, at);
  }
  const workers = [1, 2, 3].map(() => new Worker(__filename));
  const online = workers.map((worker) => new Promise((done) => worker.once('online', done)));
  Promise.all(online).then(() => {
    console.log(`fact mark_seed ${seed}`);
    console.log('ready node=1');
  });
  process.stdin.on('data', () => {
    const answers = workers.map((worker, number) => new Promise((done) => {
      worker.once('message', done);
      worker.postMessage(number + 2);
    }));
    Promise.all(answers).then((squares) => console.log(`report squares=${squares.join(',')} marks=${marks.length}`));
  });
}
