// Installs npm packages where nothing of them runs, and then says what they are (`resolve`) or lets esbuild have
// them (`bundle`). A line that begins with [ERROR] is for the author of the function.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';

const HOME = '/tmp/packages';
// What the author can mend; anything else npm says is our own trouble.
const AUTHORS = [
  'E404', 'E403', 'EINVALIDPACKAGENAME', 'EINVALIDTAGNAME', 'ENOVERSIONS', 'ERESOLVE', 'ETARGET', 'EUNSUPPORTEDPROTOCOL',
  // Packages that are fetched by git, which is not there, or from somewhere else than the registry.
  'ENOENT', 'REFUSED_BY_BROKER',
  'ENOSPC', 'EFBIG', 'EMFILE', 'TAR_BAD_ARCHIVE', 'TAR_ENTRY_ERROR', 'EINTEGRITY', 'EBADPLATFORM', 'EBADENGINE',
];

const [mode, ...esbuild] = process.argv.slice(2);
const wanted = JSON.parse(process.env.RUN402_PACKAGES);

function fail(text, isAuthors) {
  fs.writeSync(2, `${isAuthors ? '✘ [ERROR] ' : ''}npm: ${text}\n`);
  process.exit(1);
}

function npm() {
  const words = [
    '--import=file:///boot/tunnel.mjs',
    '/npm/bin/npm-cli.js',
    'install',
    `--registry=${process.env.RUN402_REGISTRY}`,
    // No script of a package runs, neither now nor ever.
    '--ignore-scripts',
    '--no-bin-links',
    '--omit=dev',
    '--no-audit',
    '--no-fund',
    '--no-update-notifier',
    '--no-progress',
    '--cache=/tmp/cache',
    '--logs-max=0',
    '--loglevel=error',
    '--fetch-retries=1',
    '--userconfig=/dev/null',
  ];
  if (mode === 'resolve') words.push('--package-lock-only');
  const env = { HOME: '/tmp', NODE_ENV: 'production', NODE_EXTRA_CA_CERTS: process.env.NODE_EXTRA_CA_CERTS };
  const done = spawnSync(process.execPath, words, { cwd: HOME, env, encoding: 'utf8', maxBuffer: 1 << 20 });
  if (done.status === 0) return;
  const lines = `${done.stderr ?? ''}`.split('\n').map((line) => line.replace(/^npm (error|ERR!) ?/, ''));
  const code = lines.find((line) => line.startsWith('code '))?.slice(5).trim();
  const said = lines.filter((line) => line && !/^(code|errno|syscall|path) |complete log/.test(line));
  const text = [...new Set(said)].slice(0, 12).join('\n') || `ended with ${done.signal ?? done.status}`;
  const refused = text.includes('only the registry is reached');
  fail(text, refused || AUTHORS.includes(code));
}

fs.mkdirSync(HOME);
fs.writeFileSync(`${HOME}/package.json`, JSON.stringify({ private: true, dependencies: wanted }));
npm();
const { packages } = JSON.parse(fs.readFileSync(`${HOME}/package-lock.json`, 'utf8'));
for (const [place, one] of Object.entries(packages)) {
  const known = place === '' || one.inBundle || (one.integrity && !one.link);
  if (!known) fail(`${place.replace(/^node_modules\//, '')} is no package of the registry`, true);
}
if (mode === 'resolve') {
  const versions = Object.keys(wanted).map((name) => [name, packages[`node_modules/${name}`].version]);
  fs.writeSync(1, JSON.stringify(Object.fromEntries(versions)));
} else {
  const env = { GOMAXPROCS: '2', NODE_PATH: `${HOME}/node_modules` };
  const done = spawnSync('/esbuild', esbuild, { env, stdio: ['ignore', 'inherit', 'inherit'] });
  process.exit(done.status ?? 1);
}
