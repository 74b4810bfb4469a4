// Signatures of the platform's notifications.
import { createHmac, timingSafeEqual } from 'node:crypto';
import { type Headerish, field } from './platform.ts';

const TOLERANCE_SECONDS = 300;

export type WebhookVerification =
  | { valid: true; timestamp: number; secret_used: 'current' | 'previous' }
  | {
      valid: false;
      reason:
        | 'missing_signature_header'
        | 'malformed_signature_header'
        | 'missing_timestamp'
        | 'missing_v1'
        | 'timestamp_out_of_tolerance'
        | 'signature_mismatch';
    };

function matches(secret: string, signed: Buffer, given: Buffer): boolean {
  const expected = createHmac('sha256', secret).update(signed).digest();
  return secret !== '' && expected.length === given.length && timingSafeEqual(expected, given);
}

/**
 * Judges a notification by the bytes of its body, before anything parses them. Never throws.
 * `Run402-Signature: t=<unix seconds>,v1=<64 hex digits>`, of `<t>.<body>`; unknown parts are ignored.
 */
export function verifyWebhook(
  headers: Headerish,
  rawBody: string | Uint8Array,
  secret: string,
  options: { previousSecret?: string; toleranceSeconds?: number } = {},
): WebhookVerification {
  const sent = field(headers, 'run402-signature');
  if (sent === null) return { valid: false, reason: 'missing_signature_header' };
  const parts = new Map<string, string>();
  for (const part of sent.split(',')) {
    const at = part.indexOf('=');
    if (at < 1) return { valid: false, reason: 'malformed_signature_header' };
    parts.set(part.slice(0, at).trim(), part.slice(at + 1).trim());
  }
  const [stamp, hex] = [parts.get('t'), parts.get('v1')];
  if (stamp === undefined) return { valid: false, reason: 'missing_timestamp' };
  if (hex === undefined) return { valid: false, reason: 'missing_v1' };
  if (!/^\d{1,15}$/.test(stamp) || !/^[0-9a-f]{64}$/i.test(hex)) {
    return { valid: false, reason: 'malformed_signature_header' };
  }
  const timestamp = Number(stamp);
  const tolerance = options.toleranceSeconds ?? TOLERANCE_SECONDS;
  if (Math.abs(Date.now() / 1000 - timestamp) > tolerance) {
    return { valid: false, reason: 'timestamp_out_of_tolerance' };
  }
  const body = typeof rawBody === 'string' ? Buffer.from(rawBody, 'utf8') : Buffer.from(rawBody);
  const signed = Buffer.concat([Buffer.from(`${stamp}.`), body]);
  const given = Buffer.from(hex, 'hex');
  if (matches(secret, signed, given)) return { valid: true, timestamp, secret_used: 'current' };
  if (options.previousSecret && matches(options.previousSecret, signed, given)) {
    return { valid: true, timestamp, secret_used: 'previous' };
  }
  return { valid: false, reason: 'signature_mismatch' };
}
