export type AssetSource = string | Uint8Array | {
    content: string;
} | {
    bytes: Uint8Array;
};
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
/** Puts bytes under a key of the project, in one call. */
declare function put(key: string, source: AssetSource, options?: AssetPutOptions): Promise<AssetRef>;
/** The project's blobs, a page at a time. */
declare function list(options?: AssetListOptions): Promise<{
    blobs: Record<string, unknown>[];
    next_cursor: string | null;
}>;
export declare const assets: {
    put: typeof put;
    list: typeof list;
};
export {};
