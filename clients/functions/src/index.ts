// What functions import as `@run402/functions`: their project's tables, its SQL, its users, and the helpers of
// routed requests. Everything is read from the environment when it is called.
import { createHmac, timingSafeEqual } from 'node:crypto';

const PROJECT_ENV = 'RUN402_PROJECT_ID';

function env(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}

const api = (): string => env('RUN402_API_BASE');

type Row = Record<string, unknown>;
type Headerish = { get(name: string): string | null } | Record<string, string | undefined>;
type Requestish = { headers: Headerish };

function header(request: Requestish | undefined, name: string): string | null {
  const headers = request?.headers;
  if (!headers) return null;
  if (typeof (headers as Headers).get === 'function') return (headers as Headers).get(name);
  const record = headers as Record<string, string | undefined>;
  const key = Object.keys(record).find((one) => one.toLowerCase() === name);
  return key ? (record[key] ?? null) : null;
}

/** A request on one table. Await it for the rows. */
export class QueryBuilder<T = Row> implements PromiseLike<T[]> {
  private method = 'GET';
  private body: string | undefined;
  private readonly query = new URLSearchParams();

  constructor(
    private readonly url: string,
    private readonly headers: Record<string, string>,
  ) {}

  select(columns = '*'): this {
    this.query.set('select', columns);
    return this;
  }
  private filter(column: string, operator: string, value: unknown): this {
    this.query.append(column, `${operator}.${value}`);
    return this;
  }
  eq(column: string, value: unknown): this {
    return this.filter(column, 'eq', value);
  }
  neq(column: string, value: unknown): this {
    return this.filter(column, 'neq', value);
  }
  gt(column: string, value: unknown): this {
    return this.filter(column, 'gt', value);
  }
  lt(column: string, value: unknown): this {
    return this.filter(column, 'lt', value);
  }
  gte(column: string, value: unknown): this {
    return this.filter(column, 'gte', value);
  }
  lte(column: string, value: unknown): this {
    return this.filter(column, 'lte', value);
  }
  like(column: string, pattern: string): this {
    return this.filter(column, 'like', pattern);
  }
  ilike(column: string, pattern: string): this {
    return this.filter(column, 'ilike', pattern);
  }
  is(column: string, value: boolean | null): this {
    return this.filter(column, 'is', value);
  }
  in(column: string, values: readonly unknown[]): this {
    return this.filter(column, 'in', `(${values.join(',')})`);
  }
  order(column: string, options: { ascending?: boolean } = {}): this {
    this.query.append('order', `${column}.${options.ascending === false ? 'desc' : 'asc'}`);
    return this;
  }
  limit(count: number): this {
    this.query.set('limit', String(count));
    return this;
  }
  offset(count: number): this {
    this.query.set('offset', String(count));
    return this;
  }
  insert(rows: Partial<T> | readonly Partial<T>[]): this {
    this.method = 'POST';
    this.body = JSON.stringify(Array.isArray(rows) ? rows : [rows]);
    return this;
  }
  update(values: Partial<T>): this {
    this.method = 'PATCH';
    this.body = JSON.stringify(values);
    return this;
  }
  delete(): this {
    this.method = 'DELETE';
    return this;
  }

  then<A = T[], B = never>(
    done?: ((rows: T[]) => A | PromiseLike<A>) | null,
    failed?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.run().then(done, failed);
  }

  private async run(): Promise<T[]> {
    const query = this.query.toString();
    const response = await fetch(query ? `${this.url}?${query}` : this.url, {
      method: this.method,
      headers: this.headers,
      body: this.body,
    });
    if (!response.ok) throw new Error(`PostgREST error (${response.status}): ${await response.text()}`);
    return (await response.json()) as T[];
  }
}

const JSON_ROWS = { 'Content-Type': 'application/json', Prefer: 'return=representation' };

/** Tables as the caller of this request may see them. */
export function db(request?: Requestish): { from<T = Row>(table: string): QueryBuilder<T> } {
  const headers: Record<string, string> = { apikey: env('RUN402_ANON_KEY'), ...JSON_ROWS };
  const authorization = header(request, 'authorization');
  if (authorization) headers.Authorization = authorization;
  return { from: <T = Row>(table: string) => new QueryBuilder<T>(`${api()}/rest/v1/${table}`, headers) };
}

/** Rows of a statement, which also carry what is known about them. */
export type SqlRows<T = Row> = T[] & {
  status: string;
  rows: T[];
  row_count: number | null;
  rowCount: number | null;
  fields: { name: string; type: string }[];
};

/** Tables and SQL past row security: for code that has decided by itself who may. */
export function adminDb(): {
  from<T = Row>(table: string): QueryBuilder<T>;
  sql<T = Row>(text: string, params?: readonly unknown[]): Promise<SqlRows<T>>;
} {
  const key = env('RUN402_SERVICE_KEY');
  const authorization = { Authorization: `Bearer ${key}` };
  const headers = { apikey: key, ...authorization, ...JSON_ROWS };
  return {
    from: <T = Row>(table: string) => new QueryBuilder<T>(`${api()}/admin/v1/rest/${table}`, headers),
    async sql<T = Row>(text: string, params: readonly unknown[] = []) {
      const bare = params.length === 0;
      const response = await fetch(`${api()}/projects/v1/admin/${env(PROJECT_ENV)}/sql`, {
        method: 'POST',
        headers: { ...authorization, 'Content-Type': bare ? 'text/plain' : 'application/json' },
        body: bare ? text : JSON.stringify({ sql: text, params }),
      });
      if (!response.ok) throw new Error(`SQL error (${response.status}): ${await response.text()}`);
      const answer = (await response.json()) as SqlRows<T>;
      const rows = [...(answer.rows ?? [])] as SqlRows<T>;
      for (const [name, value] of Object.entries(answer)) {
        Object.defineProperty(rows, name, { value, enumerable: false });
      }
      return rows;
    },
  };
}

export interface User {
  id: string;
  role: string;
  email: string;
}

const decoded = (part: string): unknown => JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));

/** Who sent this request: one of the project's users, or nobody. */
export function getUser(request: Requestish): User | null {
  try {
    const [scheme, token] = (header(request, 'authorization') ?? '').split(' ');
    if (scheme !== 'Bearer' || !token) return null;
    const [head, body, signature, ...rest] = token.split('.');
    if (!head || !body || !signature || rest.length > 0) return null;
    if ((decoded(head) as { alg?: string }).alg !== 'HS256') return null;
    const expected = createHmac('sha256', env('RUN402_JWT_SECRET')).update(`${head}.${body}`).digest();
    const given = Buffer.from(signature, 'base64url');
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) return null;
    const claims = decoded(body) as Record<string, unknown>;
    if (claims.project_id !== env(PROJECT_ENV)) return null;
    if (typeof claims.exp !== 'number' || claims.exp <= Date.now() / 1000) return null;
    return { id: String(claims.sub), role: String(claims.role), email: claims.email as string };
  } catch {
    return null;
  }
}

export interface RoutedResponse {
  status: number;
  headers?: [string, string][];
  cookies?: string[];
  body?: { encoding: 'base64'; data: string; size: number } | null;
}

interface RoutedOptions {
  status?: number;
  headers?: [string, string][];
  cookies?: string[];
}

/** A routed response of these bytes. */
export function bytes(data: Uint8Array, options: RoutedOptions = {}): RoutedResponse {
  const response: RoutedResponse = {
    status: options.status ?? 200,
    body: { encoding: 'base64', data: Buffer.from(data).toString('base64'), size: data.byteLength },
  };
  if (options.headers) response.headers = [...options.headers];
  if (options.cookies) response.cookies = [...options.cookies];
  return response;
}

function typed(content: string, type: string, options: RoutedOptions): RoutedResponse {
  const headers: [string, string][] = [...(options.headers ?? [])];
  if (!headers.some(([name]) => name.toLowerCase() === 'content-type')) headers.push(['content-type', type]);
  return bytes(Buffer.from(content, 'utf8'), { ...options, headers });
}

export const text = (content: string, options: RoutedOptions = {}): RoutedResponse =>
  typed(content, 'text/plain; charset=utf-8', options);

export const json = (value: unknown, options: RoutedOptions = {}): RoutedResponse =>
  typed(JSON.stringify(value), 'application/json; charset=utf-8', options);

/** Whether a handler was called for a route. */
export const isRequest = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && (value as { version?: unknown }).version === 'run402.routed_http.v1';

export const routedHttp = { text, json, bytes, isRequest };
