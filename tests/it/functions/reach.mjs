import { adminDb, db, getUser } from '@run402/functions';
const tried = (url, init) => fetch(url, init).then(async (r) => `${r.status} ${await r.text()}`, (e) => `refused ${e.cause?.message}`);
export default async (req) => {
    const [made] = await adminDb().from('items').insert({ title: 'one' });
    const rows = await adminDb().sql('select title from items where id = $1', [made.id]);
    const visitor = await db(req).from('items').select('title').then((all) => all.length, (e) => e.message);
    const { ports } = await req.json();
    const refused = await Promise.all(ports.map((port) => tried(`http://127.0.0.1:${port}/`)));
    const api = process.env.RUN402_API_BASE;
    return Response.json({ title: rows[0].title, count: rows.rowCount, user: getUser(req), visitor: String(visitor), refused,
        clock: await tried(`${api}/lab/clock`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"advance_secs":1}' }),
        mail: await tried(`${api}/lab/mail`), ping: await tried(`${api}/ping/v1`),
        metadata: await tried('http://169.254.169.254/latest/meta-data') });
};
