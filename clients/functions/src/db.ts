// A project's tables and its SQL.
import { type Requestish, type Row, api, current, env, header, project, refused, service } from './platform.ts';

/** A request on one table. Await it for the rows. */
export class QueryBuilder<T = Row> implements PromiseLike<T[]> {
  private method = 'GET';
  private body: string | undefined;
  private readonly query = new URLSearchParams();
  private readonly url: string;
  private readonly headers: Record<string, string>;

  constructor(url: string, headers: Record<string, string>) {
    this.url = url;
    this.headers = headers;
  }

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
    if (!response.ok) throw await refused(response, 'PostgREST error', 'raw');
    return (await response.json()) as T[];
  }
}

const JSON_ROWS = { 'Content-Type': 'application/json', Prefer: 'return=representation' };

/** Tables as the caller of this request may see them; of the request that is being answered, unless one is given. */
export function db(request?: Requestish): { from<T = Row>(table: string): QueryBuilder<T> } {
  const headers: Record<string, string> = { apikey: env('RUN402_ANON_KEY'), ...JSON_ROWS };
  const authorization = header(request ?? current()?.request, 'authorization');
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
  const authorization = service();
  const headers = { apikey: key, ...authorization, ...JSON_ROWS };
  return {
    from: <T = Row>(table: string) => new QueryBuilder<T>(`${api()}/admin/v1/rest/${table}`, headers),
    async sql<T = Row>(text: string, params: readonly unknown[] = []) {
      const bare = params.length === 0;
      const response = await fetch(`${api()}/projects/v1/admin/${project()}/sql`, {
        method: 'POST',
        headers: { ...authorization, 'Content-Type': bare ? 'text/plain' : 'application/json' },
        body: bare ? text : JSON.stringify({ sql: text, params }),
      });
      if (!response.ok) throw await refused(response, 'SQL error', 'raw');
      const answer = (await response.json()) as SqlRows<T>;
      const rows = [...(answer.rows ?? [])] as SqlRows<T>;
      for (const [name, value] of Object.entries(answer)) {
        Object.defineProperty(rows, name, { value, enumerable: false });
      }
      return rows;
    },
  };
}
