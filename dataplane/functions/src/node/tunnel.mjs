// A sandbox has no network: every connection is a request to the broker at EGRESS, which decides.
import net from 'node:net';
import { Duplex } from 'node:stream';
import tls from 'node:tls';

const EGRESS = `${process.env.RUN402_WORKER_DIR ?? '/run402'}/e`;

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
