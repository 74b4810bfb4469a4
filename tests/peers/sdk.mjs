// Drives the published SDK, unmodified: provisions, puts assets, deploys a directory twice, compares releases.
//   node --require ./localhost.cjs sdk.mjs <directory>
// The environment names the server (RUN402_API_BASE) and the wallet's folder (RUN402_CONFIG_DIR).
// Prints one JSON object.
const [directory] = process.argv.slice(2);
const sent = [];
const real = globalThis.fetch;
globalThis.fetch = (input, init) => {
  sent.push(`${init?.method ?? input.method ?? "GET"} ${input.url ?? input}`);
  return real(input, init);
};
const puts = () => sent.filter((line) => line.startsWith("PUT ")).length;
const { run402 } = await import("@run402/sdk/node");
const client = run402();
const out = {};
const project = await client.projects.provision({ name: "sdk" });
const id = project.project_id;
out.project = id;

const script = "console.log('hello')";
const asset = await client.assets.put(id, "app.js", script);
out.asset = { ...asset, tag: asset.scriptTag() };
out.shown = await (await fetch(asset.cdnUrl)).text();
await client.assets.put(id, "notes/private.txt", "hush", { visibility: "private", immutable: false });
out.read = await (await client.assets.get(id, "notes/private.txt")).text();
out.listed = (await client.assets.ls(id)).blobs.map((blob) => blob.key);
const signed = await client.assets.sign(id, "notes/private.txt", { ttl_seconds: 60 });
out.signed = await (await fetch(signed.signed_url)).text();
out.looked = await client.assets.diagnoseUrl(id, asset.cdnMutableUrl);
await client.assets.rm(id, "notes/private.txt");
out.left = (await client.assets.ls(id)).blobs.map((blob) => blob.key);

let before = puts();
out.first = await client.sites.deployDir({ project: id, dir: directory });
out.firstUploads = puts() - before;
before = puts();
out.second = await client.sites.deployDir({ project: id, dir: directory });
out.secondUploads = puts() - before;
out.page = await (await fetch(out.first.url)).text();

const engine = (await client.project(id)).apply;
const active = await engine.getActiveRelease?.();
out.active = active?.release_id;
out.diff = await client._applyEngine.diff({ project: id, from: "empty", to: "active" });
console.log(JSON.stringify(out));
