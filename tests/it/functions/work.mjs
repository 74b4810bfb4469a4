import { adminDb } from '@run402/functions';
export default async (req) => {
    const run = await req.json();
    const header = (name) => req.headers.get(`x-run402-${name}`);
    const told = ['trigger', 'run-id', 'attempt-id', 'idempotency-key', 'request-id'].map(header);
    await adminDb().sql('insert into ran (run, key, number, generation, envelope, told) values ($1, $2, $3, $4, $5, $6)',
        [run.run_id, run.idempotency_key, run.attempt.number, run.generation, JSON.stringify(run), JSON.stringify(told)]);
    console.log(`working on ${run.idempotency_key}`);
    const { sleep = 0, status = 200, until = 0 } = run.payload;
    if (sleep) await new Promise((done) => setTimeout(done, sleep));
    if (process.env.MENDED || (until && run.attempt.number >= until)) return new Response('mended');
    return new Response('answered', { status });
};
