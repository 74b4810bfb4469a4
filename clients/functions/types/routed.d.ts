export interface RoutedResponse {
    status: number;
    headers?: [string, string][];
    cookies?: string[];
    body?: {
        encoding: 'base64';
        data: string;
        size: number;
    } | null;
}
interface RoutedOptions {
    status?: number;
    headers?: [string, string][];
    cookies?: string[];
}
/** A routed response of these bytes. */
export declare function bytes(data: Uint8Array, options?: RoutedOptions): RoutedResponse;
export declare const text: (content: string, options?: RoutedOptions) => RoutedResponse;
export declare const json: (value: unknown, options?: RoutedOptions) => RoutedResponse;
/** Whether a handler was called for a route. */
export declare const isRequest: (value: unknown) => boolean;
export declare const routedHttp: {
    text: (content: string, options?: RoutedOptions) => RoutedResponse;
    json: (value: unknown, options?: RoutedOptions) => RoutedResponse;
    bytes: typeof bytes;
    isRequest: (value: unknown) => boolean;
};
export {};
