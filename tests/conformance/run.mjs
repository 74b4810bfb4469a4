// node run.mjs <url> <anon key> <owner's url> <service key>: runs every case and prints one JSON line for each that differs, then a total.
// Run it where the client is installed.
import { createRequire } from 'node:module';
import { cases } from './cases.mjs';

const { PostgrestClient } = createRequire(`${process.cwd()}/`)('@supabase/postgrest-js');
const [url, apikey, ownUrl, ownKey] = process.argv.slice(2);

// A project is served 100 requests a second; the client has no patience of its own.
const patient = async (input, init) => {
  for (;;) {
    const answer = await fetch(input, init);
    if (answer.status !== 429) return answer;
    await new Promise((done) => setTimeout(done, 200));
  }
};
const client = new PostgrestClient(url, { headers: { apikey }, fetch: patient });
const owner = new PostgrestClient(ownUrl, { headers: { authorization: `Bearer ${ownKey}` }, fetch: patient });

const holds = (wanted, got) => {
  if (typeof wanted === 'function') return wanted(got);
  if (wanted === null || typeof wanted !== 'object') return wanted === got;
  if (Array.isArray(wanted)) {
    return Array.isArray(got) && got.length === wanted.length && wanted.every((one, i) => holds(one, got[i]));
  }
  return got !== null && typeof got === 'object' && Object.keys(wanted).every((key) => holds(wanted[key], got[key]));
};

let failed = 0;
for (const [name, page, request, wanted] of cases) {
  let got;
  try {
    const { status, data, error, count } = await request(client, owner);
    got = { status, data, error: error && { ...error, message: error.message }, count };
  } catch (error) {
    got = { thrown: String(error) };
  }
  if (!holds(wanted, got)) {
    failed += 1;
    console.log(JSON.stringify({ name, page, wanted, got }));
  }
}
console.log(JSON.stringify({ ran: cases.length, failed }));
