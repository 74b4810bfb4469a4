// The library against a server that writes down what it was asked. Needs Node 22.18 or newer, which reads types.
import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { createHmac } from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import { after, before, beforeEach, test } from 'node:test';
import * as library from '../src/index.ts';

const { adminDb, ai, assets, db, email, functions, getRun402Context, getUser, verifyWebhook } = library;

let asked = [];
/** Answers by method and path: a status and JSON, or a text. */
let answers = {};
const server = http.createServer((request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    const body = Buffer.concat(parts).toString('utf8');
    asked.push({ method: request.method, url: request.url, headers: request.headers, body });
    const [status, value] = answers[`${request.method} ${request.url.split('?')[0]}`] ?? [404, { code: 'NOT_FOUND' }];
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(typeof value === 'string' ? value : JSON.stringify(value));
  });
});

before(async () => {
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  Object.assign(process.env, {
    RUN402_API_BASE: `http://127.0.0.1:${server.address().port}`,
    RUN402_PROJECT_ID: 'prj_1',
    RUN402_SERVICE_KEY: 'service',
    RUN402_ANON_KEY: 'anon',
    RUN402_JWT_SECRET: 'secret',
  });
});
after(() => server.close());
beforeEach(() => {
  asked = [];
  answers = {};
});

const last = () => asked[asked.length - 1];
const request = (headers) => new Request('http://site.test/', { headers });

test('tables are asked as the caller, and past row security only by name', async () => {
  answers['GET /rest/v1/items'] = [200, [{ id: 1 }]];
  answers['PATCH /admin/v1/rest/items'] = [200, [{ id: 2 }]];
  const rows = await db(request({ authorization: 'Bearer user' })).from('items').select('id').eq('name', 'a b').in('id', [1, 2]);
  assert.deepEqual(rows, [{ id: 1 }]);
  assert.equal(last().url, '/rest/v1/items?select=id&name=eq.a+b&id=in.%281%2C2%29');
  assert.equal(last().headers.apikey, 'anon');
  assert.equal(last().headers.authorization, 'Bearer user');
  assert.equal(last().headers.prefer, 'return=representation');
  await db().from('items');
  assert.equal(last().headers.authorization, undefined, 'nobody asked');
  await adminDb().from('items').update({ a: 1 }).eq('id', 2);
  assert.equal(last().headers.authorization, 'Bearer service');
  assert.equal(last().body, '{"a":1}');
  answers['GET /rest/v1/items'] = [400, { code: 'BAD', message: 'no', trace_id: 'trc_1' }];
  const error = await db().from('items').then(null, (e) => e);
  assert.equal(error.message, 'PostgREST error (400): {"code":"BAD","message":"no","trace_id":"trc_1"}');
  assert.deepEqual([error.status, error.code, error.traceId], [400, 'BAD', 'trc_1']);
});

test('inside of a request, tables and runs know whose it is', async () => {
  const store = new AsyncLocalStorage();
  globalThis[Symbol.for('run402.context')] = store;
  answers['GET /rest/v1/items'] = [200, []];
  answers['POST /functions/v1/work/runs'] = [202, { run_id: 'fnrun_2' }];
  const headers = { authorization: 'Bearer user', 'x-run402-run-id': 'fnrun_1', 'x-run402-attempt-id': 'fnatt_1' };
  await store.run({ request: { headers } }, async () => {
    await db().from('items');
    assert.equal(last().headers.authorization, 'Bearer user');
    await functions.runs.create('work', { eventType: 'go', idempotencyKey: 'k', delaySeconds: 5, retry: { maxAttempts: 2 } });
  });
  delete globalThis[Symbol.for('run402.context')];
  assert.equal(last().headers['x-run402-parent-run-id'], 'fnrun_1');
  assert.equal(last().headers['x-run402-parent-attempt-id'], 'fnatt_1');
  assert.equal(last().headers['idempotency-key'], 'k');
  assert.deepEqual(JSON.parse(last().body), {
    event_type: 'go',
    idempotency_key: 'k',
    delay_seconds: 5,
    retry: { max_attempts: 2 },
  });
  await assert.rejects(functions.runs.create('work', { idempotencyKey: 'k' }), /eventType is required/);
});

test('SQL gives rows that carry what is known about them', async () => {
  const answer = { status: 'ok', rows: [{ n: 1 }], row_count: 1, rowCount: 1, fields: [] };
  answers['POST /projects/v1/admin/prj_1/sql'] = [200, answer];
  const rows = await adminDb().sql('select 1 as n');
  assert.deepEqual([rows[0].n, rows.rows[0].n, rows.row_count, rows.length], [1, 1, 1, 1]);
  assert.deepEqual([last().headers['content-type'], last().body], ['text/plain', 'select 1 as n']);
  await adminDb().sql('select $1', [2]);
  assert.deepEqual(JSON.parse(last().body), { sql: 'select $1', params: [2] });
});

test('a user is who the project signed for', () => {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const token = (claims, secret = 'secret', alg = 'HS256') => {
    const text = `${part({ alg })}.${part(claims)}`;
    return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
  };
  const good = { sub: 'u', role: 'authenticated', email: 'a@b.c', project_id: 'prj_1', exp: Date.now() / 1000 + 60 };
  const user = (value) => getUser(request({ authorization: value }));
  assert.deepEqual(user(`Bearer ${token(good)}`), { id: 'u', role: 'authenticated', email: 'a@b.c' });
  assert.deepEqual(getUser({ headers: { Authorization: `Bearer ${token(good)}` } })?.id, 'u');
  for (const bad of [
    '',
    'Basic x',
    'Bearer x',
    token(good),
    `Bearer ${token(good, 'other')}`,
    `Bearer ${token(good, 'secret', 'none')}`,
    `Bearer ${token({ ...good, project_id: 'prj_2' })}`,
    `Bearer ${token({ ...good, exp: 1 })}`,
  ]) {
    assert.equal(user(bad), null, bad);
  }
});

test('mail goes out of the default mailbox, and refusals are told as they are', async () => {
  const refused = await email.send({ to: 'a@b.c', subject: 's', html: 'h' }).then(null, (e) => e);
  assert.equal(refused.message, 'Mailbox lookup failed (404): {"code":"NOT_FOUND"}');
  assert.equal(asked.length, 1, 'a server without mailboxes is asked for nothing else');
  answers['GET /mailboxes/v1'] = [200, { mailboxes: [] }];
  await assert.rejects(email.send({ to: 'a@b.c', subject: 's', html: 'h' }), /no mailbox/);
  answers['GET /mailboxes/v1'] = [200, { mailboxes: [{ mailbox_id: 'mbx_1', status: 'suspended' }] }];
  await assert.rejects(email.send({ to: 'a@b.c', subject: 's', html: 'h' }), /No mailbox of this project can send: suspended/);
  const mailboxes = ['mbx_1', 'mbx_2', 'mbx_3'].map((mailbox_id) => ({ mailbox_id }));
  answers['GET /mailboxes/v1'] = [200, { mailboxes, mailbox_settings: { default_outbound_mailbox_id: 'mbx_2' } }];
  answers['POST /mailboxes/v1/mbx_2/messages'] = [201, { id: 'msg_1', message_id: 'msg_1' }];
  assert.equal((await email.send({ to: 'a@b.c', template: 'hi', variables: { a: 1 } })).id, 'msg_1');
  assert.deepEqual(JSON.parse(last().body), { to: 'a@b.c', template: 'hi', variables: { a: 1 } });
  const before = asked.length;
  await email.send({ to: 'a@b.c', subject: 's', html: 'h', from_name: 'Ada' });
  assert.equal(asked.length, before + 1, 'the mailbox is known by now');
  assert.deepEqual(JSON.parse(last().body), { to: 'a@b.c', subject: 's', html: 'h', from_name: 'Ada' });
  answers['POST /mailboxes/v1/mbx_2/messages'] = [403, { error: 'too many today', code: 'QUOTA_EXCEEDED' }];
  const denied = await email.send({ to: 'a@b.c', subject: 's', html: 'h' }).then(null, (e) => e);
  assert.deepEqual([denied.message, denied.code], ['Email send failed (403): too many today', 'QUOTA_EXCEEDED']);
});

test('texts are translated and judged, images made', async () => {
  answers['POST /ai/v1/translate'] = [200, { text: 'Hola', from: 'en', to: 'es' }];
  assert.equal((await ai.translate('Hello', 'es', { from: 'en' })).text, 'Hola');
  assert.deepEqual(JSON.parse(last().body), { text: 'Hello', to: 'es', from: 'en' });
  await ai.translate('Hello', { to: 'es', context: 'formal' });
  assert.deepEqual(JSON.parse(last().body), { text: 'Hello', to: 'es', context: 'formal' });
  assert.equal(last().headers.authorization, 'Bearer service');
  answers['POST /ai/v1/moderate'] = [429, { error: 'slower' }];
  await assert.rejects(ai.moderate('x'), { message: 'Moderation failed (429): slower' });
  answers['POST /generate-image/v1'] = [403, { code: 'QUOTA_EXCEEDED', message: 'no more' }];
  const told = 'Image generation failed (403): QUOTA_EXCEEDED: no more';
  await assert.rejects(ai.generateImage({ prompt: 'a cat' }), { message: told });
  assert.deepEqual(JSON.parse(last().body), { prompt: 'a cat', aspect: 'square' });
});

// Contract 03 section 6.2.
test('assets are put in one call and listed in pages', async () => {
  const answer = { key: 'a/b.txt', sha256: '00', size_bytes: 5, content_type: 'text/plain', url: 'http://x/a', cdn_url: 'u' };
  answers['POST /apply/v1/service-asset-put'] = [200, answer];
  const put = await assets.put('a/b.txt', 'hello');
  assert.deepEqual([put.size, put.contentType, put.cdnUrl, put.immutableUrl, put.url], [5, 'text/plain', 'u', null, 'http://x/a']);
  const named = (name) => last().headers[`x-run402-asset-${name}`];
  assert.deepEqual(
    [last().headers.authorization, last().headers['content-type'], last().body],
    ['Bearer service', 'text/plain; charset=utf-8', 'hello'],
  );
  const words = ['key', 'visibility', 'immutable', 'exif-policy', 'metadata'];
  assert.deepEqual(words.map(named), ['a/b.txt', 'public', 'true', 'keep', undefined]);
  const options = { visibility: 'private', immutable: false, exifPolicy: 'strip', metadata: { a: 1 }, contentType: 'x/y' };
  await assets.put('p', { bytes: new Uint8Array([1, 2]) }, options);
  assert.deepEqual(words.map(named), ['p', 'private', 'false', 'strip', Buffer.from('{"a":1}').toString('base64url')]);
  assert.equal(last().headers['content-type'], 'x/y');
  const sent = asked.length;
  await assert.rejects(assets.put('p', ''), /bytes must be non-empty/);
  await assert.rejects(assets.put('', 'x'), /key must be a non-empty string/);
  await assert.rejects(assets.put('p', 7), /source must be/);
  await assert.rejects(assets.put('p', 'x', { metadata: { a: { b: 1 } } }), /flat object/);
  await assert.rejects(assets.put('p', 'x', { metadata: { a: 'y'.repeat(5000) } }), /4096 bytes/);
  assert.equal(asked.length, sent, 'nothing was sent');
  answers['POST /apply/v1/service-asset-put'] = [413, { code: 'BODY_TOO_LARGE', message: 'too large' }];
  await assert.rejects(assets.put('p', 'x'), { code: 'BODY_TOO_LARGE', status: 413 });
  answers['GET /storage/v1/blobs'] = [200, { blobs: [{ key: 'a' }] }];
  const listed = await assets.list({ prefix: 'a/', limit: 5, sort: 'createdAt:desc', filter: { tag: 'x' } });
  assert.deepEqual(listed, { blobs: [{ key: 'a' }], next_cursor: null });
  assert.equal(last().url, '/storage/v1/blobs?prefix=a%2F&limit=5&sort=createdAt%3Adesc&filter.tag=x');
  assert.equal(last().headers.apikey, 'service');
});

test('a notification is the platform\'s when it is signed, now, and unchanged', () => {
  const now = Math.floor(Date.now() / 1000);
  const signed = (t, body, key) => `t=${t},v1=${createHmac('sha256', key).update(`${t}.${body}`).digest('hex')}`;
  const judged = (value, options) => verifyWebhook({ 'Run402-Signature': value }, 'body', 'key', options);
  assert.deepEqual(judged(signed(now, 'body', 'key')), { valid: true, timestamp: now, secret_used: 'current' });
  assert.equal(judged(`${signed(now, 'body', 'key')},v2=later`).valid, true, 'unknown parts are ignored');
  const old = { previousSecret: 'old' };
  assert.equal(judged(signed(now, 'body', 'old'), old).secret_used, 'previous');
  const bytes = new Headers({ 'run402-signature': signed(now, 'body', 'key') });
  assert.equal(verifyWebhook(bytes, Buffer.from('body'), 'key').valid, true);
  for (const [value, reason] of [
    ['nonsense', 'malformed_signature_header'],
    [`t=${now}`, 'missing_v1'],
    [`v1=${'0'.repeat(64)}`, 'missing_timestamp'],
    [`t=abc,v1=${'0'.repeat(64)}`, 'malformed_signature_header'],
    [`t=${now},v1=zz`, 'malformed_signature_header'],
    [signed(now - 301, 'body', 'key'), 'timestamp_out_of_tolerance'],
    [signed(now + 400, 'body', 'key'), 'timestamp_out_of_tolerance'],
    [signed(now, 'other', 'key'), 'signature_mismatch'],
    [signed(now, 'body', 'old'), 'signature_mismatch'],
  ]) {
    assert.deepEqual(judged(value), { valid: false, reason }, value);
  }
  assert.equal(verifyWebhook({}, 'body', 'key').reason, 'missing_signature_header');
  const unset = verifyWebhook({ 'run402-signature': signed(now, 'body', '') }, 'body', '');
  assert.equal(unset.reason, 'signature_mismatch', 'no secret, no signature');
  assert.equal(judged(signed(now - 400, 'body', 'key'), { toleranceSeconds: 500 }).valid, true);
});

test('the context of a request is what the platform says, and blank is nothing', () => {
  const seen = getRun402Context(request({ 'x-run402-request-id': 'req_1', 'x-run402-locale': ' ' }));
  assert.deepEqual([seen.requestId, seen.locale, seen.host], ['req_1', null, null]);
  assert.equal(getRun402Context({ 'X-Run402-Project-Id': 'prj_1' }).projectId, 'prj_1');
});

test('routed answers carry bytes, types and cookies', () => {
  const { routedHttp } = library;
  assert.deepEqual(routedHttp.text('hé'), {
    status: 200,
    headers: [['content-type', 'text/plain; charset=utf-8']],
    body: { encoding: 'base64', data: 'aMOp', size: 3 },
  });
  const made = routedHttp.json({ a: 1 }, { status: 201, headers: [['Content-Type', 'x/y']], cookies: ['s=1'] });
  assert.deepEqual([made.status, made.headers, made.cookies], [201, [['Content-Type', 'x/y']], ['s=1']]);
  assert.equal(routedHttp.bytes(new Uint8Array(3)).headers, undefined);
  assert.equal(routedHttp.isRequest({ version: 'run402.routed_http.v1' }), true);
  assert.equal(routedHttp.isRequest(request({})), false);
});

test('what editors are told is what there is', () => {
  const types = fs.readFileSync(new URL('../types/index.d.ts', import.meta.url), 'utf8');
  const inBraces = [...types.matchAll(/export \{([^}]*)\}/g)].flatMap(([, names]) => names.split(','));
  const values = inBraces.map((name) => name.trim()).filter((name) => name && !name.startsWith('type '));
  assert.deepEqual(values.sort(), Object.keys(library).sort());
});
