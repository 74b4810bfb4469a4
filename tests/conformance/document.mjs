// node document.mjs: prints docs/rest-conformance.md.
import { cases } from './cases.mjs';

const BASE = 'https://docs.postgrest.org/en/v13/';
const pages = new Map();
for (const [name, page] of cases) pages.set(page, [...(pages.get(page) ?? []), name]);

const out = [
  '# REST: what conforms, and what is refused',
  '',
  'Made from `tests/conformance/cases.mjs` by `node tests/conformance/document.mjs`; do not edit.',
  'Each behaviour is one case that npm `@supabase/postgrest-js`, unmodified, runs against a whole lab in CI; a smaller set',
  'is run by PyPI `postgrest`.',
  '',
];
for (const [page, names] of pages) out.push(`- [${page}](${BASE}${page}): ${names.join('; ')}.`);
out.push(
  '',
  '## Refused or different, and why',
  '',
  '- Service keys on `/rest/v1`: 403 `ADMIN_REQUIRED`; they belong to `/admin/v1/rest`.',
  '- `Accept-Profile` and `Content-Profile` are ignored: a project has one schema, which messages call `public`.',
  '- Missing or invalid keys: 401 in the platform\'s envelope, not `PGRST30x`; so are refusals for rate and quota.',
  '- `application/vnd.pgrst.plan` (`explain()`): 406 on `/rest/v1`, as PostgREST does by default, because a plan shows how many',
  '  rows row security hides; served on `/admin/v1/rest`.',
  '- `application/geo+json`, and media types made by functions: 406; PostGIS is not installed.',
  '- `Prefer: tx=rollback` is honoured, as if `db-tx-end` were `commit-allow-override`. Aggregates are on.',
  '- Functions do not see `authorization` and `apikey` in `request.headers`.',
  '- The `details` of `PGRST100` are PostgREST\'s for operators of filters, `is`, `in`, names and paths, plain columns of',
  '  `select`, `order` and logic; for embedded resources in `select` they name what was expected in our words.',
  '- A range in `and=()` and `or=()` needs no quotes. What follows a name of a filter (`id!x=eq.1`) is refused, not ignored:',
  '  a change should not take it for another filter.',
  '- Spreads are those of version 13: aggregates in a spread to many are refused, a spread to many within another is an array',
  '  of arrays, and there is no `..`.',
  '- Domain representations (casts of a domain to and from `json` and `text`) are not applied: such a column is read and',
  '  written as its base type.',
  '- Plans say what the server says: no `Query Identifier`, and `Settings` are the lab\'s or the operator\'s.',
  '- No `Server-Timing` and no `Server` header, as by default in PostgREST and as everywhere here.',
  '- The `details` of a violated key, check or `not null` are null for visitors and users: Postgres does not tell a row\'s values',
  '  where row security is on, which it is on every table. The service key on `/admin/v1/rest` is told.',
  '- Answers above 16 MiB: 413 `RESULT_TOO_LARGE`. Statements above 10 s: 500 `57014`.',
);
console.log(out.join('\n'));
