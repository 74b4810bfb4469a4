// What a worker runs before and around a function. It has no network: every connection is a request to the
// broker at EGRESS, which decides, and the function's calls arrive over CONTROL as frames.
import { AsyncLocalStorage } from 'node:async_hooks';
import { createRequire } from 'node:module';
import net from 'node:net';
import { Duplex } from 'node:stream';
import tls from 'node:tls';
import util from 'node:util';

const RUN = process.env.RUN402_WORKER_DIR ?? '/run402';
const CODE = process.env.RUN402_CODE_DIR ?? '/code';
const [CONTROL, EGRESS] = [`${RUN}/s`, `${RUN}/e`];
const BODY_BYTES_MAX = 6 * 1024 * 1024;
const LINE_BYTES_MAX = 16 * 1024;
const REQUEST_LOG_BYTES_MAX = 64 * 1024;
const KIND = { BIND: 1, INVOKE: 2, READY: 10, BOUND: 11, RESULT: 12, LOG: 13 };

const context = new AsyncLocalStorage();
globalThis[Symbol.for('run402.context')] = context;

// --- frames: u32 length of the rest, u8 kind, u32 id, u32 length of the JSON, JSON, bytes

const control = net.connect(CONTROL);

function send(kind, id, meta, body = Buffer.alloc(0)) {
  const json = Buffer.from(JSON.stringify(meta));
  const head = Buffer.alloc(13);
  head.writeUInt32LE(9 + json.length + body.length, 0);
  head.writeUInt8(kind, 4);
  head.writeUInt32LE(id, 5);
  head.writeUInt32LE(json.length, 9);
  control.cork();
  control.write(head);
  control.write(json);
  if (body.length) control.write(body);
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
  send(KIND.LOG, 0, { stream, request_id: store?.requestId ?? null, message: text });
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

// --- connections

const refusal = (text) => Object.assign(new Error(text), { code: 'ECONNREFUSED' });
const realConnect = net.Socket.prototype.connect;

/** Connects this socket to the broker; what it asks for first is where to. */
function tunnel(socket, host, port) {
  const { emit, push } = socket;
  const held = [];
  let open = false;
  const restore = () => {
    open = true;
    delete socket.emit;
    delete socket.push;
  };
  socket.emit = function (name, ...rest) {
    if (open || (name !== 'connect' && name !== 'ready')) return emit.call(this, name, ...rest);
    held.push([name, rest]);
    if (name === 'connect') {
      // Past the queue of writes: what is in it waits for the event that is held.
      socket._writeGeneric(false, `${host}:${port}\n`, 'utf8', () => {});
      // So does whoever wanted to read already.
      net.Socket.prototype._read.call(socket, 0);
    }
    return true;
  };
  socket.push = function (chunk) {
    if (open || chunk === null) return push.call(this, chunk);
    restore();
    if (chunk[0] !== 0x2b) {
      socket.destroy(refusal(chunk.toString('utf8', 1).trim() || 'refused'));
      return false;
    }
    for (const [name, rest] of held) socket.emit(name, ...rest);
    return chunk.length > 1 ? push.call(socket, chunk.subarray(1)) : true;
  };
  return realConnect.call(socket, { path: EGRESS });
}

net.Socket.prototype.connect = function (...args) {
  let [options, callback] = Array.isArray(args[0]) ? args[0] : args;
  if (typeof options !== 'object' || options === null) {
    const isPath = typeof options === 'string' && Number.isNaN(Number(options));
    if (isPath) return realConnect.apply(this, args);
    options = { port: options, host: typeof args[1] === 'string' ? args[1] : undefined };
    callback = args.findLast((one) => typeof one === 'function');
  }
  if (options.path) return realConnect.apply(this, args);
  if (callback) this.once('connect', callback);
  this.connecting = true;
  return tunnel(this, options.host || 'localhost', options.port);
};

/** TLS reads past our streams unless it is given one that is not a socket. */
function stream(host, port) {
  const socket = net.connect({ host, port });
  const duplex = new Duplex({
    read: () => socket.resume(),
    write: (chunk, _, done) => socket.write(chunk, done),
    final: (done) => socket.end(done),
    destroy: (error, done) => {
      socket.destroy();
      done(error);
    },
  });
  socket.on('data', (chunk) => duplex.push(chunk) || socket.pause());
  socket.on('end', () => duplex.push(null));
  socket.on('error', (error) => duplex.destroy(error));
  socket.on('close', () => duplex.destroyed || duplex.push(null));
  return duplex;
}

const realTls = tls.connect;
tls.connect = function (...args) {
  const callback = args.findLast((one) => typeof one === 'function');
  let options = args.find((one) => typeof one === 'object' && one !== null) ?? {};
  if (typeof args[0] === 'number') options = { ...options, port: args[0] };
  if (typeof args[1] === 'string') options = { ...options, host: args[1] };
  if (options.socket || options.path) return realTls.apply(this, args);
  const host = options.host || 'localhost';
  const servername = options.servername ?? (net.isIP(host) ? '' : host);
  return realTls({ ...options, servername, socket: stream(host, options.port) }, callback);
};

// --- the function

let handler;

async function bind(meta) {
  for (const name of Object.keys(process.env)) delete process.env[name];
  Object.assign(process.env, meta.env);
  globalThis.require ??= createRequire(`file://${CODE}/`);
  try {
    const module = await import(`file://${CODE}/bundle.mjs`);
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
  if (!response.body) return Buffer.alloc(0);
  const parts = [];
  let total = 0;
  for await (const part of response.body) {
    total += part.length;
    if (total > BODY_BYTES_MAX) throw Object.assign(new Error('the response is larger than 6 MiB'), { tooLarge: true });
    parts.push(part);
  }
  return Buffer.concat(parts);
}

async function answered(out) {
  if (out instanceof Response || typeof out?.arrayBuffer === 'function') {
    return { status: out.status, headers: [...out.headers], body: await bytesOf(out) };
  }
  if (out !== null && typeof out === 'object' && typeof out.status === 'number') {
    const headers = [...(out.headers ?? [])].map(([name, value]) => [String(name), String(value)]);
    for (const cookie of out.cookies ?? []) headers.push(['set-cookie', String(cookie)]);
    const body = out.body ? Buffer.from(out.body.data ?? '', out.body.encoding ?? 'base64') : Buffer.alloc(0);
    return { status: out.status, headers, body };
  }
  const body = Buffer.from(JSON.stringify(out ?? null) ?? 'null');
  return { status: 200, headers: [['content-type', 'application/json; charset=utf-8']], body };
}

function invoke(id, meta, bytes) {
  const store = { requestId: meta.request_id, projectId: meta.project_id, logged: 0 };
  context.run(store, async () => {
    try {
      const { status, headers, body } = await answered(await handler(makeRequest(meta, bytes)));
      if (!Number.isInteger(status) || status < 200 || status > 599) throw new Error(`no HTTP status: ${status}`);
      if (body.length > BODY_BYTES_MAX) throw Object.assign(new Error('the response is larger than 6 MiB'), { tooLarge: true });
      send(KIND.RESULT, id, { status, headers }, body);
    } catch (error) {
      log('stderr', error?.tooLarge ? `ROUTED_RESPONSE_TOO_LARGE: ${error.message}` : described(error));
      send(KIND.RESULT, id, { failed: error?.tooLarge ? 'too_large' : 'threw' });
    }
  });
}
