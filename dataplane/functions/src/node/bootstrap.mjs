// What a worker runs before and around a function: the function's calls arrive over CONTROL as frames.
import { AsyncLocalStorage } from 'node:async_hooks';
import { createRequire } from 'node:module';
import net from 'node:net';
import util from 'node:util';
import './tunnel.mjs';

const RUN = process.env.RUN402_WORKER_DIR ?? '/run402';
const CODE = process.env.RUN402_CODE_DIR ?? '/code';
const CONTROL = `${RUN}/s`;
const BODY_BYTES_MAX = 6 * 1024 * 1024;
const LINE_BYTES_MAX = 16 * 1024;
const REQUEST_LOG_BYTES_MAX = 64 * 1024;
const KIND = { BIND: 1, INVOKE: 2, READY: 10, BOUND: 11, RESULT: 12, LOG: 13 };

const context = new AsyncLocalStorage();
globalThis[Symbol.for('run402.context')] = context;

// --- frames: u32 length of the rest, u8 kind, u32 id, u32 length of the JSON, JSON, bytes

const control = net.connect(CONTROL);

// Copied into one piece up to here: a piece costs more than its copy.
const JOINED_BYTES_MAX = 64 * 1024;
const EMPTY = Buffer.alloc(0);

function send(kind, id, meta, body = EMPTY) {
  const text = JSON.stringify(meta);
  const json = Buffer.byteLength(text);
  const joined = body.length <= JOINED_BYTES_MAX;
  const head = Buffer.allocUnsafe(13 + json + (joined ? body.length : 0));
  head.writeUInt32LE(9 + json + body.length, 0);
  head.writeUInt8(kind, 4);
  head.writeUInt32LE(id, 5);
  head.writeUInt32LE(json, 9);
  head.write(text, 13, json, 'utf8');
  if (joined) head.set(body, 13 + json);
  // At once: a function that never gives way again has logged what it logged.
  if (joined) {
    control.write(head);
    return;
  }
  control.cork();
  control.write(head);
  control.write(body);
  control.uncork();
}

let waiting = [];
let size = 0;
control.on('data', (chunk) => {
  waiting.push(chunk);
  size += chunk.length;
  while (size >= 4) {
    if (waiting[0].length < 4) waiting = [Buffer.concat(waiting)];
    const length = 4 + waiting[0].readUInt32LE(0);
    if (size < length) return;
    const all = waiting.length === 1 ? waiting[0] : Buffer.concat(waiting);
    waiting = all.length > length ? [all.subarray(length)] : [];
    size -= length;
    const meta = 13 + all.readUInt32LE(9);
    frame(all[4], all.readUInt32LE(5), JSON.parse(all.toString('utf8', 13, meta)), all.subarray(meta, length));
  }
});
control.on('close', () => realExit(0));
control.on('error', () => realExit(0));
control.on('connect', () => send(KIND.READY, 0, { node: process.version }));
const realExit = process.exit.bind(process);

function frame(kind, id, meta, body) {
  if (kind === KIND.BIND) bind(meta);
  else if (kind === KIND.INVOKE) invoke(id, meta, body);
}

// --- logs

function log(stream, text) {
  const store = context.getStore();
  if (store) {
    if (store.logged > REQUEST_LOG_BYTES_MAX) return;
    store.logged += text.length + 64;
    if (store.logged > REQUEST_LOG_BYTES_MAX) text = 'more than 64 KiB of logs: the rest of this request is dropped';
  }
  if (text.length > LINE_BYTES_MAX) text = `${text.slice(0, LINE_BYTES_MAX)} [cut]`;
  const writer = { request_id: store?.requestId ?? null, attempt_id: store?.attemptId ?? null };
  send(KIND.LOG, 0, { stream, ...writer, message: text });
}

for (const name of ['stdout', 'stderr']) {
  process[name].write = (chunk, encoding, done) => {
    const text = typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString('utf8');
    log(name, text.endsWith('\n') ? text.slice(0, -1) : text);
    const callback = typeof encoding === 'function' ? encoding : done;
    if (callback) queueMicrotask(callback);
    return true;
  };
}

const described = (error) => (error instanceof Error ? (error.stack ?? String(error)) : util.inspect(error));
process.on('unhandledRejection', (error) => log('stderr', `Unhandled rejection: ${described(error)}`));
process.on('uncaughtException', (error) => {
  log('stderr', `Uncaught exception: ${described(error)}`);
  // What it left behind cannot be trusted.
  control.end(() => realExit(1));
});

// --- the function

let handler;
/** The published library that the function was bundled with; none with ours, which asks `context` itself. */
let library;

async function bind(meta) {
  for (const name of Object.keys(process.env)) delete process.env[name];
  Object.assign(process.env, meta.env);
  globalThis.require ??= createRequire(`file://${CODE}/`);
  try {
    const bundle = await import(`file://${CODE}/bundle.mjs`);
    const module = bundle.run402Module ?? bundle;
    library = typeof bundle.run402Library?.runWithContext === 'function' ? bundle.run402Library : undefined;
    handler = module.default ?? module.handler;
    if (handler && typeof handler !== 'function' && typeof handler.fetch === 'function') {
      handler = handler.fetch.bind(handler);
    }
    if (typeof handler !== 'function') throw new Error('the module has no default export that is a function');
    send(KIND.BOUND, 0, { ok: true });
  } catch (error) {
    log('stderr', described(error));
    send(KIND.BOUND, 0, { ok: false });
  }
}

const LIST = ['some', 'every', 'find', 'filter', 'map', 'reduce'];

/** What a handler is called with: a Request, and for a routed one the fields of the envelope as well. */
function makeRequest(meta, bytes) {
  const bodied = bytes.length > 0 && meta.method !== 'GET' && meta.method !== 'HEAD';
  const init = { method: meta.method, headers: meta.headers, body: bodied ? bytes : undefined };
  const request = new Request(meta.url, init);
  if (!meta.routed) return request;
  const { headers, body } = request;
  for (const name of LIST) {
    Object.defineProperty(headers, name, { value: (...args) => [...headers.entries()][name](...args) });
  }
  if (body) {
    const fields = { encoding: 'base64', data: bytes.toString('base64'), size: bytes.length };
    for (const [name, value] of Object.entries(fields)) Object.defineProperty(body, name, { value });
  }
  const fields = { version: 'run402.routed_http.v1', headers, ...meta.routed };
  for (const [name, value] of Object.entries(fields)) {
    Object.defineProperty(request, name, { value, enumerable: true });
  }
  return request;
}

async function bytesOf(response) {
  if (!response.body) return EMPTY;
  const parts = [];
  let total = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return parts.length === 1 ? parts[0] : Buffer.concat(parts);
    total += value.length;
    if (total > BODY_BYTES_MAX) {
      reader.cancel().catch(() => {});
      throw Object.assign(new Error('the response is larger than 6 MiB'), { tooLarge: true });
    }
    parts.push(value);
  }
}

async function answered(out) {
  if (out instanceof Response || typeof out?.arrayBuffer === 'function') {
    return { status: out.status, headers: [...out.headers], body: await bytesOf(out) };
  }
  if (out !== null && typeof out === 'object' && typeof out.status === 'number') {
    const headers = [...(out.headers ?? [])].map(([name, value]) => [String(name), String(value)]);
    for (const cookie of out.cookies ?? []) headers.push(['set-cookie', String(cookie)]);
    const body = out.body ? Buffer.from(out.body.data ?? '', out.body.encoding ?? 'base64') : EMPTY;
    return { status: out.status, headers, body };
  }
  const body = Buffer.from(JSON.stringify(out ?? null) ?? 'null');
  return { status: 200, headers: [['content-type', 'application/json; charset=utf-8']], body };
}

/** What our library reads of a request. Most functions never ask for the record of its headers. */
class Told {
  #request;
  #headers;

  constructor(request) {
    this.#request = request;
  }

  get headers() {
    return (this.#headers ??= Object.fromEntries(this.#request.headers));
  }
}

const KINDS = { cron: 'scheduled', function_run: 'function_run' };

/** What the published library is told of a request. It reads headers by their names in brackets. */
function contextOf(meta, request, headers) {
  const told = (name) => headers[`x-run402-${name}`]?.trim() || null;
  return {
    requestId: meta.request_id,
    projectId: told('project-id'),
    releaseId: told('release-id'),
    locale: told('locale'),
    defaultLocale: told('default-locale'),
    host: told('host') ?? new URL(meta.url).host,
    request: { method: request.method, url: request.url, headers },
    invocationKind: meta.routed ? 'routed_http' : (KINDS[headers['x-run402-trigger']] ?? 'direct'),
    idempotencyKey: told('idempotency-key'),
    cacheBypassTainted: { value: false },
    active: { value: true },
  };
}

async function respond(meta, request, store) {
  if (!library) return answered(await handler(request));
  const { headers } = store.request;
  if (headers['x-run402-actor-context']) await library.ensureActorContextKeysLoaded?.();
  const told = contextOf(meta, request, headers);
  try {
    return await library.runWithContext(told, async () => answered(await handler(request)));
  } finally {
    told.active.value = false;
  }
}

function invoke(id, meta, bytes) {
  const store = { requestId: meta.request_id, attemptId: meta.attempt_id, logged: 0 };
  context.run(store, async () => {
    try {
      const request = makeRequest(meta, bytes);
      store.request = new Told(request);
      const { status, headers: given, body } = await respond(meta, request, store);
      if (!Number.isInteger(status) || status < 200 || status > 599) throw new Error(`no HTTP status: ${status}`);
      if (body.length > BODY_BYTES_MAX) throw Object.assign(new Error('the response is larger than 6 MiB'), { tooLarge: true });
      send(KIND.RESULT, id, { status, headers: given }, body);
    } catch (error) {
      log('stderr', error?.tooLarge ? `ROUTED_RESPONSE_TOO_LARGE: ${error.message}` : described(error));
      send(KIND.RESULT, id, { failed: error?.tooLarge ? 'too_large' : 'threw' });
    }
  });
}
