import { type Requestish, type Row } from './platform.ts';
/** A request on one table. Await it for the rows. */
export declare class QueryBuilder<T = Row> implements PromiseLike<T[]> {
    private method;
    private body;
    private readonly query;
    private readonly url;
    private readonly headers;
    constructor(url: string, headers: Record<string, string>);
    select(columns?: string): this;
    private filter;
    eq(column: string, value: unknown): this;
    neq(column: string, value: unknown): this;
    gt(column: string, value: unknown): this;
    lt(column: string, value: unknown): this;
    gte(column: string, value: unknown): this;
    lte(column: string, value: unknown): this;
    like(column: string, pattern: string): this;
    ilike(column: string, pattern: string): this;
    is(column: string, value: boolean | null): this;
    in(column: string, values: readonly unknown[]): this;
    order(column: string, options?: {
        ascending?: boolean;
    }): this;
    limit(count: number): this;
    offset(count: number): this;
    insert(rows: Partial<T> | readonly Partial<T>[]): this;
    update(values: Partial<T>): this;
    delete(): this;
    then<A = T[], B = never>(done?: ((rows: T[]) => A | PromiseLike<A>) | null, failed?: ((reason: unknown) => B | PromiseLike<B>) | null): Promise<A | B>;
    private run;
}
/** Tables as the caller of this request may see them; of the request that is being answered, unless one is given. */
export declare function db(request?: Requestish): {
    from<T = Row>(table: string): QueryBuilder<T>;
};
/** Rows of a statement, which also carry what is known about them. */
export type SqlRows<T = Row> = T[] & {
    status: string;
    rows: T[];
    row_count: number | null;
    rowCount: number | null;
    fields: {
        name: string;
        type: string;
    }[];
};
/** Tables and SQL past row security: for code that has decided by itself who may. */
export declare function adminDb(): {
    from<T = Row>(table: string): QueryBuilder<T>;
    sql<T = Row>(text: string, params?: readonly unknown[]): Promise<SqlRows<T>>;
};
