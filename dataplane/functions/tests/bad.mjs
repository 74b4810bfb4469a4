import { spawn } from 'node:child_process'; import fs from 'node:fs';
const hold = [];
export default async (req) => {
    const what = new URL(req.url).searchParams.get('x');
    if (what === 'loop') for (;;);
    if (what === 'never') await new Promise(() => {});
    if (what === 'heap') for (;;) hold.push(new Array(100000).fill(1.5));
    if (what === 'buffers') for (;;) hold.push(Buffer.alloc(8 << 20, 1));
    if (what === 'exit') process.exit(3);
    if (what === 'abort') process.abort();
    if (what === 'throw-later') { setTimeout(() => { throw new Error('later') }, 10); await new Promise(() => {}); }
    if (what === 'descriptors') { for (let n = 0; n < 10000; n++) hold.push(fs.openSync('/dev/null')); }
    if (what === 'forks') { const made = []; for (let n = 0; n < 500; n++) { const c = spawn('/node', ['-e', '1']); c.on('error', () => {}); made.push(c.pid); } return new Response(String(made.filter(Boolean).length)); }
    if (what === 'stream') return new Response(new ReadableStream({ pull(c) { c.enqueue(new Uint8Array(1 << 20)); } }));
    if (what === 'drip') return new Response(new ReadableStream({ async pull(c) { await new Promise((r) => setTimeout(r, 100)); c.enqueue(new Uint8Array(1)); } }));
    if (what === 'disk') { for (let n = 0; ; n++) fs.writeFileSync(`/tmp/${n}`, Buffer.alloc(1 << 20)); }
    return new Response('fine');
};
