// The project's blobs, put and listed from within a function.
import { api, env, refused, service } from './platform.ts';

const METADATA_BYTES_MAX = 4096;
/** What a key's end says of its bytes. */
const TYPES: Record<string, string> = {
  avif: 'image/avif',
  css: 'text/css; charset=utf-8',
  csv: 'text/csv; charset=utf-8',
  gif: 'image/gif',
  html: 'text/html; charset=utf-8',
  ico: 'image/x-icon',
  jpeg: 'image/jpeg',
  jpg: 'image/jpeg',
  js: 'text/javascript; charset=utf-8',
  json: 'application/json',
  md: 'text/markdown; charset=utf-8',
  mjs: 'text/javascript; charset=utf-8',
  mp3: 'audio/mpeg',
  mp4: 'video/mp4',
  pdf: 'application/pdf',
  png: 'image/png',
  svg: 'image/svg+xml',
  txt: 'text/plain; charset=utf-8',
  wasm: 'application/wasm',
  webm: 'video/webm',
  webp: 'image/webp',
  woff2: 'font/woff2',
  xml: 'application/xml',
  zip: 'application/zip',
};

export type AssetSource = string | Uint8Array | { content: string } | { bytes: Uint8Array };

export interface AssetPutOptions {
  /** Found out by the key's end unless given. */
  contentType?: string;
  visibility?: 'public' | 'private';
  /** True unless given: the address that the answer names always has these bytes. */
  immutable?: boolean;
  exifPolicy?: 'keep' | 'strip';
  /** Flat: texts, numbers and truth values. */
  metadata?: Record<string, string | number | boolean | null>;
}

/** As the platform answers it, and the same fields in the other spelling. */
export type AssetRef = Record<string, unknown> & {
  key: string;
  sha256: string;
  size_bytes: number;
  content_type: string;
  url: string | null;
  size: number;
  contentType: string;
  contentSha256: string;
  immutableUrl: string | null;
  cdnUrl: string | null;
  cdnImmutableUrl: string | null;
};

export interface AssetListOptions {
  prefix?: string;
  limit?: number;
  cursor?: string;
  sort?: 'key:asc' | 'createdAt:asc' | 'createdAt:desc';
  filter?: Record<string, string | number | boolean>;
}

function bytesOf(source: AssetSource): Uint8Array {
  const given = typeof source === 'object' && source !== null && 'content' in source ? source.content : source;
  const inner = typeof given === 'object' && given !== null && 'bytes' in given ? given.bytes : given;
  const bytes = typeof inner === 'string' ? Buffer.from(inner, 'utf8') : inner;
  if (!(bytes instanceof Uint8Array)) {
    throw new Error('assets.put: source must be a string, Uint8Array, or { content | bytes } object');
  }
  if (bytes.byteLength === 0) throw new Error('assets.put: bytes must be non-empty');
  return bytes;
}

function metadataOf(metadata: AssetPutOptions['metadata']): Record<string, string> {
  if (metadata === undefined) return {};
  const isFlat = Object.values(metadata).every((value) => value === null || typeof value !== 'object');
  const text = JSON.stringify(metadata);
  if (!isFlat || Buffer.byteLength(text) > METADATA_BYTES_MAX) {
    throw new Error(`assets.put: metadata must be a flat object of at most ${METADATA_BYTES_MAX} bytes`);
  }
  return { 'x-run402-asset-metadata': Buffer.from(text, 'utf8').toString('base64url') };
}

/** Puts bytes under a key of the project, in one call. */
async function put(key: string, source: AssetSource, options: AssetPutOptions = {}): Promise<AssetRef> {
  if (typeof key !== 'string' || key === '') throw new Error('assets.put: key must be a non-empty string');
  const bytes = bytesOf(source);
  const guessed = TYPES[key.slice(key.lastIndexOf('.') + 1).toLowerCase()];
  const response = await fetch(`${api()}/apply/v1/service-asset-put`, {
    method: 'POST',
    headers: {
      ...service(),
      'Content-Type': options.contentType ?? guessed ?? 'application/octet-stream',
      'x-run402-asset-key': key,
      'x-run402-asset-visibility': options.visibility ?? 'public',
      'x-run402-asset-immutable': String(options.immutable ?? true),
      'x-run402-asset-exif-policy': options.exifPolicy ?? 'keep',
      ...metadataOf(options.metadata),
    },
    body: bytes as BodyInit,
  });
  if (!response.ok) throw await refused(response, 'assets.put failed', 'code');
  const answer = (await response.json()) as AssetRef;
  return {
    ...answer,
    size: answer.size_bytes,
    contentType: answer.content_type,
    contentSha256: answer.sha256,
    immutableUrl: (answer.immutable_url as string | null) ?? null,
    cdnUrl: (answer.cdn_url as string | null) ?? null,
    cdnImmutableUrl: (answer.cdn_immutable_url as string | null) ?? null,
  };
}

/** The project's blobs, a page at a time. */
async function list(
  options: AssetListOptions = {},
): Promise<{ blobs: Record<string, unknown>[]; next_cursor: string | null }> {
  const query = new URLSearchParams();
  if (options.prefix !== undefined) query.set('prefix', options.prefix);
  if (options.limit !== undefined) query.set('limit', String(options.limit));
  if (options.cursor !== undefined) query.set('cursor', options.cursor);
  if (options.sort !== undefined && options.sort !== 'key:asc') query.set('sort', options.sort);
  for (const [name, value] of Object.entries(options.filter ?? {})) query.set(`filter.${name}`, String(value));
  const words = query.toString();
  const response = await fetch(`${api()}/storage/v1/blobs${words && `?${words}`}`, {
    headers: { apikey: env('RUN402_SERVICE_KEY') },
  });
  if (!response.ok) throw await refused(response, 'assets.list failed', 'code');
  const { blobs = [], next_cursor = null } = (await response.json()) as Awaited<ReturnType<typeof list>>;
  return { blobs, next_cursor };
}

export const assets = { put, list };
