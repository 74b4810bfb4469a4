import { type Requestish } from './platform.ts';
export interface User {
    id: string;
    role: string;
    email: string;
}
/** Who sent this request: one of the project's users, or nobody. */
export declare function getUser(request: Requestish): User | null;
