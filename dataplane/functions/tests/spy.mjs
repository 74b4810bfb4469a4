import fs from 'node:fs'; import net from 'node:net'; import dgram from 'node:dgram'; import os from 'node:os';
const attempt = (what) => { try { return String(what()) } catch (error) { return `refused ${error.code}` } };
const connect = (to) => new Promise((done) => { const s = net.connect(to); s.on('connect', () => done('connected')); s.on('error', (e) => done(`refused ${e.message}`)); });
export default async () => Response.json({
    uid: process.getuid(), groups: process.getgroups(),
    root: fs.readdirSync('/'), processes: fs.readdirSync('/proc').filter((n) => /^[0-9]+$/.test(n)),
    passwd: attempt(() => fs.readFileSync('/etc/passwd')), home: attempt(() => fs.readdirSync('/root')),
    init: attempt(() => fs.readFileSync('/proc/1/environ', 'utf8').includes('NODE_ENV')),
    write: attempt(() => fs.writeFileSync('/code/bundle.mjs', 'x')), touch: attempt(() => fs.writeFileSync('/x', 'x')),
    sysctl: attempt(() => fs.writeFileSync('/proc/sys/kernel/hostname', 'x')),
    tmp: attempt(() => (fs.writeFileSync('/tmp/x', 'y'), fs.readFileSync('/tmp/x', 'utf8'))),
    capabilities: /CapEff:\s*(\w+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1],
    renounced: /NoNewPrivs:\s*(\w+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1],
    filtered: /Seccomp:\s*(\w+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1],
    interfaces: Object.keys(os.networkInterfaces()), sockets: attempt(() => fs.readdirSync('/run402')),
    metadata: await connect({ host: '169.254.169.254', port: 80 }), loopback: await connect({ host: '127.0.0.1', port: 22 }),
    private: await connect({ host: '10.0.0.1', port: 80 }), mapped: await connect({ host: '::ffff:127.0.0.1', port: 80 }),
    localhost: await connect({ host: 'localhost', port: 80 }), abstract: await connect({ path: '\0x' }),
    postgres: await connect({ path: '/tmp/.s.PGSQL.5432' }),
    fetched: await fetch('http://169.254.169.254/latest/meta-data').then(() => 'got', (e) => `refused ${e.cause?.message}`),
    secure: await fetch('https://127.0.0.1/').then(() => 'got', (e) => `refused ${e.cause?.message}`),
    environment: Object.keys(process.env),
});
