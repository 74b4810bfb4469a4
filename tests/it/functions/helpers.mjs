import { ai, assets, db, email, getRun402Context, Run402Error } from '@run402/functions';
const told = (promise) => promise.then((value) => ({ value }), (e) => ({ status: e.status, code: e.code, is: e instanceof Run402Error }));
export default async (req) => Response.json({
    mail: await told(email.send({ to: 'ada@example.com', subject: 'hello', html: '<p>hello' })),
    translated: await told(ai.translate('hello', 'es')),
    implicit: await told(db().from('nothing').select('id')),
    context: getRun402Context(req),
});
