// Answers of functions that a site's routes lead to.

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
