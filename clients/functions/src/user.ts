// Who sent a request.
import { createHmac, timingSafeEqual } from 'node:crypto';
import { type Requestish, env, header, project } from './platform.ts';

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
    if (claims.project_id !== project()) return null;
    if (typeof claims.exp !== 'number' || claims.exp <= Date.now() / 1000) return null;
    return { id: String(claims.sub), role: String(claims.role), email: claims.email as string };
  } catch {
    return null;
  }
}
