import { adminDb, auth, db, functions, getCurrentContext, requireActiveContext, defineFunctionRuns } from '@run402/functions';
const runs = defineFunctionRuns({ 'note.add': async ({ run, payload, event }) => {
    const { envelope } = run;
    const context = getCurrentContext();
    await adminDb().from('notes').insert({ text: JSON.stringify({ kind: context.invocationKind, of: envelope.payload, id: context.requestId }) });
    return { ok: true };
} });
let after;
export default async (req) => {
    if (req.headers.get('x-run402-trigger') === 'function_run') return runs(req);
    const context = getCurrentContext();
    const user = await auth.user();
    const late = after ? await after : null;
    const made = await functions.runs.create('within', { eventType: 'note.add', idempotencyKey: 'k', payload: { a: 1 } });
    const notes = await db().from('notes').select('id');
    after = new Promise((done) => setTimeout(() => {
        try { requireActiveContext('late'); done('active'); } catch (e) { done(e.message); }
    }, 100));
    return Response.json({
        kind: context.invocationKind, id: context.requestId, project: context.projectId, host: context.host,
        asked: [context.request.method, new URL(context.request.url).pathname, context.request.headers['x-custom']],
        user: user?.email ?? null, notes, run: made.run_id, source: made.source, late,
    });
};
