// What the platform says of a request.
import { type Headerish, type Requestish, field } from './platform.ts';

export interface Run402Context {
  requestId: string | null;
  projectId: string | null;
  releaseId: string | null;
  host: string | null;
  locale: string | null;
  defaultLocale: string | null;
  idempotencyKey: string | null;
}

/** Of a Request, or of its headers. What is blank is not there. */
export function getRun402Context(of: Requestish | Headerish): Run402Context {
  const inner = (of as Requestish).headers;
  const headers = typeof inner === 'object' && inner !== null ? inner : (of as Headerish);
  const read = (name: string): string | null => field(headers, `x-run402-${name}`)?.trim() || null;
  return {
    requestId: read('request-id'),
    projectId: read('project-id'),
    releaseId: read('release-id'),
    host: read('host'),
    locale: read('locale'),
    defaultLocale: read('default-locale'),
    idempotencyKey: read('idempotency-key'),
  };
}
