// What every helper needs: the environment, read when it is asked for, and the request that is being answered.

export function env(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}

export const api = (): string => env('RUN402_API_BASE').replace(/\/+$/, '');
export const project = (): string => env('RUN402_PROJECT_ID');

/** What lets a call do everything in its own project. */
export const service = (): Record<string, string> => ({ Authorization: `Bearer ${env('RUN402_SERVICE_KEY')}` });

export type Row = Record<string, unknown>;
export type Headerish = { get(name: string): string | null } | Record<string, string | string[] | undefined>;
export type Requestish = { headers: Headerish };

/** A header by its name in lower case, of a Request, of Headers or of a plain record. */
export function field(headers: Headerish | undefined, name: string): string | null {
  if (!headers) return null;
  if (typeof (headers as Headers).get === 'function') return (headers as Headers).get(name);
  const record = headers as Record<string, string | string[] | undefined>;
  const key = Object.keys(record).find((one) => one.toLowerCase() === name);
  const value = key === undefined ? undefined : record[key];
  return (Array.isArray(value) ? value[0] : value) ?? null;
}

export const header = (request: Requestish | undefined, name: string): string | null => field(request?.headers, name);

/** The request that is being answered where this is called; none outside of one. */
export function current(): { requestId?: string; request?: { headers: Record<string, string> } } | undefined {
  const store = (globalThis as Record<symbol, unknown>)[Symbol.for('run402.context')];
  return (store as { getStore(): object | undefined } | undefined)?.getStore();
}

/** The platform's refusal. `code` is what to branch on. */
export class Run402Error extends Error {
  status: number;
  code: string | null;
  traceId: string | null;
  body: unknown;

  constructor(message: string, status: number, body: unknown) {
    super(message);
    this.name = 'Run402Error';
    const fields = (typeof body === 'object' && body !== null ? body : {}) as Record<string, unknown>;
    this.status = status;
    this.code = typeof fields.code === 'string' ? fields.code : null;
    this.traceId = typeof fields.trace_id === 'string' ? fields.trace_id : null;
    this.body = body;
  }
}

/** How much of a refusal a message shows: all of it, its `error`, or its code with its message. */
type Shown = 'raw' | 'error' | 'code';

export async function refused(response: Response, what: string, shown: Shown): Promise<Run402Error> {
  const raw = await response.text();
  let body: unknown = raw;
  try {
    body = JSON.parse(raw);
  } catch {
    // A text is shown as it is.
  }
  const fields = (typeof body === 'object' && body !== null ? body : {}) as Record<string, unknown>;
  let told = raw;
  if (shown === 'error' && typeof fields.error === 'string') told = fields.error;
  if (shown === 'code' && typeof fields.code === 'string') told = `${fields.code}: ${fields.message ?? fields.error}`;
  return new Run402Error(`${what} (${response.status}): ${told}`, response.status, body);
}

/** Sends JSON with the service key, and expects JSON. */
export async function ask<T>(path: string, body: unknown, what: string, shown: Shown, more = {}): Promise<T> {
  const response = await fetch(`${api()}${path}`, {
    method: 'POST',
    headers: { ...service(), 'Content-Type': 'application/json', ...more },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw await refused(response, what, shown);
  return (await response.json()) as T;
}
